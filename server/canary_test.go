package server

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy/canary"
)

// TestProven: what is let in outweighs all; where nothing that must be refused could be tried it is never well, whatever was let in beside it, there or
// elsewhere.
func TestProven(t *testing.T) {
	bad := func(namespace, outcome string) canary.Tried {
		return canary.Tried{Namespace: namespace, Control: "RF-WL-02", Outcome: outcome, Detail: "no answer in time"}
	}
	good := func(outcome string) canary.Tried { return canary.Tried{Namespace: "dev", Outcome: outcome} }
	for name, test := range map[string]struct {
		tried           []canary.Tried
		status          metav1.ConditionStatus
		reason, message string
	}{
		"well":                                {[]canary.Tried{bad("dev", canary.Held), bad("dev", canary.NotAsked), good(canary.Held)}, metav1.ConditionTrue, "Held", "in 1 kinds of namespaces"},
		"let in":                              {[]canary.Tried{bad("dev", canary.Held), good(canary.RefusedGood), bad("dev", canary.LetIn), good(canary.RefusedGood)}, metav1.ConditionFalse, "LetIn", "RF-WL-02"},
		"refused good":                        {[]canary.Tried{bad("dev", canary.Held), good(canary.RefusedGood)}, metav1.ConditionFalse, "RefusedGood", "in dev"},
		"nobody asked":                        {[]canary.Tried{bad("dev", canary.NotAsked)}, metav1.ConditionUnknown, "NotAsked", "in dev: no answer in time"},
		"only good was let in":                {[]canary.Tried{bad("dev", canary.NotAsked), good(canary.Held)}, metav1.ConditionUnknown, "NotAsked", "in dev: no answer in time"},
		"one kind of namespaces says nothing": {[]canary.Tried{bad("dev", canary.Held), bad("prod", canary.NotAsked)}, metav1.ConditionUnknown, "NotAsked", "in prod: no answer in time"},
		"nothing denies":                      {[]canary.Tried{good(canary.Held)}, metav1.ConditionUnknown, "NotAsked", "no control denies"},
		"nothing":                             {nil, metav1.ConditionUnknown, "NotAsked", "no control denies"},
	} {
		if c := proven(canary.Run{Tried: test.tried}, 7); c.Status != test.status || c.Reason != test.reason || !strings.Contains(c.Message, test.message) || c.ObservedGeneration != 7 {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// TestOfCanary: only what this process tried is a canary's; nobody hides behind its name.
func TestOfCanary(t *testing.T) {
	s := &Server{}
	f := func(user, behalf, name string, dry bool) []finding.Finding {
		return []finding.Finding{{Subject: finding.Subject{Name: name}, Observed: &finding.Observed{User: user, ImpersonatedUser: behalf, DryRun: dry}}}
	}
	if s.ofCanary(f("", "", canary.Name, true)) {
		t.Error("before it is known who this is")
	}
	me := "system:serviceaccount:ringfence-system:ringfence"
	s.canaryUser.Store(&me)
	if !s.ofCanary(f(me, "", canary.Name, true)) {
		t.Error("its own is not told")
	}
	for name, fs := range map[string][]finding.Finding{
		"somebody else": f("jane", "", canary.Name, true), "in a name": f(me, "jane", canary.Name, true), "another object": f(me, "", "api", true),
		"no dry run": f(me, "", canary.Name, false), "nothing": nil,
	} {
		if s.ofCanary(fs) {
			t.Errorf("%s passes for the canary", name)
		}
	}
}
