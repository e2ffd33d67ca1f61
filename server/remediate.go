package server

import (
	"fmt"
	"slices"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/remediate"
)

// remediationProducer is whose records of remediations are.
const remediationProducer = "remediation"

// remediate registers what acts on what runs, where a control asks for it.
func (s *Server) remediate(mgr ctrl.Manager) error {
	i := slices.IndexFunc(s.catalogue.Controls, func(c control.Control) bool { return c.Remedy == control.EvictDebugged })
	if i < 0 {
		return nil
	}
	debug := &remediate.Debug{Control: s.catalogue.Controls[i].ID, Keep: s.cfg.DebugTime, Now: s.cfg.Now, Log: s.log}
	if s.evidence != nil {
		debug.OnEvict = s.evidence.evicted
	}
	return debug.SetupWithManager(mgr)
}

// evicted records that the pod of a debug container was evicted. It never waits.
func (e *evidence) evicted(p remediate.Evicted) {
	subject := finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: p.Namespace, Name: p.Name}
	why := fmt.Sprintf("the debug container %s was there for %s", finding.Value(p.Container), p.At.Sub(p.Since).Round(time.Second))
	r, err := record.Remediation(subject, p.Control, "evicted", why, p.Reference, p.Since, p.At)
	if err != nil {
		e.log.Error("an eviction is not recorded", "err", err)
		return
	}
	e.queue.Add(remediationProducer, r)
}
