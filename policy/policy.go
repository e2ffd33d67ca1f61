// Package policy judges one object with the whole catalogue and makes Findings of what its rules say.
//
// It reads no files, no cluster and no clock (who calls it says what time it is), and knows no rule language: rules come as Sets (policy/cel compiles the
// catalogue's). The command line, the webhook and the background scan call it.
package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// Input is one object to judge and all that a rule may read beside it.
type Input struct {
	// Object is the object as the API server would decode it; OldObject is the stored one at UPDATE, else nil.
	Object, OldObject map[string]any
	// Operation is CREATE, UPDATE or CONNECT. Empty means CREATE.
	Operation string
	// Namespace is where the object lies or would lie. Empty is judged as "default".
	Namespace string
	// Guard is what is known about the namespace. Nil is the strictest Guard.
	Guard *Guard
	// Username is who asks. Empty is nobody known: no rule makes an exception.
	Username string
	// Now is what the ends of the Guard's waivers and images are compared with. Zero: there is no clock; nothing is waived, and
	// for images the times count that a server has stamped on the object.
	Now time.Time
	// Groups are those that Username is in.
	Groups []string
}

// Guard is a Guard's spec made ready for rules. It is immutable; make one for each namespace and share it.
type Guard struct {
	spec   v1alpha1.GuardSpec
	params map[string]any
}

// NewGuard makes a Guard of its spec.
func NewGuard(spec v1alpha1.GuardSpec) (*Guard, error) {
	text, err := json.Marshal(v1alpha1.Guard{Spec: spec})
	if err != nil {
		return nil, fmt.Errorf("encode guard: %w", err)
	}
	g := &Guard{spec: spec}
	return g, json.Unmarshal(text, &g.params)
}

// Params is the Guard as rules see it, an object with a spec. It must not be changed.
func (g *Guard) Params() map[string]any {
	if g == nil {
		return map[string]any{"spec": map[string]any{}}
	}
	return g.params
}

// Action is what a Fail of the control leads to here. A control that the Guard does not name denies.
func (g *Guard) Action(id string) finding.Action {
	if g != nil {
		if a, ok := g.spec.Actions[id]; ok {
			return finding.Action(a)
		}
	}
	return finding.Deny
}

// change says who gave a control an action other than its profile's; "" is nobody.
func (g *Guard) change(id string) string {
	if g == nil {
		return ""
	}
	return g.spec.Changes[id]
}

// Note is what the refusal line of a control says behind its fix: who gave it an action other than its profile's, and whom to ask.
func (g *Guard) Note(id string) string {
	note := g.change(id)
	if g == nil || g.spec.Contact == "" {
		return note
	}
	if note != "" {
		note += "; "
	}
	return note + "ask: " + g.spec.Contact
}

// Violation is one place that breaks a rule.
type Violation struct {
	// Found is the value there, or words for its absence.
	Found string
	// Path is its RFC 6901 pointer.
	Path string
}

// Result is what one control says of one object: no violation and no error is a pass.
type Result struct {
	Control    *control.Control
	Violations []Violation
	// Err says why the control could not be decided.
	Err error
}

func (r *Result) passed() bool { return len(r.Violations) == 0 && r.Err == nil }

// Set is a compiled set of controls for some kinds. It is immutable and safe for many goroutines.
type Set interface {
	// Match is the kind that an API version and kind name, and whether the set judges its objects.
	Match(apiVersion, kind string) (control.Kind, bool)
	// Judge says what each control of the set says of the object. A control may come of several sets.
	Judge(in Input) []Result
}

// Engine judges objects. It is immutable and safe for many goroutines.
type Engine struct{ sets []Set }

// New makes an Engine of its sets.
func New(sets ...Set) *Engine { return &Engine{sets} }

