package tenant

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// Accepted says which Platform is in force: the newest without a mistake. One with a mistake that its schema cannot see changes
// nothing, for half of it would be another rule than the one that was meant. It is safe for many goroutines.
type Accepted struct {
	known map[string]bool // ids of controls

	mu   sync.Mutex // guards last
	last *v1alpha1.Platform
}

// NewAccepted makes an Accepted that knows controls.
func NewAccepted(controls []control.Control) *Accepted {
	a := &Accepted{known: map[string]bool{}}
	for _, c := range controls {
		a.known[c.ID] = true
	}
	return a
}

// Of is p where it has no mistake. Else the error names every mistake and what is given is p with the last spec that had none, and the
// generation of that; nil where this process has seen none. p is not changed and may be nil, which is no mistake.
func (a *Accepted) Of(p *v1alpha1.Platform) (*v1alpha1.Platform, error) {
	if p == nil {
		return nil, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	fault := a.fault(p)
	if fault == nil {
		a.last = p.DeepCopy()
		return p, nil
	}
	if a.last == nil {
		return nil, fault
	}
	out := p.DeepCopy()
	out.Spec, out.Generation = *a.last.Spec.DeepCopy(), a.last.Generation
	return out, fault
}

// fault is every mistake of a Platform that its schema lets pass.
func (a *Accepted) fault(p *v1alpha1.Platform) error {
	var faults []error
	for _, id := range slices.Sorted(maps.Keys(p.Spec.Controls)) {
		if !a.known[id] {
			faults = append(faults, fmt.Errorf("spec.controls: there is no control %s; fix: correct the id, ringfence control list has them all", finding.Value(id)))
		}
	}
	ours, theirs := p.Spec.Separation.Production, p.Spec.Separation.NonProduction
	both := func(field string, a, b []string) {
		for _, v := range a {
			if slices.Contains(b, v) {
				faults = append(faults, fmt.Errorf("spec.separation: %s %s belongs to production and to what is not production, so that nobody could use it; fix: leave it to one side", field, finding.Value(v)))
			}
		}
	}
	both("dataClasses", ours.DataClasses, theirs.DataClasses)
	both("secretPaths", ours.SecretPaths, theirs.SecretPaths)
	both("imageChannels", words(ours.ImageChannels), words(theirs.ImageChannels))
	return errors.Join(faults...)
}

func words(registries []v1alpha1.Registry) (out []string) {
	for _, r := range registries {
		out = append(out, string(r))
	}
	return out
}
