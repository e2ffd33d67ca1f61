package admission

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
)

// Decision is a request that was not simply let in, and why.
type Decision struct {
	// UID is the review's.
	UID string
	// Operation is CREATE, UPDATE, DELETE or CONNECT.
	Operation string
	// Subject is the object; its namespace is empty for what lies in none.
	Subject finding.Subject
	// User is who asked, as authenticated.
	User string
	// Allowed is false where this door refused; others may have refused too.
	Allowed bool
	// DryRun is true where nothing would have been stored anyway.
	DryRun bool
	// Findings are what did not pass, those of controls that only audit among them, in order of control.
	Findings []finding.Finding
}

// AnnotationFailures is the key, behind the webhook's name and a slash, of the audit annotation that lists failures. Its form is
// that of validation.policy.admission.k8s.io/validation_failure, which the native bundles leave.
const AnnotationFailures = "validation_failure"

// failure is one element of the annotation.
type failure struct {
	Message string `json:"message"`
	Policy  string `json:"policy"`
	Binding string `json:"binding"`
}

const (
	// maxFailures is how many failures an annotation lists and how many warnings an answer has at most; the API server's own
	// annotation has 50, and it shows 4 KiB of warnings.
	maxFailures = 50
	// maxWarning is how many runes of one warning the API server shows.
	maxWarning = 256
)

// judge asks the engine, and answers what the native bundles would.
func (h *Handler) judge(ctx context.Context, q *request) *answer {
	a := &answer{operation: q.operation(), verdict: allowed, response: &admissionv1.AdmissionResponse{UID: q.UID, Allowed: true}}
	subject := q.subject()
	kind, judged := h.cfg.Engine.Match(subject.APIVersion, subject.Kind)
	asked := q.Operation == admissionv1.Create || q.Operation == admissionv1.Update || q.Operation == admissionv1.Connect && kind.Connect
	// No control judges what is deleted. The pinned namespaces are never judged, whatever a registration
	// asks: a cluster must be able to start and Ringfence must be able to run.
	if !judged || !asked || slices.Contains(v1alpha1.PinnedExemptNamespaces, q.Namespace) {
		return a
	}
	a.way.kind = &kind
	guardIn := q.Namespace
	if kind.ClusterScoped {
		guardIn, subject.Namespace = v1alpha1.SystemNamespace, ""
	}
	guard, err := h.cfg.Guards.Guard(ctx, guardIn)
	if errors.Is(err, ErrNoGuard) && kind.Asked {
		return a // as the native bindings
	}
	if errors.Is(err, ErrNoGuard) {
		return h.unguarded(q, kind, subject, guardIn)
	}
	if err != nil {
		h.cfg.Log.Error("a review could not be judged", "id", idOf(&q.UID), "namespace", finding.Value(guardIn), "err", err)
		late := late(&q.UID, "the Guard of namespace "+finding.Clean(guardIn)+" could not be read; the log of Ringfence says why")
		late.operation, late.way = a.operation, a.way
		return late
	}
	a.way.guarded = time.Now()
	found := h.cfg.Engine.Judge(policy.Input{Object: q.Object, OldObject: q.OldObject, Operation: string(q.Operation),
		Namespace: q.Namespace, Guard: guard, Username: q.UserInfo.Username, Groups: q.UserInfo.Groups, Now: h.cfg.Now()}, subject)
	a.way.judged = time.Now()
	found = slices.DeleteFunc(found, func(f finding.Finding) bool { return f.Outcome == finding.Pass || f.Outcome == finding.NotApplicable })
	if len(found) == 0 {
		return a
	}
	h.tell(a, q, kind, subject, found, guard)
	return a
}

