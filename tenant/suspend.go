package tenant

import (
	"fmt"
	"slices"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// suspended are the controls of a Guard that deny and need not until an end, by id; of several ends the latest holds. One whose
// end cannot be read suspends nothing.
func suspended(all []v1alpha1.Suspension, spec *v1alpha1.GuardSpec) map[string]v1alpha1.GuardSuspension {
	ends := map[string]time.Time{}
	var out map[string]v1alpha1.GuardSuspension
	for _, s := range all {
		end, err := Expiry(s.Expires)
		if err != nil || end.IsZero() || len(s.Tenants) > 0 && !slices.Contains(s.Tenants, spec.Tenant) {
			continue
		}
		for id, action := range spec.Actions {
			if action != v1alpha1.Deny || len(s.Controls) > 0 && !slices.Contains(s.Controls, id) || !end.After(ends[id]) {
				continue
			}
			if out == nil {
				out = map[string]v1alpha1.GuardSuspension{}
			}
			ends[id], out[id] = end, v1alpha1.GuardSuspension{Expires: instant(end), Ticket: s.Ticket}
		}
	}
	return out
}

// suspend lets what is suspended warn, and deny again where ended says so. Only what denies is ever suspended.
func suspend(spec *v1alpha1.GuardSpec, ended func(expires string) bool) {
	for id, s := range spec.Suspended {
		if ended(s.Expires) {
			delete(spec.Suspended, id)
			if spec.Actions[id] == v1alpha1.Warn { // as a Guard of a cluster says that was written before the end
				spec.Actions[id] = v1alpha1.Deny
				delete(spec.Changes, id)
			}
			continue
		}
		spec.Actions[id] = v1alpha1.Warn
		if spec.Changes == nil {
			spec.Changes = map[string]string{}
		}
		spec.Changes[id] = fmt.Sprintf("Warn until %s by suspension %s (else %s)", s.Expires, s.Ticket, v1alpha1.Deny)
	}
	if len(spec.Suspended) == 0 {
		spec.Suspended = nil
	}
}
