package server

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store"
)

// The road of records as traces see it. Neither the queue nor the ledger, the store or a sink knows of traces: records are known by
// their ids on the way.

// keeping is a sink of the queue: how long a record waited in it, and how long it took into the ledger. A try that failed is
// counted and not told: the queue makes it again for ever.
func (t *traces) keeping(keep record.Sink) record.Sink {
	if t == nil {
		return keep
	}
	return func(ctx context.Context, records []record.Record) error {
		from := time.Now()
		err := keep(ctx, records)
		all := t.parties(ids(records))
		if err != nil && (len(records) > 1 || !errors.Is(err, record.ErrRejected)) {
			t.failed(all)
			return err
		}
		to := time.Now()
		for _, p := range all {
			t.step("wait in the queue", []*party{{of: p.of, tries: p.tries, all: p.all}}, p.since, from, nil, false)
		}
		t.step("append to the ledger", all, from, to, err, true, attribute.Int("ringfence.batch.records", len(records)))
		return err
	}
}

// storing is a source of the store, and who is told how filling ends: what was read since is in the store then.
func (t *traces) storing(from store.Source, tell func(error)) (store.Source, func(error)) {
	if t == nil {
		return from, tell
	}
	var read []string // by one goroutine: Follow reads and tells in turn
	var begun time.Time
	page := from.Page
	from.Page = func(ctx context.Context, at uint64, n int) ([]store.Entry, error) {
		entries, err := page(ctx, at, n)
		if len(read) == 0 {
			begun = time.Now()
		}
		for _, e := range entries {
			if t.travels(e.ID) {
				read = append(read, e.ID)
			}
		}
		return entries, err
	}
	return from, func(err error) {
		if err == nil && len(read) > 0 {
			t.step("add to the store", t.parties(t.unstored(read)), begun, time.Now(), nil, false)
		}
		read = nil
		tell(err)
	}
}

// travels reports whether a record belongs to a trace.
func (t *traces) travels(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id] != nil
}

// unstored are those that were not told of as stored; they count as told then. The store looks at its last entry again.
func (t *traces) unstored(ids []string) (out []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		if one := t.byID[id]; one != nil && !one.stored {
			one.stored = true
			out = append(out, id)
		}
	}
	return out
}

// sending is a sink of records that are sent on.
func (t *traces) sending(name string, to forward.Sink) forward.Sink {
	if t == nil {
		return to
	}
	return &tracedSink{Sink: to, name: name, traces: t}
}

// tracedSink makes a span of each batch that the sink took or refused, and of the first try that failed.
type tracedSink struct {
	forward.Sink
	name   string
	traces *traces
	failed bool // of one goroutine, as a Sink is
}

// Send implements forward.Sink.
func (s *tracedSink) Send(ctx context.Context, batch []forward.Message) error {
	from := time.Now()
	err := s.Sink.Send(ctx, batch)
	if err == nil || !s.failed {
		ids := make([]string, len(batch))
		for i, m := range batch {
			ids[i] = m.ID
		}
		s.traces.step("forward", s.traces.parties(ids), from, time.Now(), err, false, attribute.String("ringfence.sink", s.name), attribute.Int("ringfence.batch.messages", len(batch)))
	}
	s.failed = err != nil
	return err
}
