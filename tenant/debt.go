package tenant

import (
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
)

// debts are until when, by control, what controllers make of workloads that were there is let in although the control denies: the
// grace of the step that brought the denial about. What a Tenant strengthened for itself has none, nor what was set by hand since.
func debts(controls []control.Control, platform *v1alpha1.Platform, tenant *v1alpha1.Tenant, env *v1alpha1.Environment) (all map[string]v1alpha1.Instant) {
	for _, c := range controls {
		rollout := platform.Spec.Controls[c.ID]
		if len(rollout.Steps) == 0 {
			continue
		}
		place, action := "action", rollout.Action
		if tenant != nil && env.Production && rollout.Production != "" {
			place, action = "production", rollout.Production
		}
		if tenant != nil && rollout.Rings[tenant.Spec.Ring] != "" {
			place, action = "ring/"+tenant.Spec.Ring, rollout.Rings[tenant.Spec.Ring]
		}
		for i := len(rollout.Steps) - 1; i >= 0; i-- {
			s := rollout.Steps[i]
			if s.Place != place {
				continue
			}
			if action == v1alpha1.Deny && s.To == v1alpha1.Deny && s.GraceUntil != "" {
				if all == nil {
					all = map[string]v1alpha1.Instant{}
				}
				all[c.ID] = s.GraceUntil
			}
			break
		}
	}
	return all
}
