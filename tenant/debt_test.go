package tenant

import (
	"testing"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
)

// TestDebts: the grace is that of the step from which the denial follows, and ends.
func TestDebts(t *testing.T) {
	const id, first, second = "RF-WL-08", v1alpha1.Instant("2026-11-21T12:00:00Z"), v1alpha1.Instant("2026-11-28T12:00:00Z")
	platform := &v1alpha1.Platform{}
	platform.Spec.Controls = map[string]v1alpha1.ControlRollout{id: {Action: v1alpha1.Deny, Production: v1alpha1.Warn, Rings: map[string]v1alpha1.Action{"early": v1alpha1.Deny},
		Steps: []v1alpha1.RolloutStep{{Place: "ring/early", To: v1alpha1.Deny, GraceUntil: first}, {Place: "production", To: v1alpha1.Deny, GraceUntil: first},
			{Place: "action", From: v1alpha1.Warn, To: v1alpha1.Deny, GraceUntil: second}}}}
	early := &v1alpha1.Tenant{Spec: v1alpha1.TenantSpec{Ring: "early", Environments: []v1alpha1.Environment{{Name: "dev"}, {Name: "prod", Production: true}}}}
	early.Name = "early"
	late := early.DeepCopy()
	late.Name, late.Spec.Ring = "late", ""
	strict := late.DeepCopy()
	strict.Name, strict.Spec.Controls = "strict", map[string]v1alpha1.Action{id: v1alpha1.Deny}
	controls := []control.Control{{ID: id}}
	for namespace, test := range map[string]struct {
		tenant *v1alpha1.Tenant
		want   v1alpha1.Instant
	}{
		"early-dev": {early, first}, "early-prod": {early, first}, "late-dev": {late, second}, "late-prod": {late, ""}, "nobodys": {nil, second},
		"strict-prod": {strict, ""}, "strict-dev": {strict, ""}, // its own wish, and no promotion
	} {
		spec := Compile(controls, platform, test.tenant, nil, namespace).Spec
		if got := spec.Debts[id]; got != test.want {
			t.Errorf("%s: %q, want %q", namespace, got, test.want)
		}
	}
	spec := Compile(controls, platform, early, nil, "early-dev").Spec
	end := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	if next := DropExpired(&spec, end.Add(-time.Second)); len(spec.Debts) != 1 || !next.Equal(end) {
		t.Errorf("before the end: %v, next %v", spec.Debts, next)
	}
	if DropExpired(&spec, end); len(spec.Debts) != 0 {
		t.Errorf("at the end: %v", spec.Debts)
	}
}

// TestDebtsOfWhatWasRefused: a step that is more specific than one that refused already lets nothing in anew, and takes no grace away either.
func TestDebtsOfWhatWasRefused(t *testing.T) {
	const id, first, second = "RF-WL-08", v1alpha1.Instant("2026-11-21T12:00:00Z"), v1alpha1.Instant("2026-11-28T12:00:00Z")
	step := func(place string, from v1alpha1.Action, until v1alpha1.Instant) v1alpha1.RolloutStep {
		return v1alpha1.RolloutStep{Place: place, From: from, To: v1alpha1.Deny, GraceUntil: until}
	}
	ring := map[string]v1alpha1.Action{"early": v1alpha1.Deny}
	for name, test := range map[string]struct {
		rollout   v1alpha1.ControlRollout
		dev, prod v1alpha1.Instant
	}{
		"production, then the ring": {v1alpha1.ControlRollout{Production: v1alpha1.Deny, Rings: ring,
			Steps: []v1alpha1.RolloutStep{step("production", "", first), step("ring/early", "", second)}}, second, first},
		"production without grace, then the ring": {v1alpha1.ControlRollout{Production: v1alpha1.Deny, Rings: ring,
			Steps: []v1alpha1.RolloutStep{step("production", "", ""), step("ring/early", "", second)}}, second, ""},
		"the ring, then production": {v1alpha1.ControlRollout{Production: v1alpha1.Deny, Rings: ring,
			Steps: []v1alpha1.RolloutStep{step("ring/early", "", first), step("production", "", second)}}, first, first},
		"everywhere, then the ring that warned": {v1alpha1.ControlRollout{Action: v1alpha1.Deny, Rings: ring,
			Steps: []v1alpha1.RolloutStep{step("action", "", first), step("ring/early", v1alpha1.Warn, second)}}, second, second},
		"by hand everywhere, nobody knows when": {v1alpha1.ControlRollout{Action: v1alpha1.Deny, Rings: ring,
			Steps: []v1alpha1.RolloutStep{step("ring/early", "", first)}}, first, first},
		"by hand for the ring": {v1alpha1.ControlRollout{Action: v1alpha1.Deny, Rings: ring, Steps: []v1alpha1.RolloutStep{step("action", "", first)}}, "", ""},
	} {
		platform := &v1alpha1.Platform{}
		platform.Spec.Controls = map[string]v1alpha1.ControlRollout{id: test.rollout}
		early := &v1alpha1.Tenant{Spec: v1alpha1.TenantSpec{Ring: "early", Environments: []v1alpha1.Environment{{Name: "dev"}, {Name: "prod", Production: true}}}}
		early.Name = "early"
		for namespace, want := range map[string]v1alpha1.Instant{"early-dev": test.dev, "early-prod": test.prod} {
			if got := Compile([]control.Control{{ID: id}}, platform, early, nil, namespace).Spec.Debts[id]; got != want {
				t.Errorf("%s: the debt in %s ends at %q; want %q", name, namespace, got, want)
			}
		}
	}
}
