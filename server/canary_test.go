package server

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy/canary"
)

// TestProven: what is let in outweighs all; what could not be asked is never well.
func TestProven(t *testing.T) {
	of := func(outcomes ...string) (r canary.Run) {
		for _, o := range outcomes {
			r.Tried = append(r.Tried, canary.Tried{Outcome: o})
		}
		return r
	}
	for name, test := range map[string]struct {
		run    canary.Run
		status metav1.ConditionStatus
		reason string
	}{
		"well":         {of(canary.Held, canary.NotAsked), metav1.ConditionTrue, "Held"},
		"let in":       {of(canary.Held, canary.RefusedGood, canary.LetIn, canary.RefusedGood), metav1.ConditionFalse, "LetIn"},
		"refused good": {of(canary.Held, canary.RefusedGood), metav1.ConditionFalse, "RefusedGood"},
		"nobody asked": {of(canary.NotAsked), metav1.ConditionUnknown, "NotAsked"},
		"nothing":      {of(), metav1.ConditionUnknown, "NotAsked"},
	} {
		if c := proven(test.run, 7); c.Status != test.status || c.Reason != test.reason || c.ObservedGeneration != 7 {
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
