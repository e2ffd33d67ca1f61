package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store"
	"ringfence.dev/ringfence/tenant"
)

// pageLimit is how many findings one answer holds, pageTries how often the store is asked for it: most of what it has may be of
// pipelines, or of other tenants.
const pageLimit, pageTries = 1000, 20

// asked is who answers GET /findings: the store where evidence is kept, so that a restart forgets nothing; memory elsewhere.
func (s *Server) asked() record.Ask {
	requests := s.askStore
	if s.findings != nil {
		requests = record.FromMemory(s.findings, s.audit.LastEvent)
	}
	return func(ctx context.Context, from time.Time, q record.Query) (record.Answer, error) {
		q.Others = s.namespacesOf(ctx, q.Tenant)
		if q.Source == record.SourceScan {
			return s.askScan(ctx, from, q)
		}
		return requests(ctx, from, q)
	}
}

// namespacesOf are the namespaces that a Tenant of the cluster has, for an adopted one names its own; none where the cluster does not tell.
func (s *Server) namespacesOf(ctx context.Context, name string) (namespaces []string) {
	if name == "" {
		return nil
	}
	tenants, err := estate{s}.Tenants(ctx)
	if err != nil {
		return nil
	}
	for i := range tenants {
		if t := &tenants[i]; t.Name == name {
			for _, environment := range t.Spec.Environments {
				namespaces = append(namespaces, tenant.NamespaceOf(t, environment))
			}
		}
	}
	return namespaces
}

// askStore answers from the store.
func (s *Server) askStore(ctx context.Context, from time.Time, q record.Query) (record.Answer, error) {
	answer := record.Answer{From: "store"}
	var err error
	if answer.Behind, err = s.evidence.behind(ctx); err != nil { // first: what it lacks may be there a moment later
		return answer, err
	}
	if answer.Observed.LastEvent, err = s.lastEvent(ctx); err != nil {
		return answer, err
	}
	if answer.Observed.Since, err = s.since(ctx); err != nil {
		return answer, err
	}
	if answer.Unknown, err = s.unknown(ctx, from); err != nil {
		return answer, err
	}
	f := store.FindingFilter{Range: store.Range{From: from}, Page: store.Page{After: q.After, Limit: pageLimit, Newest: true}}
	switch {
	case q.Namespace != "":
		f.Namespaces = []string{q.Namespace}
	case q.Namespaces != nil && len(q.Namespaces) == 0:
		return answer, nil
	default:
		f.Namespaces = q.Namespaces
	}
	if q.Control != "" {
		f.Controls = []string{q.Control}
	}
	requests := map[uint64]request{}
	for range pageTries {
		some, next, err := s.evidence.answers.store.Findings(ctx, f)
		if errors.Is(err, store.ErrQuery) {
			return answer, fmt.Errorf("%w: %w", record.ErrInvalid, err)
		}
		if err != nil {
			return answer, err
		}
		for _, g := range some {
			if g.Operation == "CHECK" || !fromSource(g.Kind, q.Source) || !q.OfTenant(g.Subject.Namespace) {
				continue // what pipelines sent in, the cluster has not refused
			}
			if _, known := requests[g.Index]; !known {
				if requests[g.Index], err = s.request(ctx, g.Index); err != nil {
					return answer, err
				}
			}
			if r := requests[g.Index]; q.Request == "" || r.AuditID == q.Request || r.RequestUID == q.Request {
				answer.Findings = append(answer.Findings, s.findingOf(g, r))
			}
		}
		f.After, f.Limit, answer.Next = next, pageLimit-len(answer.Findings), next
		if next == "" || f.Limit == 0 {
			break
		}
	}
	slices.Reverse(answer.Findings)
	return answer, nil
}

// fromSource says that records of a kind are of a source that is asked for.
func fromSource(kind, source string) bool {
	return source == "" || (kind == "admission-decision.v1") == (source == record.SourceAdmission)
}

// behind is how many records wait for the ledger, or are in it and not in the store.
func (e *evidence) behind(ctx context.Context) (uint64, error) {
	waiting := uint64(e.queue.Waiting())
	state, err := e.answers.store.State(ctx)
	if size := e.ledger.Size(); size > state.Next {
		waiting += size - state.Next
	}
	return waiting, err
}

