package scan

import (
	"cmp"
	"slices"
	"time"

	"ringfence.dev/ringfence/finding"
)

// State is how far a scan is.
type State struct {
	// Started is when it began; Whole when everything was judged for the first time, zero before.
	Started, Whole time.Time
	// AsOf says of which moment the findings are: all that changed before is judged.
	AsOf time.Time
	// Objects are there, Waiting are to be judged; Unjudged lie in namespaces without Guard.
	Objects, Waiting, Unjudged int
	// Unguarded are those namespaces, sorted; what lies in none has words.
	Unguarded []string
	// Unread are resources that cannot be listed or watched, sorted: nothing is known of their objects.
	Unread []string
	// Judged is how often an object was judged.
	Judged uint64
}

// State is how far the scan is now.
func (s *Scan) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	out := State{Started: s.started, Whole: s.whole, AsOf: now, Judged: s.judged}
	for _, o := range s.objects {
		if o.packed != nil {
			out.Objects++
		}
		if o.waits || o.early {
			out.Waiting++
			if o.since.Before(out.AsOf) {
				out.AsOf = o.since
			}
		}
		if o.unjudged {
			out.Unjudged++
			out.Unguarded = append(out.Unguarded, cmp.Or(o.namespace, "(what lies in none)"))
		}
	}
	slices.Sort(out.Unguarded)
	out.Unguarded = slices.Compact(out.Unguarded)
	for _, k := range s.kinds {
		if !k.failing.IsZero() {
			out.Unread = append(out.Unread, k.String())
			if k.failing.Before(out.AsOf) {
				out.AsOf = k.failing
			}
		}
	}
	slices.Sort(out.Unread)
	return out
}

// Standing are the findings that stand, those that are waived among them, in no order.
func (s *Scan) Standing() (all []Known) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.objects {
		all = append(all, s.known(o)...)
	}
	return all
}

// StandingIn are those of them that stand in one namespace, "" for none.
func (s *Scan) StandingIn(namespace string) (all []Known) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.spaces[namespace]; in != nil {
		for _, o := range in.objects {
			all = append(all, s.known(o)...)
		}
	}
	return all
}

// known are the findings that stand of an object. s.mu is held.
func (s *Scan) known(o *object) (all []Known) {
	for _, f := range o.stands {
		at, is := f.at.Value(), f.is.Value()
		all = append(all, Known{Subject: s.named(o), Control: at.control, Outcome: is.outcome, Action: is.action, Value: is.value, Path: at.path,
			Waiver: is.waiver, Expires: is.expires, Since: time.Unix(0, f.since).UTC()})
	}
	return all
}

// Count is how many findings stand of a severity, open or waived.
type Count struct {
	Severity finding.Severity
	Waived   bool
}

// Counts are how many findings stand, of the severities that controls have.
func (s *Scan) Counts(severity func(control string) finding.Severity) map[Count]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	of, out := map[string]finding.Severity{}, map[Count]int{}
	for _, o := range s.objects {
		for _, f := range o.stands {
			id := f.at.Value().control
			if _, known := of[id]; !known {
				of[id] = severity(id)
			}
			out[Count{of[id], f.is.Value().waiver != ""}]++
		}
	}
	return out
}
