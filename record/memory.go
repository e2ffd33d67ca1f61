// Package record is the one road for what the doors saw: records go through a bounded Queue to whoever keeps them, and the
// latest findings are held in memory for those who ask what was seen since when.
//
// It keeps nothing for ever, knows no ledger and sends nothing on: a Queue is given a Sink. The control plane makes the
// Queue, adds findings to a Memory and serves its Handler; the command line calls Fetch.
package record

import (
	"slices"
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
	// Control is a control's id; empty is any.
	Control string
}

// match reports whether a finding is selected.
func (f Filter) match(g finding.Finding) bool {
	return (f.Namespace == "" || g.Subject.Namespace == f.Namespace) && (f.Control == "" || g.Control == f.Control)
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
