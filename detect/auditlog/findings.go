package auditlog

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// Knowledge is what an event does not say.
type Knowledge struct {
	// Find is the catalogue: (*control.Catalogue).Find. Nil knows no control.
	Find func(id string) (control.Control, bool)
	// Action is the action of a control in a namespace, for instance from its Guard; empty is unknown. It is asked only
	// where the event leaves it open, see Findings. Nil knows none.
	Action func(namespace, id string) finding.Action
	// Groups are the catalogue's match groups. Nil means control.Groups.
	Groups []control.Group
}

// Reasons of Errored findings that no text of the API server explains better.
const (
	// ReasonNoGuard means: the namespace has no Guard, so no control of the bundle could be decided.
	ReasonNoGuard = "guard-not-found"
	// ReasonUnreadable means: the event's list of failures could not be read, so some may be missing.
	ReasonUnreadable = "annotation-unreadable"
)

const (
	// annotation holds every failure of a binding with action Audit; older servers list only the first.
	annotation = "validation.policy.admission.k8s.io/validation_failure"
	// maxFailures is how many failures of one event are read; the API server writes at most 50.
	maxFailures = 256
	// maxLists is how many lists of one event are read: one a match group asks the webhook once.
	maxLists = 16
	// noParams is what the API server says where a binding finds no Guard.
	noParams = "no params found for policy binding"
	// webhookAnnotation ends the annotation in which Ringfence's own webhook leaves its failures in the same form, behind the
	// name of a match group; noGuard is how it says that there is none, and notDecided how it begins what it could not decide.
	webhookAnnotation = ".admission.ringfence.dev/validation_failure"
	noGuard           = " has no Guard; want a Guard named guard"
	notDecided        = ": could not be decided: "
)

// failure is one element of the annotation.
type failure struct {
	Message string `json:"message"`
	Policy  string `json:"policy"`
}

// Findings is what Ringfence's bundles found in the request of an event: one finding a control, at the first place. It
// is pure. Events before the answer, and of requests that no bundle found fault with, have none.
//
// The action is Deny for the control that the refusal names and Warn wherever no ValidatingAdmissionPolicy refused. The
// annotation does not tell the other controls of a refused request apart: Knowledge.Action says, else they are Deny.
//
// A control that the API server could not evaluate is Errored. Where no control can be named (a namespace without Guard)
// there is one Errored finding with Control "", the bundle's name, as ringfence-workloads, as Rule and a Reason.
func Findings(e Event, k Knowledge) []finding.Finding {
	lists := annotations(e)
	var by refusal
	denied := false
	if e.ResponseStatus != nil && e.ResponseStatus.Code >= 400 {
		by, denied = parseRefusal(e.ResponseStatus.Message)
	}
	ours := denied && k.isBundle(by.policy)
	if e.Stage != "ResponseComplete" && e.Stage != "Panic" || e.ObjectRef == nil || len(lists) == 0 && !ours {
		return nil
	}
	m := maker{Knowledge: k, subject: k.subjectOf(e, by), observed: observed(e), denied: denied}
	if ours {
		m.named = m.controlOf(by.text)
	}
	var failures []failure
	for _, list := range lists {
		var more []failure
		if err := json.Unmarshal([]byte(list), &more); err != nil {
			m.add(m.errored("", annotation, ReasonUnreadable, "the audit event's list of failures could not be read"))
		}
		failures = append(failures, more...)
	}
	for _, f := range failures[:min(len(failures), maxFailures)] {
		if k.isBundle(f.Policy) {
			m.add(m.finding(f.Policy, f.Message))
		}
	}
	if ours {
		m.add(m.finding(by.policy, by.text))
	}
	return m.out
}

