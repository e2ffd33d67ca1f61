// Package record is the one road for what the doors saw: records go through a bounded Queue to whoever keeps them. The
// latest findings are held in memory for those who ask what was seen since when, where no evidence is kept.
//
// It keeps nothing for ever, knows no ledger and sends nothing on: a Queue is given a Sink. The control plane makes the
// Queue and serves a Handler, which asks a Memory or the store of evidence; the command line calls Fetch.
package record

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"ringfence.dev/ringfence/finding"
)

// DefaultCapacity is how many findings a Memory holds, about 20 MB of them.
const DefaultCapacity = 10_000

// Memory is a bounded store of the latest findings. When it is full the one that was added first makes room and is
// counted. It is safe for many goroutines.
type Memory struct {
	capacity int

	mu      sync.RWMutex // guards what follows
	ring    []finding.Finding
	next    int // where the oldest lies, once the ring is full
	dropped uint64
}

// NewMemory makes a Memory for capacity findings; zero or less is DefaultCapacity.
func NewMemory(capacity int) *Memory {
	if capacity <= 0 {
		capacity = DefaultCapacity
	}
	return &Memory{capacity: capacity}
}

// Add keeps findings. It never blocks for longer than a copy and keeps no reference to the slice, but to what its
// findings point to.
func (m *Memory) Add(fs []finding.Finding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range fs {
		if len(m.ring) < m.capacity {
			m.ring = append(m.ring, f)
			continue
		}
		m.ring[m.next] = f
		m.next = (m.next + 1) % m.capacity
		m.dropped++
	}
}

// Filter selects findings. The zero value selects all.
type Filter struct {
	// Namespace is the subject's namespace; empty is any.
	Namespace string
	// Namespaces are the subject's namespaces, any of them; nil is any there is, and an empty list is none.
	Namespaces []string
	// Control is a control's id; empty is any.
	Control string
	// Tenant is a tenant, by its namespaces; see OfTenant. Empty is any.
	Tenant string
	// Others are namespaces of the tenant whose names do not say so; who answers knows them.
	Others []string
	// Request is the id of one request: of its audit event, or the uid of the review with which a refusal of the webhook ends. Empty
	// is any.
	Request string
}

// environmentForm is what a Tenant's environments may be called; it holds no dash, so a namespace has one tenant.
var environmentForm = regexp.MustCompile(`^[a-z0-9]+$`)

// InTenant reports whether a namespace is a tenant's by its name, <tenant>-<environment>, which it has unless the Tenant says
// another.
func InTenant(namespace, tenant string) bool {
	rest, ok := strings.CutPrefix(namespace, tenant+"-")
	return ok && environmentForm.MatchString(rest)
}

// OfTenant reports whether a namespace is the tenant's, by its name or as one of Others.
func (f Filter) OfTenant(namespace string) bool {
	return f.Tenant == "" || InTenant(namespace, f.Tenant) || slices.Contains(f.Others, namespace)
}

// Selects reports whether a finding is selected.
func (f Filter) Selects(g finding.Finding) bool { return f.match(g) }

// match reports whether a finding is selected.
func (f Filter) match(g finding.Finding) bool {
	return (f.Namespace == "" || g.Subject.Namespace == f.Namespace) && (f.Control == "" || g.Control == f.Control) &&
		(f.Namespaces == nil || slices.Contains(f.Namespaces, g.Subject.Namespace)) &&
		f.OfTenant(g.Subject.Namespace) && (f.Request == "" || g.Observed != nil && g.Observed.AuditID == f.Request)
}

// Since is a copy of the selected findings of requests at t or later, oldest request first. A finding that was not
// observed in a request has no time: it is always selected, and comes first. What findings point to is shared and must
// not be changed.
func (m *Memory) Since(t time.Time, filter Filter) []finding.Finding {
	var out []finding.Finding
	m.mu.RLock()
	for i := range m.ring {
		f := m.ring[(m.next+i)%len(m.ring)]
		if filter.match(f) && (f.Observed == nil || !f.Observed.Time.Before(t)) {
			out = append(out, f)
		}
	}
	m.mu.RUnlock()
	slices.SortStableFunc(out, func(a, b finding.Finding) int { return when(a).Compare(when(b)) })
	return out
}

// FromMemory asks a Memory. observed is when the newest event of the source happened, and false before the first. It answers
// everything at once, so there is no other page.
func FromMemory(m *Memory, observed func() (time.Time, bool)) Ask {
	return func(_ context.Context, from time.Time, q Query) (Answer, error) {
		if q.Source == SourceAdmission {
			return Answer{}, fmt.Errorf("%w: source: found admission; want audit: decisions of the admission door stand in the evidence, and none is kept", ErrInvalid)
		}
		if q.After != "" {
			return Answer{}, fmt.Errorf("%w: after: want none: the findings in memory are one page", ErrInvalid)
		}
		answer := Answer{From: "memory"}
		// The source is asked first: what it saw by then is in the findings.
		if last, ok := observed(); ok {
			last = last.UTC()
			answer.Observed.LastEvent = &last
		}
		answer.Findings, answer.Dropped = m.Since(from, q.Filter), m.Dropped()
		return answer, nil
	}
}

// when is the time of a finding's request, zero for none.
func when(f finding.Finding) time.Time {
	if f.Observed == nil {
		return time.Time{}
	}
	return f.Observed.Time
}

// Dropped is how many findings made room for newer ones since the start. Above zero, an answer may be incomplete.
func (m *Memory) Dropped() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.dropped
}
