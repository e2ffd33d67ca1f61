package forward

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// Class is what sort of thing an Event tells.
type Class int

// The classes.
const (
	// Other is a kind that this version does not know: its body is sent as it is.
	Other Class = iota
	// Detection is something refused or warned of, or a gap in what was watched.
	Detection
	// Compliance is the outcome of a check.
	Compliance
	// Activity is a change, with who did it, and an admission that nothing was found against.
	Activity
)

// Event is one thing that a record tells, taken out of its body for formats. Texts come from outside, cut to maxText and
// without control characters.
type Event struct {
	// ID is the Message's.
	ID     string
	Class  Class
	Record record.Record
	// Finding is what was found; its zero value for what is no finding.
	Finding finding.Finding
	// Severity is of the finding, or by the kind: medium for gaps, "" for what harms nobody.
	Severity finding.Severity
	// User is who asked or changed, as the body says it: for most bodies a keyed reference and no name.
	User string
	// Verb is create, update, delete and so on.
	Verb string
	// Refused is true where the request was not carried out.
	Refused bool
	// DryRun is true where nothing would have been stored anyway. Message begins with it.
	DryRun bool
	// Undecided is true of a check run whose outcome is neither yes nor no.
	Undecided bool
	// Title and Message say it in words.
	Title, Message string
}

// maxText bounds a text taken from a body: what CEF allows for its msg, in runes.
const maxText = 1023

// classes say of each kind what it tells. The version after the dot is not looked at: fields are only added.
var classes = map[string]Class{
	"admission-decision": Detection, "native-refusal": Detection, "policy-gap": Detection, "silence": Detection,
	"overflow": Detection, "check-run": Compliance, "change": Activity, "key-rotation": Activity, "quarantine": Activity,
	"elevation": Activity, "elevated-request": Activity, "image-import": Activity,
}

// titles are for kinds without findings.
var titles = map[string]string{
	"admission-decision": "Admission decision", "native-refusal": "Request refused by a native policy",
	"policy-gap": "Policies were not in place", "silence": "A producer of records was silent",
	"overflow": "Records were lost: the queue was full", "check-run": "Check run", "change": "Change of a rule",
	"key-rotation": "The ledger's key was changed", "posture": "What is enforced where",
	"quarantine": "Quarantine of a workload",
	"elevation":  "More rights for a while", "elevated-request": "Request under an elevation",
	"image-import": "Import of an image", "verification": "What nodes and network showed",
	"canary": "Whether the rules refuse was tried",
}

// Find is the catalogue: it gives a control's title, severity, wanted state and fix, which records do not repeat. Nil knows
// no control.
type Find func(id string) (control.Control, bool)

// body is what formats read of the bodies, whatever their kind. Bodies are documented in record/kinds; a field that is
// missing, or of another type, leaves a gap in what is sent and no more.
type body map[string]json.RawMessage

// text is the first of some fields that is a text and not empty.
func (b body) text(names ...string) string {
	for _, name := range names {
		var s string
		if json.Unmarshal(b[name], &s) == nil && s != "" {
			return clip(s)
		}
	}
	return ""
}

// inner is a field that is an object, empty where it is none.
func (b body) inner(names ...string) body {
	for _, name := range names {
		var o body
		if json.Unmarshal(b[name], &o) == nil && len(o) > 0 {
			return o
		}
	}
	return nil
}

// seen is a finding as bodies list it: with value for what was found, or in the form of package finding.
type seen struct {
	finding.Finding
	Value string `json:"value"`
}