// annotations are the lists of failures of an event: the API server's own, then those of Ringfence's webhook.
func annotations(e Event) (lists []string) {
	var keys []string
	for key := range e.Annotations {
		if strings.HasSuffix(key, webhookAnnotation) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range append([]string{annotation}, keys[:min(len(keys), maxLists)]...) {
		if list := e.Annotations[key]; list != "" {
			lists = append(lists, list)
		}
	}
	return lists
}

// maker makes the findings of one event.
type maker struct {
	Knowledge
	subject  finding.Subject
	observed finding.Observed
	// denied is true where any ValidatingAdmissionPolicy refused the request, and named the control it named.
	denied bool
	named  string
	out    []finding.Finding
}

// add keeps the first finding of each control.
func (m *maker) add(f finding.Finding) {
	same := func(g finding.Finding) bool { return g.Control == f.Control && (f.Control != "" || g.Rule == f.Rule) }
	if !slices.ContainsFunc(m.out, same) {
		m.out = append(m.out, f)
	}
}

// controlOf is the control that a failure's text speaks of, or "".
func (m *maker) controlOf(text string) string {
	if l, ok := parseLine(text, m.Find); ok {
		return l.id
	}
	id, _ := undecidedControl(text)
	return id
}

// finding is what one failure of one bundle says.
func (m *maker) finding(policy, text string) finding.Finding {
	if id, why, ok := m.undecided(text); ok {
		return m.errored(id, policy, clean(why, maxMessage), "could not be decided: "+why)
	}
	l, ok := parseLine(text, m.Find)
	if !ok {
		if strings.Contains(text, noParams) || strings.Contains(text, noGuard) {
			return m.errored("", policy, ReasonNoGuard, "namespace "+clean(m.subject.Namespace, maxName)+" has no Guard")
		}
		id, _ := undecidedControl(text)
		if _, why, ok := strings.Cut(text, " resulted in error: "); ok && id != "" {
			text = why
		}
		return m.errored(id, policy, clean(text, maxMessage), "could not be decided: "+text)
	}
	f := m.base(l.id, policy)
	f.Outcome = finding.Fail
	f.Title, f.Wanted, f.Fix, f.Found, f.Path = l.title, l.wanted, l.fix, l.found, l.path
	if l.change != "" {
		f.Change = &l.change
	}
	f.Waiver = l.waiver
	f.Message = clean(text, maxMessage)
	f.Fingerprint = finding.Fingerprint(f.Control, f.Subject, f.Path)
	return f
}

// undecided takes apart how the webhook says that a control of the catalogue could not be decided.
func (m *maker) undecided(text string) (id, why string, ok bool) {
	id, _, _ = strings.Cut(text, " ")
	if m.Find == nil || !control.ValidID(id) {
		return "", "", false
	}
	c, known := m.Find(id)
	why, ok = strings.CutPrefix(text, c.ID+" "+c.Title+notDecided)
	return c.ID, why, known && ok
}

// errored is a finding for what could not be decided. id is "" where no control can be named; then the Rule is the bundle's
// group, because which of its two policies speaks first is chance.
func (m *maker) errored(id, policy, reason, text string) finding.Finding {
	if id == "" {
		policy = strings.TrimSuffix(strings.TrimSuffix(policy, "-deny"), "-warn")
	}
	f := m.base(id, policy)
	f.Outcome, f.Reason = finding.Errored, &reason
	start, key := f.Control+" "+f.Title, f.Control
	switch {
	case id != "":
	case reason == ReasonNoGuard:
		start, key = f.Rule, f.Rule
		f.Title, f.Wanted = "Guard in every guarded namespace", "a Guard named guard in the namespace"
		f.Fix = "make the namespace an environment of a Tenant, or exempt it in the Platform; if it is one, see that ringfence serve runs"
		text += "; want " + f.Wanted + "; fix: " + f.Fix
	default:
		start, key = f.Rule, f.Rule
		f.Title, f.Wanted = "Bundle that the API server can evaluate", "a decision for every request"
		f.Fix = "read the status of the ValidatingAdmissionPolicy and the API server's log"
	}
	f.Message = clean(start+": "+text, maxMessage)
	f.Fingerprint = finding.Fingerprint(key, f.Subject, "")
	return f
}

// base is a finding without outcome. What the catalogue does not know is of severity high.
func (m *maker) base(id, policy string) finding.Finding {
	seen := m.observed
	f := finding.Finding{
		Control: id, Rule: policy, Severity: finding.High, Action: m.action(id),
		Subject: m.subject, Source: "catalogue", Observed: &seen,
	}
	if m.Find == nil {
		return f
	}
	if c, ok := m.Find(id); ok {
		f.Rule, f.Title, f.Severity, f.Wanted, f.Fix = c.Rule(), c.Title, c.Severity, c.Wanted, c.Fix
	}
	return f
}

// action is what the failure of a control led to; see Findings.
func (m *maker) action(id string) finding.Action {
	if !m.denied {
		return finding.Warn
	}
	if id != m.named && id != "" && m.Action != nil && m.Action(m.subject.Namespace, id) == finding.Warn {
		return finding.Warn
	}
	return finding.Deny
}

func (k Knowledge) groups() []control.Group {
	if k.Groups == nil {
		return control.Groups()
	}
	return k.Groups
}

// isBundle reports whether a policy is one of Ringfence's, by the names that policy/bundle gives.
func (k Knowledge) isBundle(policy string) bool {
	if policy == "ringfence-metadata" { // speaks as RF-GV-01
		return true
	}
	for _, g := range k.groups() {
		if policy == "ringfence-"+g.Name+"-deny" || policy == "ringfence-"+g.Name+"-warn" {
			return true
		}
	}
	return false
}

// subjectOf is the object of a request. A subresource is a door to the object it belongs to. A resource that no match
// group knows stands as it is in place of its kind.
func (k Knowledge) subjectOf(e Event, by refusal) finding.Subject {
	ref := e.ObjectRef
	s := finding.Subject{APIVersion: ref.APIVersion, Kind: clean(ref.Resource, maxName), Namespace: clean(ref.Namespace, maxName), Name: ref.Name}
	if ref.APIGroup != "" {
		s.APIVersion = ref.APIGroup + "/" + ref.APIVersion
	}
	s.APIVersion = clean(s.APIVersion, maxName)
	for _, g := range k.groups() {
		for _, kind := range g.Kinds {
			if kind.Resource == ref.Resource && (kind.APIGroup == ref.APIGroup || slices.Contains(kind.OldAPIGroups, ref.APIGroup)) {
				s.Kind = kind.Kind
			}
		}
	}
	if s.Name == "" && e.ResponseStatus != nil {
		s.Name = e.ResponseStatus.Details.Name
	}
	if s.Name == "" {
		s.Name = by.name
	}
	// What the API server writes for an object with neither name nor generateName.
	if strings.HasPrefix(s.Name, "Unknown") {
		s.Name = ""
	}
	s.Name = clean(s.Name, maxName)
	return s
}

// observed is the request of an event.
func observed(e Event) finding.Observed {
	o := finding.Observed{
		Time: e.RequestReceivedTimestamp.UTC(), User: clean(e.User.Username, maxName), Operation: "UPDATE",
		AuditID: finding.Value(e.AuditID), Door: "apiserver",
	}
	if e.ImpersonatedUser != nil {
		o.ImpersonatedUser = clean(e.ImpersonatedUser.Username, maxName)
	}
	code := 0
	if e.ResponseStatus != nil {
		code = e.ResponseStatus.Code
	}
	o.Refused = code >= 400
	// A server-side apply that creates is a patch answered with 201. Refused, it looks like a change.
	switch {
	case slices.Contains([]string{"exec", "attach", "portforward", "proxy"}, e.ObjectRef.Subresource):
		o.Operation = "CONNECT"
	case e.Verb == "create" || code == 201:
		o.Operation = "CREATE"
	}
	if _, query, ok := strings.Cut(e.RequestURI, "?"); ok {
		values, _ := url.ParseQuery(query) // what cannot be parsed is left out, by the API server too
		o.DryRun = values.Has("dryRun")
	}
	return o
}