// lastEvent is when the newest audit event happened: of those since the start or, before the first of them, of those that left a
// record.
func (s *Server) lastEvent(ctx context.Context) (*time.Time, error) {
	if last, ok := s.audit.LastEvent(); ok {
		last = last.UTC()
		return &last, nil
	}
	all, err := s.evidence.answers.store.Producers(ctx)
	for _, p := range all {
		if p.Producer == auditProducer {
			return &p.Last, err
		}
	}
	return nil, err
}

// since is from when on the store holds what happened to requests: its first record, or what retention left of refusals.
func (s *Server) since(ctx context.Context) (*time.Time, error) {
	totals, err := s.evidence.answers.store.Totals(ctx)
	if err != nil {
		return nil, err
	}
	var first time.Time
	for _, t := range totals {
		if first.IsZero() || t.First.Before(first) {
			first = t.First
		}
	}
	horizons, err := s.evidence.answers.store.Horizons(ctx)
	for _, h := range horizons {
		if (h.Kind == "native-refusal.v1" || h.Kind == "admission-decision.v1") && h.Before.After(first) {
			first = h.Before
		}
	}
	if first.IsZero() {
		return nil, err
	}
	return &first, err
}

// unknown are the times from an instant on of which something is not known.
func (s *Server) unknown(ctx context.Context, from time.Time) (out []record.Gap, err error) {
	gaps, _, err := s.evidence.answers.store.Gaps(ctx, store.Range{From: from}, store.Page{})
	for _, g := range gaps {
		what := strings.TrimSpace(g.What + " of " + g.Producer + " (" + g.Why + ") " + g.Detail)
		gap := record.Gap{Since: g.Since, What: finding.Clean(what)}
		if !g.Until.IsZero() {
			gap.Until = &g.Until
		}
		out = append(out, gap)
	}
	return out, err
}

// request is what the body of a record says of its request, and the store does not.
type request struct {
	AuditID    string `json:"auditID"`
	RequestUID string `json:"requestUID"` // of what the admission door decided
	DryRun     bool   `json:"dryRun"`
}

// request reads the record at a place in the ledger; one that retention removed says nothing.
func (s *Server) request(ctx context.Context, index uint64) (r request, err error) {
	kept, err := s.evidence.answers.store.RecordAt(ctx, index)
	if err == nil && kept != nil {
		_ = json.Unmarshal(kept.Body, &r) // the store could read it, or had no finding of it
	}
	return r, err
}

// findingOf is a finding as the audit stream told it, in the words of the catalogue that is in force now: records repeat none.
func (s *Server) findingOf(g store.Finding, r request) finding.Finding {
	f := finding.Finding{
		Control: g.Control, Rule: g.Control, Severity: finding.High, Outcome: finding.Outcome(g.Outcome), Action: finding.Action(g.Action),
		Found: g.Value, Path: g.Path, Subject: g.Subject, Source: "catalogue",
		Observed: &finding.Observed{Time: g.Time, User: cmp.Or(g.Actor.Name, g.Actor.Ref), ImpersonatedUser: cmp.Or(g.InTheNameOf.Name, g.InTheNameOf.Ref),
			Operation: g.Operation, Refused: g.Refused, DryRun: r.DryRun, AuditID: finding.Value(r.AuditID), Door: "apiserver"},
	}
	start := f.Control
	if c, ok := s.catalogue.Find(g.Control); ok {
		f.Rule, f.Title, f.Severity, f.Wanted, f.Fix = c.Rule(), c.Title, c.Severity, c.Wanted, c.Fix
		start += " " + c.Title
	}
	f.Message = finding.Line(f.Control, f.Title, f.Found, f.Path, f.Wanted, f.Fix, "", 0)
	if g.Waiver != "" {
		f.Waiver = &finding.Waiver{Name: finding.Clean(g.Waiver)} // until when, the record does not say
		f.Message += "; waived by " + f.Waiver.Name
	}
	if !control.ValidID(g.Control) { // a bundle that could not decide, by its name
		f.Control = ""
	}
	if f.Outcome != finding.Fail {
		reason := "not-recorded"
		f.Reason = &reason
		f.Message = cmp.Or(start, "a policy") + ": could not be decided; fix: see that the namespace has a Guard; the audit event says more"
	}
	f.Fingerprint = finding.Fingerprint(g.Control, f.Subject, f.Path)
	return f
}
