package vap

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"

	"ringfence.dev/ringfence/finding"
)

// ReasonNamespace is the reason of a finding that is NotApplicable because the policy reads labels or other fields of the
// object's Namespace, which was not supplied. It is part of the contract.
const ReasonNamespace = "namespace-not-supplied"

// base is what all findings of a policy and a binding share; rule is the binding, and the validation where there is one.
func base(h hook, s finding.Subject, b *admissionv1.ValidatingAdmissionPolicyBinding, rule string) finding.Finding {
	name, action := "", finding.Deny
	if b != nil {
		name, action = b.Name, strongest(b.Spec.ValidationActions)
		rule = strings.TrimSuffix(name+"/"+rule, "/")
	}
	title := "policy without a binding"
	if name != "" && name != unbound {
		title = "binding " + name
	}
	return finding.Finding{
		Control: h.policy.Name, Rule: rule, Title: title, Severity: finding.Medium, Outcome: finding.Pass, Action: action,
		Subject: s, Source: "vap", Fingerprint: finding.Fingerprint("vap/"+h.policy.Name+"/"+rule, s, ""),
	}
}

func strongest(actions []admissionv1.ValidationAction) finding.Action {
	out := finding.Audit
	for _, a := range actions {
		out = finding.Stronger(out, finding.Action(a))
	}
	return out
}

// line is the text with which the API server refuses or warns, fit for one line.
func line(f finding.Finding, h hook, b *admissionv1.ValidatingAdmissionPolicyBinding, message string) string {
	by := fmt.Sprintf("ValidatingAdmissionPolicy '%s'", h.policy.Name)
	if b != nil && b.Name != unbound {
		by += fmt.Sprintf(" with binding '%s'", b.Name)
	}
	text := by + " denied request: " + message
	if f.Action != finding.Deny {
		text = "Validation failed for " + by + ": " + message
	}
	const most = 1024 // design.md, "Refusal line"
	if text = finding.Clean(text); len(text) > most {
		text = strings.ToValidUTF8(text[:most-len("…")], "") + "…"
	}
	return text
}

// fail is a Fail: what the API server refuses for, without an error.
func fail(f finding.Finding, h hook, b *admissionv1.ValidatingAdmissionPolicyBinding, message, wanted string) finding.Finding {
	f.Outcome, f.Found, f.Wanted, f.Message = finding.Fail, message, wanted, line(f, h, b, message)
	return f
}

// undecided is an evaluation that ended in an error: Errored where failurePolicy is Fail, passed over where it is Ignore.
func undecided(h hook, s finding.Subject, b *admissionv1.ValidatingAdmissionPolicyBinding, message string) finding.Finding {
	return errored(base(h, s, b, "error"), h, b, message)
}

func errored(f finding.Finding, h hook, b *admissionv1.ValidatingAdmissionPolicyBinding, message string) finding.Finding {
	f.Outcome, f.Reason, f.Message = finding.Errored, &message, line(f, h, b, message)
	if ignores(h) {
		reason := "failurePolicy is Ignore: " + message
		f.Outcome, f.Reason = finding.NotApplicable, &reason
	}
	return f
}

func ignores(h hook) bool {
	return h.policy.Spec.FailurePolicy != nil && *h.policy.Spec.FailurePolicy == admissionv1.Ignore
}

// misconfigured is what the API server refuses every matching request for, whatever the binding's actions are.
func misconfigured(h hook, s finding.Subject, b *admissionv1.ValidatingAdmissionPolicyBinding, err error) finding.Finding {
	what := "failed to configure policy: "
	if b != nil {
		what = "failed to configure binding: "
	}
	f := base(h, s, b, "configuration")
	f.Action = finding.Deny
	if ignores(h) {
		return errored(f, h, b, what+err.Error())
	}
	return fail(f, h, b, what+err.Error(), "a policy, binding and parameters that fit together")
}

// skipped is a policy that cannot be judged here for want of something.
func skipped(h hook, s finding.Subject, b *admissionv1.ValidatingAdmissionPolicyBinding, reason string) finding.Finding {
	f := base(h, s, b, "")
	f.Outcome, f.Reason = finding.NotApplicable, &reason
	f.Message = h.policy.Name + " " + f.Title + ": not judged: " + reason
	return f
}

// findings are what the validations and audit annotations of a policy say, one result for each parameter.
func findings(h hook, s finding.Subject, b *admissionv1.ValidatingAdmissionPolicyBinding, results []validating.ValidateResult) (out []finding.Finding) {
	add := func(f finding.Finding) {
		twin := func(g finding.Finding) bool { return f.Rule == g.Rule && f.Message == g.Message }
		if slices.ContainsFunc(out, twin) {
			return // another parameter led to the same
		}
		if n := count(out, f.Rule); n > 0 {
			f.Fingerprint = finding.Fingerprint(fmt.Sprintf("vap/%s/%s/%d", h.policy.Name, f.Rule, n), s, "")
		}
		out = append(out, f)
	}
	for _, r := range results {
		for i, d := range r.Decisions {
			f := base(h, s, b, fmt.Sprintf("validations/%d", i))
			switch {
			case d.Evaluation == validating.EvalError:
				add(errored(f, h, b, d.Message))
			case d.Action == validating.ActionDeny:
				add(fail(f, h, b, d.Message, wanted(h.policy.Spec.Validations[i])))
			}
		}
		for _, a := range r.AuditAnnotations {
			f := base(h, s, b, "auditAnnotations/"+a.Key)
			switch a.Action {
			case validating.AuditAnnotationActionError:
				f.Action = finding.Deny
				add(errored(f, h, b, a.Error))
			case validating.AuditAnnotationActionPublish:
				f.Message = finding.Clean(fmt.Sprintf("audit annotation %s/%s: %s", h.policy.Name, a.Key, a.Value))
				add(f)
			}
		}
	}
	if len(out) == 0 && len(results) > 0 {
		out = []finding.Finding{base(h, s, b, "")}
	}
	return outcomes(out)
}

// outcomes puts the worst first: a report counts a policy and object by the first.
func outcomes(fs []finding.Finding) []finding.Finding {
	order := []finding.Outcome{finding.Fail, finding.Errored, finding.NotApplicable, finding.Pass}
	slices.SortStableFunc(fs, func(a, b finding.Finding) int {
		return cmp.Compare(slices.Index(order, a.Outcome), slices.Index(order, b.Outcome))
	})
	return fs
}

func count(fs []finding.Finding, rule string) (n int) {
	for _, f := range fs {
		if f.Rule == rule {
			n++
		}
	}
	return n
}

// wanted is a validation's own text for what it asks.
func wanted(v admissionv1.Validation) string {
	return strings.Join(strings.Fields(finding.Clean(v.Expression)), " ")
}
