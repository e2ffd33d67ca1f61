package auditlog

import (
	"encoding/json"
	"strings"
	"testing"

	"ringfence.dev/ringfence/finding"
)

// TestWebhook: what Ringfence's own webhook refused, warned of and could not decide is read as what its bundles did.
func TestWebhook(t *testing.T) {
	find := catalogue(t)
	one, _ := find("RF-WL-01")
	two, _ := find("RF-WL-02")
	first := finding.Line(one.ID, one.Title, "true", "/spec/containers/0/securityContext/privileged", one.Wanted, one.Fix, "", 1)
	second := two.ID + " " + two.Title + ": could not be decided: no such key: spec"
	bare := "ringfence-workloads: namespace bare has no Guard; want a Guard named guard in the namespace; fix: make the namespace an environment of a Tenant"
	list := func(policy string, messages ...string) string {
		var all []failure
		for _, m := range messages {
			all = append(all, failure{m, policy})
		}
		text, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const key = "workloads.admission.ringfence.dev/validation_failure"
	event := func(code int, says string, annotations map[string]string) Event {
		e := Event{Stage: "ResponseComplete", Verb: "create", ObjectRef: &ObjectRef{Resource: "pods", APIVersion: "v1", Namespace: "payments-dev", Name: "a"},
			ResponseStatus: &ResponseStatus{Code: code, Message: says}, Annotations: annotations}
		return e
	}
	denied := func(text string) string {
		return `admission webhook "workloads.admission.ringfence.dev" denied the request: ` + finding.Tagged(text, "705ab4f5-6393-11e8-b7cc-42010a800002")
	}
	type want struct {
		control string
		outcome finding.Outcome
		action  finding.Action
		path    string
	}
	at := "/spec/containers/0/securityContext/privileged"
	for _, c := range []struct {
		name string
		e    Event
		want []want
	}{
		{"refused", event(403, denied(first), map[string]string{key: list("ringfence-workloads-warn", first, second)}),
			[]want{{"RF-WL-01", finding.Fail, finding.Deny, at}, {"RF-WL-02", finding.Errored, finding.Deny, ""}}},
		{"refused, and the annotation is lost", event(403, denied(first), nil), []want{{"RF-WL-01", finding.Fail, finding.Deny, at}}},
		{"undecided, and the annotation is lost", event(403, denied(second), nil), []want{{"RF-WL-02", finding.Errored, finding.Deny, ""}}},
		{"warned at both doors", event(201, "", map[string]string{key: list("ringfence-workloads-warn", first), annotation: list("ringfence-workloads-warn", first)}),
			[]want{{"RF-WL-01", finding.Fail, finding.Warn, at}}},
		{"a namespace without Guard", event(403, denied(bare), map[string]string{key: list("ringfence-workloads-deny", bare)}),
			[]want{{"", finding.Errored, finding.Deny, ""}}},
		{"a webhook of others", event(403, `admission webhook "workloads.admission.bank.example" denied the request: `+first, map[string]string{"x.admission.bank.example/validation_failure": list("ringfence-workloads-warn", first)}), nil},
		{"a value that pretends", event(201, "", map[string]string{key: list("ringfence-workloads-warn", finding.Line(one.ID, one.Title, "x: could not be decided: y", at, one.Wanted, one.Fix, "", 0))}),
			[]want{{"RF-WL-01", finding.Fail, finding.Warn, at}}},
		{"a list that is none", event(201, "", map[string]string{key: "["}), []want{{"", finding.Errored, finding.Warn, ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Findings(c.e, Knowledge{Find: find})
			if len(got) != len(c.want) {
				t.Fatalf("found %+v", got)
			}
			for i, w := range c.want {
				if g := got[i]; strings.Contains(g.Message, "[id ") || g.Control != w.control || g.Outcome != w.outcome || g.Action != w.action || g.Path != w.path || g.Subject.Kind != "Pod" {
					t.Errorf("found %+v; want %+v", g, w)
				}
			}
		})
	}
}
