package tenant

import (
	"slices"
	"testing"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// TestSuspension: what a suspension names warns until its end and denies from then on, for those whom it names; what warns anyway is
// not touched, and what cannot be read suspends nothing.
func TestSuspension(t *testing.T) {
	end := time.Date(2026, 11, 21, 14, 0, 0, 0, time.UTC)
	one, all := []string{"RF-WL-01"}, []string(nil)
	two := append(slices.Clone(controls), control.Control{ID: "RF-WL-02", Profiles: map[string]finding.Action{"mvp": finding.Deny}})
	for name, c := range map[string]struct {
		s         v1alpha1.Suspension
		namespace string
		at        time.Time
		want      v1alpha1.Action // of RF-WL-01
		other     v1alpha1.Action // of RF-WL-02
	}{
		"live":              {v1alpha1.Suspension{Controls: one, Expires: "2026-11-21T14:00:00Z"}, "payments-dev", end.Add(-1), v1alpha1.Warn, v1alpha1.Deny},
		"at its end":        {v1alpha1.Suspension{Controls: one, Expires: "2026-11-21T14:00:00Z"}, "payments-dev", end, v1alpha1.Deny, v1alpha1.Deny},
		"every control":     {v1alpha1.Suspension{Controls: all, Expires: "2026-11-21T14:00:00Z"}, "payments-dev", end.Add(-1), v1alpha1.Warn, v1alpha1.Warn},
		"of the tenant":     {v1alpha1.Suspension{Tenants: []string{"payments"}, Expires: "2026-11-21T14:00:00Z"}, "payments-dev", end.Add(-1), v1alpha1.Warn, v1alpha1.Warn},
		"of another tenant": {v1alpha1.Suspension{Tenants: []string{"cards"}, Expires: "2026-11-21T14:00:00Z"}, "payments-dev", end.Add(-1), v1alpha1.Deny, v1alpha1.Deny},
		"of no tenant's":    {v1alpha1.Suspension{Tenants: []string{"payments"}, Expires: "2026-11-21T14:00:00Z"}, "elsewhere", end.Add(-1), v1alpha1.Deny, v1alpha1.Deny},
		"no end":            {v1alpha1.Suspension{}, "payments-dev", end, v1alpha1.Deny, v1alpha1.Deny},
		"unreadable":        {v1alpha1.Suspension{Expires: "soon"}, "payments-dev", end, v1alpha1.Deny, v1alpha1.Deny},
	} {
		c.s.Ticket = "INC1"
		platform := newPlatform(func(p *v1alpha1.Platform) { p.Spec.Suspensions = []v1alpha1.Suspension{c.s} })
		spec := Compile(two, platform, newTenant(nil), nil, c.namespace).Spec
		next := DropExpired(&spec, c.at)
		if spec.Actions["RF-WL-01"] != c.want || spec.Actions["RF-WL-02"] != c.other {
			t.Errorf("%s: %s and %s, want %s and %s", name, spec.Actions["RF-WL-01"], spec.Actions["RF-WL-02"], c.want, c.other)
		}
		if live := len(spec.Suspended) > 0; live != (c.want == v1alpha1.Warn) || live && !next.Equal(end) {
			t.Errorf("%s: suspended %v, next end %v", name, spec.Suspended, next)
		}
		// A Guard that was written while it lived denies once whoever reads it looks at the clock.
		if DropExpired(&spec, end); spec.Actions["RF-WL-01"] != v1alpha1.Deny || spec.Suspended != nil {
			t.Errorf("%s, read after its end: %s %v", name, spec.Actions["RF-WL-01"], spec.Suspended)
		}
	}
	warned := newPlatform(func(p *v1alpha1.Platform) {
		p.Spec.Controls = map[string]v1alpha1.ControlRollout{"RF-WL-01": {Action: v1alpha1.Audit}}
		p.Spec.Suspensions = []v1alpha1.Suspension{{Expires: "2026-11-21T14:00:00Z", Ticket: "INC1"}}
	})
	spec := Compile(controls, warned, newTenant(nil), nil, "payments-dev").Spec
	if DropExpired(&spec, end.Add(-1)); spec.Actions["RF-WL-01"] != v1alpha1.Audit {
		t.Errorf("what did not deny became %s", spec.Actions["RF-WL-01"])
	}
}
