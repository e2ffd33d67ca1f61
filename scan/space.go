package scan

import (
	"time"

	"ringfence.dev/ringfence/finding"
)

// Space is what stands in one namespace.
type Space struct {
	// Open are how many findings stand and are not waived, by severity; Waived is how many are.
	Open   map[finding.Severity]int
	Waived int
	// Unjudged says that objects there cannot be judged, for want of a Guard.
	Unjudged bool
	// Waiting is since when the oldest object waits that is to be judged; zero where none does.
	Waiting time.Time
	// Edition is another one where another finding stands there; a namespace in which nothing ever stood has 0.
	Edition uint64
}

// Spaces are the namespaces of which something is known, with "" for what lies in none, by the severities that controls have.
func (s *Scan) Spaces(severity func(control string) finding.Severity) map[string]Space {
	s.mu.Lock()
	defer s.mu.Unlock()
	of, out := map[string]finding.Severity{}, map[string]Space{}
	for namespace, edition := range s.editions {
		out[namespace] = Space{Open: map[finding.Severity]int{}, Edition: edition}
	}
	for namespace, in := range s.spaces {
		space := out[namespace]
		if space.Open == nil {
			space.Open = map[finding.Severity]int{}
		}
		for _, o := range in.objects {
			space.Unjudged = space.Unjudged || o.unjudged
			if (o.waits || o.early) && (space.Waiting.IsZero() || o.since.Before(space.Waiting)) {
				space.Waiting = o.since
			}
			for _, f := range o.stands {
				id := f.at.Value().control
				if _, known := of[id]; !known {
					of[id] = severity(id)
				}
				if f.is.Value().waiver != "" {
					space.Waived++
				} else {
					space.Open[of[id]]++
				}
			}
		}
		out[namespace] = space
	}
	return out
}

// edited notes that another finding stands in a namespace. s.mu is held.
func (s *Scan) edited(namespace string) {
	s.edits++
	s.editions[namespace] = s.edits
}