// findings are what the body lists as not passed; one that cannot be read is an Errored one, so that it is told of.
func (b body) findings(find Find) []finding.Finding {
	var raw []json.RawMessage
	for _, name := range []string{"notPassed", "findings"} {
		if json.Unmarshal(b[name], &raw) == nil && len(raw) > 0 {
			break
		}
	}
	var out []finding.Finding
	for _, r := range raw {
		var s seen
		if err := json.Unmarshal(r, &s); err != nil {
			s = seen{Finding: finding.Finding{Outcome: finding.Errored, Severity: finding.High, Title: "Finding that could not be read"}}
		}
		f := s.Finding
		f.Found = first(f.Found, s.Value)
		if c, ok := find.control(f.Control); ok {
			f.Rule, f.Title, f.Wanted, f.Fix = first(f.Rule, c.Rule()), first(f.Title, c.Title), first(f.Wanted, c.Wanted), first(f.Fix, c.Fix)
			if f.Severity == "" {
				f.Severity = c.Severity
			}
		}
		out = append(out, f)
	}
	return out
}

// control asks the catalogue.
func (f Find) control(id string) (control.Control, bool) {
	if f == nil || id == "" {
		return control.Control{}, false
	}
	return f(id)
}

// sentence says in words what a body without findings tells.
func (b body) sentence() string {
	if text := b.text("message", "summary"); text != "" {
		return text
	}
	var parts []string
	for _, name := range []string{"what", "why", "producer", "lost", "since", "until", "error", "repository", "revision", "exitCode", "fields", "origin"} {
		if raw := b[name]; len(raw) > 0 {
			parts = append(parts, name+" "+strings.Trim(string(raw), `"`))
		}
	}
	return clip(strings.Join(parts, ", "))
}

// Events are what a record tells: one a finding, and one for a record without findings. It is pure but for what find
// answers; the error is that the body is no object.
func Events(r record.Record, find Find) ([]Event, error) {
	var b body
	if err := json.Unmarshal(r.Body, &b); err != nil || b == nil {
		return nil, fmt.Errorf("read the body of record %s: want a JSON object", finding.Value(r.ID))
	}
	kind, _, _ := strings.Cut(r.Kind, ".")
	e := Event{ID: r.ID, Class: classes[kind], Record: r, Title: titles[kind]}
	request := b.inner("subject", "object")
	e.User = first(b.inner("actor").text("ref", "name"), b.text("actor", "user"))
	e.Verb = strings.ToLower(b.text("operation", "verb"))
	e.Message = b.sentence()
	e.Refused = string(b["refused"]) == "true" || string(b["allowed"]) == "false" || string(b["exitCode"]) == "1"
	e.DryRun = string(b["dryRun"]) == "true"
	e.Undecided = kind == "check-run" && !e.Refused && string(b["exitCode"]) != "0"
	if kind == "key-rotation" {
		e.Verb = "rotate"
	}
	if e.Class == Detection {
		e.Severity = finding.Medium
	}
	e.Finding.Subject = finding.Subject{
		APIVersion: first(b.text("apiVersion"), request.text("apiVersion")),
		Kind:       first(b.text("kind", "resource"), request.text("kind", "resource")),
		Namespace:  first(b.text("namespace"), request.text("namespace")),
		Name:       first(b.text("name"), request.text("name")),
	}
	if e.Title == "" {
		e.Title = clip(r.Kind)
	}
	if e.DryRun {
		e.Message = clip("dry run: " + e.Message)
	}
	if kind == "canary" {
		return e.tried(), nil
	}
	fs := b.findings(find)
	if kind == "admission-decision" && len(fs) == 0 && !e.Refused {
		e.Class, e.Severity = Activity, ""
	}
	if len(fs) == 0 {
		return []Event{e}, nil
	}
	var out []Event
	for i, f := range fs {
		out = append(out, e.of(i, f))
	}
	return out, nil
}

// tried are the events of a canary's run: an alert for each object that was let in or refused against the rules, else one that alarms nobody.
func (e Event) tried() (out []Event) {
	var run struct {
		LetIn, RefusedGood int
		Faults             []struct{ Namespace, Control, Kind, Outcome, Detail string }
	}
	unread := json.Unmarshal(e.Record.Body, &run) != nil
	alert := e
	alert.Class = Detection
	for i, f := range run.Faults {
		found := finding.Finding{Control: f.Control, Outcome: finding.Fail, Severity: finding.Critical, Title: "An object was let in that must be refused",
			Subject: finding.Subject{Kind: f.Kind, Namespace: f.Namespace}}
		switch f.Outcome {
		case "let-in":
		case "refused-good":
			found.Severity, found.Title = finding.High, "An object was refused that must be let in"
		default:
			continue
		}
		found.Message = strings.TrimSpace(f.Control+" "+found.Title) + ": " + f.Detail
		out = append(out, alert.of(i, found))
	}
	switch {
	case len(out) > 0:
		return out
	case unread || run.LetIn+run.RefusedGood > 0:
		alert.Severity = finding.Critical
		return []Event{alert}
	}
	return []Event{e}
}

