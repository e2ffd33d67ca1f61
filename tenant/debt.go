package tenant

import (
	"slices"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
)

// debts are until when, by control, what controllers make of workloads that were there is let in although the control denies: the
// grace of the step that brought the denial about. What a Tenant strengthened for itself has none, nor what was set by hand since.
func debts(controls []control.Control, platform *v1alpha1.Platform, tenant *v1alpha1.Tenant, env *v1alpha1.Environment) (all map[string]v1alpha1.Instant) {
	for _, c := range controls {
		if len(platform.Spec.Controls[c.ID].Steps) == 0 {
			continue
		}
		if until := debt(c, platform, tenant, env); until != "" {
			if all == nil {
				all = map[string]v1alpha1.Instant{}
			}
			all[c.ID] = until
		}
	}
	return all
}

// debt is the grace of one control, "" for none. A step that puts Deny where another step had made a less specific action Deny before refuses nothing
// anew, and has no grace of its own: what was refused must not be let in by a promotion.
func debt(c control.Control, platform *v1alpha1.Platform, tenant *v1alpha1.Tenant, env *v1alpha1.Environment) (until v1alpha1.Instant) {
	rollout, places := platform.Spec.Controls[c.ID], []string{"action"}
	if tenant != nil {
		if own, strict := tenant.Spec.Controls[c.ID]; strict && known(own) == v1alpha1.Deny {
			return ""
		}
		if env.Production {
			places = append(places, "production")
		}
		if tenant.Spec.Ring != "" {
			places = append(places, "ring/"+tenant.Spec.Ring)
		}
	}
	at := len(rollout.Steps)
	for _, place := range slices.Backward(places) {
		switch stood(rollout, place, at) {
		case "":
			continue
		case v1alpha1.Deny:
		default:
			return until
		}
		for at--; at >= 0 && rollout.Steps[at].Place != place; at-- {
		}
		if at < 0 || rollout.Steps[at].To != v1alpha1.Deny {
			return until // of what was set by hand nobody knows since when
		}
		if until = rollout.Steps[at].GraceUntil; rollout.Steps[at].From != "" {
			return until
		}
	}
	return until
}

// stood is the action that a Platform said for a control at a place before one of its steps was made; as many as there are is now.
func stood(c v1alpha1.ControlRollout, place string, before int) v1alpha1.Action {
	for _, s := range c.Steps[before:] {
		if s.Place == place {
			return s.From
		}
	}
	switch place {
	case "action":
		return c.Action
	case "production":
		return c.Production
	}
	return c.Rings[strings.TrimPrefix(place, "ring/")]
}