// tell puts into an answer what did not pass: the first refusal, a warning for every control that denies or warns, and the
// audit annotation. It makes the answer's decision.
func (h *Handler) tell(a *answer, q *request, kind control.Kind, subject finding.Subject, found []finding.Finding, guard *policy.Guard) {
	var failures []failure
	name := "ringfence-" + h.group(kind) + "-warn" // as the bundle of the group that says the same
	for _, f := range lines(found, guard) {
		if f.Action == finding.Audit {
			continue
		}
		if f.Waiver != nil {
			f.Message += "; waived by " + f.Waiver.Name + " until " + f.Waiver.Expires // as the native bundles say it
		}
		if a.response.Allowed && f.Action != finding.Warn && f.Waiver == nil { // what is not known denies
			a.verdict, a.response = refused, refuse(q.UID, http.StatusForbidden, metav1.StatusReasonForbidden, f.Message).response
			if f.Outcome != finding.Fail {
				a.verdict = undecided
			}
		}
		failures = append(failures, failure{f.Message, name, name})
	}
	if len(failures) == 0 {
		return
	}
	a.decision = &Decision{UID: string(q.UID), Operation: q.operation(), Subject: subject, User: q.UserInfo.Username,
		Allowed: a.response.Allowed, DryRun: q.DryRun, Findings: found}
	if a.response.Allowed {
		a.verdict = warned
	}
	failures = failures[:min(len(failures), maxFailures)]
	for _, f := range failures {
		a.response.Warnings = append(a.response.Warnings, shorten(f.Message))
	}
	if text, err := json.Marshal(failures); err == nil { // texts alone can always be written
		a.response.AuditAnnotations = map[string]string{AnnotationFailures: string(text)}
	}
}

// lines is one finding for each control, in the order of the findings, with the line that tells of all its places.
func lines(found []finding.Finding, guard *policy.Guard) (out []finding.Finding) {
	places := map[string]int{}
	for _, f := range found {
		if places[f.Control]++; places[f.Control] == 1 {
			out = append(out, f)
		}
	}
	for i := range out {
		f := &out[i]
		if more := places[f.Control] - 1; more > 0 && f.Outcome == finding.Fail {
			f.Message = finding.Line(f.Control, f.Title, f.Found, f.Path, f.Wanted, f.Fix, guard.Note(f.Control), more)
		}
	}
	return out
}

// unguarded refuses what would lie in a namespace without Guard, as the native bindings do.
func (h *Handler) unguarded(q *request, kind control.Kind, subject finding.Subject, namespace string) *answer {
	text := "ringfence-" + h.group(kind) + ": namespace " + finding.Clean(namespace) + NoGuard + "; want a Guard named guard in the namespace; " +
		"fix: make the namespace an environment of a Tenant, or exempt it in the Platform; if it is one, see that ringfence serve runs"
	a := refuse(q.UID, http.StatusForbidden, metav1.StatusReasonForbidden, text)
	a.operation, a.verdict, a.way.kind = q.operation(), undecided, &kind
	a.decision = &Decision{UID: string(q.UID), Operation: a.operation, Subject: subject, User: q.UserInfo.Username, DryRun: q.DryRun}
	name := "ringfence-" + h.group(kind) + "-deny"
	if list, err := json.Marshal([]failure{{text, name, name}}); err == nil {
		a.response.AuditAnnotations = map[string]string{AnnotationFailures: string(list)}
	}
	return a
}

// NoGuard is how the refusal goes on behind the name of a namespace without Guard.
const NoGuard = " has no Guard"

// group is the name of the first match group that holds a kind.
func (h *Handler) group(kind control.Kind) string {
	for _, g := range h.cfg.Groups {
		if slices.ContainsFunc(g.Kinds, func(k control.Kind) bool { return k.APIGroup == kind.APIGroup && k.Kind == kind.Kind }) {
			return g.Name
		}
	}
	return "objects"
}

// shorten cuts a warning to what the API server shows.
func shorten(s string) string {
	if runes := []rune(s); len(runes) > maxWarning {
		return string(runes[:maxWarning-1]) + "…"
	}
	return s
}
