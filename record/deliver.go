package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Run hands records to the sink until ctx ends, then for at most 10 s what still waits. Its error says how many records
// were left. A sink that fails is tried again for ever; meanwhile the queue fills.
func (q *Queue) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-q.wake:
		case <-tick.C:
			q.listen()
		case <-ctx.Done():
		}
		q.flush(ctx)
	}
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	q.flush(last)
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range q.waiting {
		w.answer(ErrFull)
	}
	if n := len(q.waiting); n > 0 {
		return fmt.Errorf("drain the queue of records: %d were not kept within %v", n, drainTime)
	}
	return nil
}

// flush delivers until nothing waits or ctx ends.
func (q *Queue) flush(ctx context.Context) {
	wait, failing := firstWait, time.Time{}
	for {
		batch := q.take(failing.IsZero())
		if len(batch) == 0 {
			return
		}
		err := q.deliver(ctx, batch)
		if err == nil {
			q.recovered(failing)
			wait, failing = firstWait, time.Time{}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if failing.IsZero() {
			failing = q.cfg.Now()
			q.cfg.Log.Error("records cannot be kept; trying again", "err", err)
		}
		q.failing(failing, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, lastWait)
		q.listen()
	}
}

// take is what is delivered next. It stays in the queue until it was. Losses are reported where the sink works and there is
// room again: before that they are not over.
func (q *Queue) take(works bool) []*waiting {
	q.mu.Lock()
	defer q.mu.Unlock()
	if works && len(q.waiting) < q.cfg.Capacity/2 {
		q.report()
	}
	return slices.Clone(q.waiting[:min(len(q.waiting), maxDelivery)])
}

// deliver hands a batch to the sink, one by one where the sink rejects some of it.
func (q *Queue) deliver(ctx context.Context, batch []*waiting) error {
	records := make([]Record, len(batch))
	for i, w := range batch {
		records[i] = w.record
	}
	err := q.cfg.Sink(ctx, records)
	switch {
	case err == nil:
		q.drop(batch, nil)
		return nil
	case !errors.Is(err, ErrRejected):
		return err
	case len(batch) == 1:
		q.drop(batch, err)
		return nil
	}
	for _, w := range batch {
		if err := q.deliver(ctx, []*waiting{w}); err != nil {
			return err
		}
	}
	return nil
}

// drop takes a batch from the head of the queue and answers those who wait. rejected is why it was not kept, nil where it was.
func (q *Queue) drop(batch []*waiting, rejected error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range batch {
		q.bytes -= len(w.record.Body)
		if rejected != nil {
			q.lose(w.record, "rejected", rejected)
		}
		w.answer(rejected)
	}
	clear(q.waiting[:len(batch)])
	q.waiting = q.waiting[len(batch):]
	if len(q.waiting) == 0 {
		q.waiting = nil // what was used before is freed
	}
	if rejected == nil {
		q.written += uint64(len(batch))
	}
}

func (w *waiting) answer(err error) {
	if w.done != nil {
		w.done <- err
	}
}

// failing notes an outage that lasts.
func (q *Queue) failing(since time.Time, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.cfg.Now().Sub(since) >= outage {
		q.note(self, "ledger", 0, since, err)
	}
}

// recovered ends the note of an outage.
func (q *Queue) recovered(since time.Time) {
	if since.IsZero() {
		return
	}
	q.cfg.Log.Info("records are kept again")
	q.mu.Lock()
	defer q.mu.Unlock()
	if l := q.outages[outageKey{self, "ledger"}]; l != nil {
		l.until = q.cfg.Now()
	}
}

// report enqueues records of the losses so far. q.mu is held.
func (q *Queue) report() {
	for key, l := range q.outages {
		body := map[string]any{"producer": key.producer, "lost": l.n, "why": key.why, "since": stamp(l.since), "until": stamp(l.until)}
		if l.err != "" {
			body["error"] = l.err[:min(len(l.err), 500)]
		}
		delete(q.outages, key)
		q.own(Record{ID: ident("overflow", key.producer, key.why, l.since), Kind: "overflow.v1", Body: marshal(body)})
	}
}

// listen records the silence of producers that did not keep their promise.
func (q *Queue) listen() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.cfg.Now()
	for name, p := range q.producers {
		if p.promised > 0 && !p.silent && now.Sub(p.heard) > p.promised {
			p.silent = true
			q.cfg.Log.Warn("a producer is silent", "producer", name, "since", p.heard)
			q.own(silence(name, p.promised, p.heard, time.Time{}, "quiet"))
		}
	}
}

// silence is a record that a producer was not heard; without until, that it is not.
func silence(name string, promised time.Duration, since, until time.Time, why string) Record {
	body := map[string]any{"producer": name, "promisedSeconds": promised.Seconds(), "since": stamp(since), "why": why}
	what := "silence"
	if !until.IsZero() {
		body["until"] = stamp(until)
		what = "silence-end"
	}
	return Record{ID: ident(what, name, why, since), Kind: "silence.v1", Body: marshal(body)}
}

// ident is an id that is the same for the same happening.
func ident(what, producer, why string, since time.Time) string {
	return fmt.Sprintf("%s:%s:%s:%d", what, producer, why, since.UnixNano())
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// marshal writes strings and numbers, which cannot fail.
func marshal(body map[string]any) json.RawMessage {
	text, _ := json.Marshal(body)
	return text
}
