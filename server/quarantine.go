package server

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/remediate"
)

const (
	// quarantineProducer is whose records of quarantines are.
	quarantineProducer = "quarantine"
	// keptWithin is how long the ledger may take for one record of it.
	keptWithin = 10 * time.Second
)

// quarantine registers what closes the network of quarantined workloads.
func (s *Server) quarantine(mgr ctrl.Manager) error {
	r := &remediate.Quarantine{Now: time.Now, Log: s.log}
	if s.evidence != nil {
		r.OnStep = s.evidence.quarantined
	}
	return r.SetupWithManager(mgr)
}

// quarantined records a step of a quarantine and returns once the ledger holds it.
func (e *evidence) quarantined(ctx context.Context, s remediate.Step) error {
	q := s.Quarantine
	body := record.Quarantined{Step: s.What, Namespace: q.Namespace, Name: q.Name, UID: string(q.UID), Kind: q.Spec.Subject.Kind, Workload: q.Spec.Subject.Name,
		Ticket: q.Spec.Ticket, Reason: s.Reason, Expires: q.Spec.Expires, By: s.By}
	if s.Kept != nil {
		kept, err := e.kept(s.Kept)
		if err != nil {
			return err
		}
		body.Kept = kept
	}
	r, err := record.Quarantine(body, e.actorKey, s.At)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, keptWithin)
	defer cancel()
	err = e.queue.Put(ctx, quarantineProducer, r)
	if errors.Is(err, record.ErrRejected) { // it never will be kept, and a quarantine must be liftable all the same
		e.log.Error("a step of a quarantine is not recorded", "namespace", q.Namespace, "quarantine", q.Name, "step", s.What, "err", err)
		return nil
	}
	return err
}

// kept is an object as the ledger may have it.
func (e *evidence) kept(k *remediate.Kept) (*record.KeptObject, error) {
	object, events, whole := remediate.Redact(k, func(text string) string { return record.Sealed(e.actorKey, text) })
	o := k.Object
	out := &record.KeptObject{Subject: finding.Subject{APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}, UID: string(o.GetUID()), Whole: whole}
	var err error
	if out.Object, err = json.Marshal(object); err != nil {
		return nil, err
	}
	out.Events, err = json.Marshal(events)
	return out, err
}