// of is the event of one finding of several.
func (e Event) of(i int, f finding.Finding) Event {
	e.ID = fmt.Sprintf("%s.%d", e.Record.ID, i)
	whole := e.Finding.Subject
	f.Subject = finding.Subject{
		APIVersion: first(clip(f.Subject.APIVersion), whole.APIVersion), Kind: first(clip(f.Subject.Kind), whole.Kind),
		Namespace: first(clip(f.Subject.Namespace), whole.Namespace), Name: first(clip(f.Subject.Name), whole.Name),
	}
	for _, s := range []*string{&f.Control, &f.Rule, &f.Title, &f.Message, &f.Found, &f.Wanted, &f.Fix, &f.Path, &f.Fingerprint} {
		*s = clip(*s)
	}
	if !slices.Contains([]finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low}, f.Severity) {
		f.Severity = finding.High
	}
	if f.Fingerprint == "" && f.Control != "" {
		f.Fingerprint = finding.Fingerprint(f.Control, f.Subject, f.Path)
	}
	e.Finding, e.Severity = f, f.Severity
	e.Title, e.Message = first(f.Title, e.Title), first(f.Message, line(f))
	if e.DryRun {
		e.Message = clip("dry run: " + e.Message)
	}
	if f.Observed != nil {
		e.User = first(e.User, clip(f.Observed.User))
		e.Verb = first(e.Verb, strings.ToLower(clip(f.Observed.Operation)))
		e.Refused = e.Refused || f.Observed.Refused
	}
	return e
}

// AsMessage is an event as a message; data is its text.
func (e Event) AsMessage(data []byte) Message {
	return Message{ID: e.ID, Kind: e.Record.Kind, Cluster: e.Record.Cluster, Time: e.Record.Time, Severity: e.Level(), Data: data}
}

// Level is the severity as RFC 5424 counts: 2 critical, 3 error, 4 warning, 5 notice, 6 informational.
func (e Event) Level() int {
	switch e.Severity {
	case finding.Critical:
		return 2
	case finding.High:
		return 3
	case finding.Medium:
		return 4
	case finding.Low:
		return 5
	default:
		return 6
	}
}

// Whole sends records as they are: the envelope of package record on one line of JSON.
func Whole(r record.Record) ([]Message, error) {
	es, err := Events(r, nil)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write record %s: %w", finding.Value(r.ID), err)
	}
	e := es[0]
	for _, other := range es[1:] {
		if other.Level() < e.Level() {
			e = other
		}
	}
	e.ID = r.ID
	return []Message{e.AsMessage(data)}, nil
}

// first is the first text that is not empty.
func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

// clip replaces control characters and cuts at maxText runes.
func clip(s string) string {
	s = finding.Clean(s)
	if len(s) <= maxText {
		return s
	}
	if runes := []rune(s); len(runes) > maxText {
		return string(runes[:maxText-1]) + "…"
	}
	return s
}

// line is a finding in one line, in the words of the refusal line.
func line(f finding.Finding) string {
	text := strings.TrimSpace(f.Control + " " + f.Title)
	if f.Outcome == finding.Errored {
		text += ": could not be decided"
	}
	for _, part := range [][2]string{{": found ", f.Found}, {" at ", f.Path}, {"; want ", f.Wanted}, {"; fix: ", f.Fix}} {
		if part[1] != "" {
			text += part[0] + part[1]
		}
	}
	return clip(text)
}