// Judge is the findings of one object: one for each control and path that fails, one for each control that passes or
// could not be decided. An object of a kind that no set matches has none. Locations are left empty.
func (e *Engine) Judge(in Input, subject finding.Subject) []finding.Finding {
	out, _ := e.Failures(in, subject, func(string) bool { return true })
	return out
}

// Failures is Judge without the findings of controls that pass, of which it gives the number: nearly all do, and a finding
// is 400 bytes. Passes of the controls that list names by their id are not counted but among the findings.
func (e *Engine) Failures(in Input, subject finding.Subject, list func(id string) bool) (out []finding.Finding, passed int) {
	if in.Operation == "" {
		in.Operation = "CREATE"
	}
	if in.Namespace == "" {
		in.Namespace = "default"
	}
	var results []Result
	var kind control.Kind
	for _, set := range e.sets {
		if k, ok := set.Match(subject.APIVersion, subject.Kind); ok {
			kind, results = k, join(results, set.Judge(in))
		}
	}
	n := 0
	for i := range results {
		switch r := &results[i]; {
		case !r.passed():
			n += max(1, len(r.Violations))
		case list(r.Control.ID):
			n++
		default:
			passed++
		}
	}
	if n == 0 {
		return nil, passed
	}
	out = make([]finding.Finding, 0, n)
	waivers := waived(in, kind)
	for i := range results {
		if r := &results[i]; !r.passed() || list(r.Control.ID) {
			given := waiver(waivers, r.Control.ID, in.Now)
			if given == nil {
				given = debt(in, kind, r.Control.ID)
			}
			out = findings(out, r, in.Guard, given, subject)
		}
	}
	return out, passed
}

// Match is the kind that an API version and kind name, and whether any set judges its objects.
func (e *Engine) Match(apiVersion, kind string) (control.Kind, bool) {
	for _, set := range e.sets {
		if k, ok := set.Match(apiVersion, kind); ok {
			return k, true
		}
	}
	return control.Kind{}, false
}

// join adds what a set says to what others said: of one control, all that any of them found.
func join(have, more []Result) []Result {
	if len(have) == 0 {
		return more
	}
	for _, r := range more {
		i := slices.IndexFunc(have, func(h Result) bool { return h.Control.ID == r.Control.ID })
		if i < 0 {
			have = append(have, r)
			continue
		}
		have[i].Violations = append(have[i].Violations, r.Violations...)
		have[i].Err = cmp.Or(have[i].Err, r.Err)
	}
	return have
}

// findings appends what a result is as findings. A Fail that is waived stays one; what could not be decided is never waived.
func findings(out []finding.Finding, r *Result, guard *Guard, waiver *finding.Waiver, subject finding.Subject) []finding.Finding {
	base := finding.Finding{
		Control: r.Control.ID, Rule: r.Control.Rule(), Title: r.Control.Title, Severity: r.Control.Severity,
		Action: guard.Action(r.Control.ID), Wanted: r.Control.Wanted, Fix: r.Control.Fix, Subject: subject, Source: "catalogue", Outcome: finding.Pass,
	}
	change := guard.change(r.Control.ID)
	if change != "" {
		base.Change = &change
	}
	if r.Err != nil {
		reason := r.Err.Error()
		base.Outcome, base.Reason = finding.Errored, &reason
		base.Message = r.Control.ID + " " + r.Control.Title + ": could not be decided: " + finding.Value(reason)
	}
	if len(r.Violations) == 0 {
		base.Fingerprint = finding.Fingerprint(base.Control, subject, "")
		return append(out, base)
	}
	note := guard.Note(r.Control.ID)
	for _, v := range r.Violations {
		base.Outcome, base.Found, base.Path, base.Waiver = finding.Fail, v.Found, v.Path, waiver
		base.Message = finding.Line(base.Control, base.Title, v.Found, v.Path, base.Wanted, base.Fix, note, 0)
		base.Fingerprint = finding.Fingerprint(base.Control, subject, v.Path)
		out = append(out, base)
	}
	return out
}
