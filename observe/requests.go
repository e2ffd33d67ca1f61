package observe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
)

// maxEntries bounds how many ways into pods are told apart; the rest are counted together.
const maxEntries = 10_000

// Request is one that an audit log tells of, once it was answered.
type Request struct {
	Time time.Time
	// User is who asked, or in whose name.
	User                             string
	Namespace, Resource, Subresource string
	// Refused says that the API server answered that it is forbidden.
	Refused bool
}

// Requests are what an audit log tells. What would be refused of them is not known: their objects are not in it.
type Requests struct {
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	Events int       `json:"events"`
	// Refused were forbidden by what is there today: RBAC, quotas, other policies.
	Refused int `json:"refused"`
	// Entries are who went into pods, most often first. Others is how often somebody did who is in none of them for lack of room. Never null.
	Entries []Entry `json:"entries"`
	Others  int     `json:"others"`
}

// Entry is somebody who went into pods of a namespace.
type Entry struct {
	User      string    `json:"user"`
	Namespace string    `json:"namespace"`
	By        string    `json:"by"` // exec, attach, portforward or ephemeralcontainers
	Times     int       `json:"times"`
	Last      time.Time `json:"last"`
}

// Ask takes up a request of an audit log.
func (s *Stock) Ask(q Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests == nil {
		s.requests, s.entries = &Requests{From: q.Time, Until: q.Time}, map[[3]string]*Entry{}
	}
	r := s.requests
	if r.Events++; q.Time.Before(r.From) {
		r.From = q.Time
	}
	if q.Time.After(r.Until) {
		r.Until = q.Time
	}
	if q.Refused {
		r.Refused++
		return
	}
	if q.Resource != "pods" || !slices.Contains([]string{"exec", "attach", "portforward", "ephemeralcontainers"}, q.Subresource) {
		return
	}
	user, namespace := finding.Value(q.User), finding.Value(q.Namespace)
	key := [3]string{user, namespace, q.Subresource}
	e := s.entries[key]
	if e == nil {
		if len(s.entries) >= maxEntries {
			r.Others++
			return
		}
		e = &Entry{User: user, Namespace: namespace, By: q.Subresource}
		s.entries[key] = e
	}
	if e.Times++; q.Time.After(e.Last) {
		e.Last = q.Time
	}
}

// asked is what an audit log told; nil for none. s.mu is held.
func (s *Stock) asked() *Requests {
	if s.requests == nil {
		return nil
	}
	r := *s.requests
	r.From, r.Until, r.Entries = r.From.UTC(), r.Until.UTC(), []Entry{}
	for _, e := range s.entries {
		one := *e
		one.Last = one.Last.UTC()
		r.Entries = append(r.Entries, one)
	}
	slices.SortFunc(r.Entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(b.Times, a.Times), strings.Compare(a.User, b.User), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.By, b.By))
	})
	return &r
}

func (r Report) requestsText(b *strings.Builder) {
	q := r.Requests
	if q == nil {
		return
	}
	fmt.Fprintf(b, "\nAudit log: %s from %s to %s, of which the API server forbade %d\n", plural(q.Events, "request"), q.From.Format(time.RFC3339), q.Until.Format(time.RFC3339), q.Refused)
	if len(q.Entries) == 0 {
		b.WriteString("  nobody went into a pod\n")
		return
	}
	b.WriteString("  into pods:\n")
	lines(b, len(q.Entries), func(i int) string {
		e := q.Entries[i]
		return fmt.Sprintf("%s in %s by %s: %s, last %s", e.User, e.Namespace, e.By, plural(e.Times, "time"), e.Last.Format(time.RFC3339))
	})
	if q.Others > 0 {
		fmt.Fprintf(b, "  and %s by others\n", plural(q.Others, "time"))
	}
}
