package rollout

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/tenant"
)

// dueEvery is how long a ring is left alone after a promotion: one change at a time, so that it is seen what each did.
const dueEvery = 24 * time.Hour

var (
	// ErrNotDue is wrapped where the Platform's own rules do not promote a control.
	ErrNotDue = errors.New("not due")
	// ErrPerson is returned where they would, and the ring has production, which only a person promotes.
	ErrPerson = errors.New("the ring has production: a person promotes it")
)

// Ring is a ring of tenants as a decision about it needs it.
type Ring struct {
	Name string
	// Namespaces are those of its tenants. Production says that one of them is production.
	Namespaces []string
	Production bool
	// Action is that of a control in a namespace, suspensions aside.
	Action func(namespace, control string) finding.Action
}

// RingOf is the ring of some tenants by its name, without Action.
func RingOf(tenants []v1alpha1.Tenant, name string) Ring {
	r := Ring{Name: name}
	for i := range tenants {
		t := &tenants[i]
		if t.Spec.Ring != name {
			continue
		}
		for _, e := range t.Spec.Environments {
			r.Namespaces = append(r.Namespaces, tenant.NamespaceOf(t, e))
			r.Production = r.Production || e.Production
		}
	}
	return r
}

// Stood is what the background scan says of a control in the days that count. The zero value is that nobody asked it.
type Stood struct {
	// Whole says that it has judged everything that is there, and Unread what it cannot read.
	Whole  bool
	Unread []string
	// Failed are what failed the control in these days and was mended or removed since. What fails it still is in the preflight.
	Failed []finding.Subject
}

// Due is nil where the Platform's own rules promote a control to Deny for a ring, given a preflight of that, over the days the rules name, and
// what the background scan saw; ErrPerson where they would but for production; else it wraps ErrNotDue and says why. What is not known is never clean.
func Due(p *v1alpha1.Platform, id string, ring Ring, preflight Report, stood Stood, now time.Time) error {
	why := Candidate(p, id, ring, now)
	if why == nil {
		why = preflight.clean(now.Add(-cleanTime(p)))
	}
	if why == nil {
		why = stood.clean(ring.Namespaces)
	}
	switch {
	case why != nil:
		return fmt.Errorf("%w: %w", ErrNotDue, why)
	case ring.Production:
		return ErrPerson
	}
	return nil
}

func cleanTime(p *v1alpha1.Platform) time.Duration {
	return time.Duration(p.Spec.Promotion.CleanDays) * 24 * time.Hour
}

// Candidate is nil where a control may become due, as far as Platform and Tenants say; else why not. Due asks it first, and who has no preflight
// yet learns for which controls to make one.
func Candidate(p *v1alpha1.Platform, id string, ring Ring, now time.Time) error {
	rules := p.Spec.Promotion
	switch {
	case rules == nil:
		return errors.New("the Platform has no spec.promotion")
	case !slices.Contains(rules.Rings, ring.Name):
		return fmt.Errorf("spec.promotion does not name ring %s", ring.Name)
	case len(rules.Controls) > 0 && !slices.Contains(rules.Controls, id):
		return errors.New("spec.promotion does not name the control")
	case open(p.Spec.Controls[id].Asked, now):
		return errors.New("somebody insists on a promotion of it, which waits for another person")
	case within(p.Spec.Controls[id].Undone, now, cleanTime(p)):
		return fmt.Errorf("a promotion of it was undone at %s", p.Spec.Controls[id].Undone)
	}
	for _, s := range p.Spec.Suspensions {
		if end, err := tenant.Expiry(s.Expires); err != nil || now.Before(end) {
			return fmt.Errorf("controls are suspended until %s (%s)", s.Expires, s.Ticket)
		}
	}
	for of, c := range p.Spec.Controls {
		for _, s := range c.Steps {
			switch place := (Scope{Ring: ring.Name}).Place(); {
			case s.Place == place && within(s.At, now, dueEvery):
				return fmt.Errorf("%s was promoted for the ring at %s, less than a day ago", of, s.At)
			case of == id && within(s.At, now, cleanTime(p)):
				return fmt.Errorf("its action was changed at %s, within the time that must be clean", s.At)
			}
		}
	}
	warns := false
	for _, ns := range ring.Namespaces {
		switch ring.Action(ns, id) {
		case finding.Warn:
			warns = true
		case finding.Deny: // of a tenant that wants it so
		default:
			return fmt.Errorf("in %s it only audits, of which no request is recorded", ns)
		}
	}
	if !warns {
		return fmt.Errorf("it warns in no namespace of ring %s", ring.Name)
	}
	return nil
}

// within says that an instant is less than a while before now. One that cannot be read is; none is not.
func within(at v1alpha1.Instant, now time.Time, while time.Duration) bool {
	if at == "" {
		return false
	}
	t, err := time.Parse(time.RFC3339, string(at))
	return err != nil || now.Sub(t) < while
}

// clean is nil where nothing would have been refused, now or from an instant on, and all of it is known.
func (r Report) clean(from time.Time) error {
	q := r.Requests
	switch {
	case len(r.NotObserved) > 0:
		return fmt.Errorf("what is there could not be read whole: %s", finding.Clean(strings.Join(r.NotObserved, "; ")))
	case r.Broken() > 0 || q.Others > 0:
		return fmt.Errorf("%s and %s would be refused", plural(len(r.Breaks), "object"), plural(q.Times, "recorded request"))
	case r.Undecided > 0 || len(r.Unjudged()) > 0:
		return errors.New("something could not be decided")
	case !q.Observed:
		return fmt.Errorf("requests were not observed: %s", q.Why)
	case q.Asked.After(from) || q.Since == nil || q.Since.After(from):
		return fmt.Errorf("requests were not observed from %s on", from.UTC().Format(time.RFC3339))
	case len(q.Unknown) > 0:
		return fmt.Errorf("something is not known of the time: %s", finding.Clean(q.Unknown[0].What))
	case len(q.Unrecorded) > 0:
		return fmt.Errorf("nothing is recorded of %s, where it only audits", strings.Join(q.Unrecorded, ", "))
	}
	return nil
}

// clean is nil where the scan knows everything and nothing in some namespaces had failed.
func (s Stood) clean(namespaces []string) error {
	switch {
	case !s.Whole:
		return errors.New("the background scan has not judged everything")
	case len(s.Unread) > 0:
		return fmt.Errorf("the background scan cannot read %s", finding.Clean(s.Unread[0]))
	}
	for _, f := range s.Failed {
		if slices.Contains(namespaces, f.Namespace) {
			return fmt.Errorf("%s failed it within the time", f)
		}
	}
	return nil
}

// Of is what a report of many controls says of one. What could not be decided is not told apart: a report of that control alone says.
func (r Report) Of(id string) Report {
	r.Controls = slices.DeleteFunc(slices.Clone(r.Controls), func(c Rule) bool { return c.ID != id })
	r.Breaks = slices.DeleteFunc(slices.Clone(r.Breaks), func(b Break) bool { return b.Control != id })
	r.Requests.Groups = slices.DeleteFunc(slices.Clone(r.Requests.Groups), func(g Asked) bool { return g.Control != id })
	r.Undecided, r.Requests.Times = 0, 0
	for _, g := range r.Requests.Groups {
		r.Requests.Times += g.Times
	}
	return r
}
