package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"ringfence.dev/ringfence/detect/auditlog"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/record"
)

// Producers of records, as envelopes name them.
const (
	auditProducer     = "audit"
	bundlesProducer   = "bundles"
	catalogueProducer = "catalogue"
)

// take keeps what a batch of audit events told. It returns nil once every record is on the disk; after an error the batch
// comes again, and no record is made twice.
func (s *Server) take(ctx context.Context, b auditlog.Batch) error {
	if s.evidence == nil {
		for _, told := range b.Events {
			s.findings.Add(told.Findings)
		}
		return nil
	}
	e := s.evidence
	e.queue.Beat(auditProducer)
	var flights []*flight
	for _, told := range b.Events {
		if len(told.Findings) > 0 {
			r, err := record.Refusal(told.Findings, e.catalogue, e.actorKey, b.Source, time.Now())
			f, fresh := e.begin(r, err)
			if fresh { // shown at once, also where it cannot be kept now
				s.findings.Add(told.Findings)
			}
			flights = append(flights, f)
		}
		if c := told.Change; c != nil {
			r, err := record.Change(c.Subject, c.Observed, e.actorKey)
			f, _ := e.begin(r, err)
			flights = append(flights, f)
		}
	}
	return await(ctx, flights)
}

// flight is a record on its way to the disk.
type flight struct {
	done chan struct{} // closed when it ended; err may be read then
	err  error
}

// flights are those under way, by the id of the record: what comes again meanwhile waits for the same.
type flights struct {
	mu   sync.Mutex // guards byID
	byID map[string]*flight
}

// landed is a flight that has ended.
func landed(err error) *flight {
	f := &flight{done: make(chan struct{}), err: err}
	close(f.done)
	return f
}

// begin sends a record of the audit stream off, unless it is under way or kept already. fresh is whether it was sent off. made
// is the error of its making: it will not get better when it comes again.
func (e *evidence) begin(r record.Record, made error) (f *flight, fresh bool) {
	if made != nil {
		e.log.Error("what an audit event told is not recorded", "err", made)
		return landed(nil), false
	}
	e.flights.mu.Lock()
	defer e.flights.mu.Unlock()
	if f := e.flights.byID[r.ID]; f != nil {
		return f, false
	}
	if e.ledger.Has(r.ID) {
		return landed(nil), false
	}
	done, err := e.queue.Begin(auditProducer, r)
	if err != nil {
		return landed(err), true
	}
	f = &flight{done: make(chan struct{})}
	e.flights.byID[r.ID] = f
	go func() {
		f.err = <-done
		e.flights.mu.Lock()
		delete(e.flights.byID, r.ID)
		e.flights.mu.Unlock()
		close(f.done)
	}()
	return f, true
}

// await waits until all have ended. What can never be kept is no error: the queue counts and records it, and it would come
// again for ever.
func await(ctx context.Context, all []*flight) error {
	var failed error
	for _, f := range all {
		select {
		case <-f.done:
			if f.err != nil && !errors.Is(f.err, record.ErrRejected) {
				failed = f.err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return failed
}

// gap records that a policy or binding was not in place. It never waits.
func (e *evidence) gap(g bundle.Gap) {
	r, err := record.PolicyGap(finding.Subject{APIVersion: g.APIVersion, Kind: g.Kind, Name: g.Name}, g.Cause, g.Noticed, g.Closed)
	if err != nil {
		e.log.Error("a gap of the policies is not recorded", "err", err)
		return
	}
	e.queue.Add(bundlesProducer, r) // what finds no room is counted and recorded by the queue
}
