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
	checkProducer     = "check"
)

// take keeps what a batch of audit events told. It returns nil once every record is on the disk; after an error the batch
// comes again, and no record is made twice.
func (s *Server) take(ctx context.Context, b auditlog.Batch) (err error) {
	for i := range b.Events {
		if s.ofCanary(b.Events[i].Findings) { // what came of it is recorded once, as a canary's
			b.Events[i].Findings, b.Events[i].Unsigned = nil, nil
		}
		for _, u := range b.Events[i].Unsigned {
			s.signatures.refused(u.Namespace, u.Reference)
		}
	}
	ctx, done := s.traces.batch(ctx, b)
	defer func() { done(err) }()
	if s.evidence == nil {
		for _, told := range b.Events {
			s.findings.Add(told.Findings)
			s.acts.add(told.Act)
		}
		return nil
	}
	e := s.evidence
	e.queue.Beat(auditProducer)
	e.answers.remember(ctx, b, e.actorKey)
	var records []record.Record
	findings := map[string][]finding.Finding{} // by the id of their record
	add := func(r record.Record, err error) {
		if err != nil { // it will not get better when it comes again
			e.log.Error("what an audit event told is not recorded", "err", err)
			return
		}
		records = append(records, r)
	}
	for _, told := range b.Events {
		if len(told.Findings) > 0 {
			r, err := record.Refusal(told.Findings, e.catalogue, e.actorKey, b.Source, time.Now())
			findings[r.ID] = told.Findings
			add(r, err)
		}
		if c := told.Change; c != nil {
			add(record.Change(c.Subject, c.Observed, c.Contents, e.actorKey))
		}
		if told.Act != nil {
			add(record.ElevatedRequest(*told.Act))
		}
	}
	all, fresh := e.begin(ctx, auditProducer, records)
	for _, id := range fresh {
		if s.findings != nil { // there is no store that could be asked
			s.findings.Add(findings[id])
		}
	}
	return await(ctx, all)
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

// begin sends records of a producer that tries again off, but those that are under way or kept already. fresh are the ids of those that
// were sent off.
func (e *evidence) begin(ctx context.Context, producer string, records []record.Record) (all []*flight, fresh []string) {
	if len(records) == 0 {
		return nil, nil
	}
	e.flights.mu.Lock()
	defer e.flights.mu.Unlock()
	var ids []string
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	known := e.ledger.Known(ids) // under the lock: a flight that lands after this is still under way here
	for _, r := range records {
		f := e.flights.byID[r.ID]
		if f == nil && !known[r.ID] {
			var room bool
			if f, room = e.send(ctx, producer, r); room {
				fresh = append(fresh, r.ID)
			}
		}
		if f != nil {
			all = append(all, f)
		}
	}
	return all, fresh
}

// send sends one record off, and reports whether there was room for it: if not, it comes again. e.flights.mu is held.
func (e *evidence) send(ctx context.Context, producer string, r record.Record) (f *flight, room bool) {
	f = &flight{done: make(chan struct{})}
	e.traces.travel(ctx, r.ID)
	done, err := e.queue.Begin(producer, r)
	if err != nil {
		f.err = err
		close(f.done)
		return f, !errors.Is(err, record.ErrFull)
	}
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
