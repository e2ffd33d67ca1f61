package server

import (
	"context"
	"strings"
	"time"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// passed tells of a review that was answered: its spans, a line in the log where it was refused, and its record. It never waits.
func (w *webhook) passed(ctx context.Context, p admission.Passage) {
	ctx = w.traces.review(ctx, p)
	d := p.Decision
	if d == nil {
		return
	}
	if !d.Allowed || w.keep == nil { // by the id with which the refusal ends; who asked and about what is in the record, or the audit stream
		said := "refused"
		if d.Allowed {
			said = "warned"
		}
		w.log.Info(said, "id", finding.Value(p.UID), "verdict", p.Verdict, "operation", p.Operation, "namespace", finding.Value(p.Namespace),
			"kind", finding.Value(d.Subject.Kind), "control", strings.Join(controlsOf(d.Findings).Value.AsStringSlice(), ","))
	}
	if w.keep != nil {
		w.keep.decided(ctx, *d)
	}
}

// decided records what the admission door refused or warned of. It never waits.
func (e *evidence) decided(ctx context.Context, d admission.Decision) {
	r, err := record.Decision(record.Decided{UID: d.UID, Operation: d.Operation, Subject: d.Subject, User: d.User, Allowed: d.Allowed,
		DryRun: d.DryRun, Findings: d.Findings}, e.catalogue, e.actorKey, time.Now())
	if err != nil {
		e.log.Error("a decision of the admission door is not recorded", "id", finding.Value(d.UID), "err", err)
		return
	}
	e.traces.travel(ctx, r.ID)
	e.queue.Add(admissionProducer, r) // what finds no room is counted and recorded by the queue
}
