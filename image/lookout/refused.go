package lookout

import (
	"cmp"
	"slices"
	"time"
)

const (
	// refusedFor is how long an image that was refused is looked after.
	refusedFor = 15 * time.Minute
	// maxRefused bounds of how many that is, and maxOfOne of how many in one namespace, so that none keeps the others waiting.
	maxRefused, maxOfOne = 1000, 20
)

// Place is an image that somebody tried to run in a namespace.
type Place struct{ Namespace, Reference string }

// refusals are those of the last minutes, with the time of the newest.
type refusals map[Place]time.Time

// Refused tells that an image was refused in a namespace for its signature. It does not block; what is too much is left out.
func (l *Lookout) Refused(namespace, reference string) {
	now := l.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused.add(Place{namespace, reference}, now); l.refused[Place{namespace, reference}].IsZero() {
		return
	}
	for k, a := range l.asked { // whoever tries again may have signed it meanwhile
		if soon := a.at.Add(atLeast); k.reference == reference && soon.Before(a.next) {
			a.next = soon
		}
	}
}

// add notes one; where its namespace has too many, in the place of its oldest.
func (r refusals) add(p Place, now time.Time) {
	if _, have := r[p]; !have {
		var mine []Place
		for other := range r {
			if other.Namespace == p.Namespace {
				mine = append(mine, other)
			}
		}
		if len(mine) >= maxOfOne {
			delete(r, slices.MinFunc(mine, func(a, b Place) int { return r[a].Compare(r[b]) }))
		}
		if len(r) >= maxRefused {
			return
		}
	}
	r[p] = now
}

// fresh tells whether there is one since a time.
func (r refusals) fresh(since time.Time) bool {
	for _, at := range r {
		if !at.Before(since) {
			return true
		}
	}
	return false
}

// places are those that count, in order; the others are forgotten.
func (r refusals) places(now time.Time) (all []Place) {
	for p, at := range r {
		if now.Sub(at) > refusedFor {
			delete(r, p)
			continue
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Place) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Reference, b.Reference))
	})
	return all
}
