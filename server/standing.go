package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/scan"
	"ringfence.dev/ringfence/store"
)

// askScan answers what stands in the cluster, or stood, as the background scan found.
func (s *Server) askScan(ctx context.Context, from time.Time, q record.Query) (record.Answer, error) {
	answer := record.Answer{From: "store", Scan: s.scanned()}
	if q.Request != "" {
		return answer, fmt.Errorf("%w: request: what lies in the cluster is of no request", record.ErrInvalid)
	}
	if s.evidence == nil || s.evidence.answers.store == nil {
		return s.askRunning(answer, from, q)
	}
	var err error
	if answer.Behind, err = s.evidence.behind(ctx); err != nil {
		return answer, err
	}
	if answer.Unknown, err = s.unknown(ctx, from); err != nil {
		return answer, err
	}
	f := store.ScannedFilter{State: scanStates(q.State), Range: store.Range{From: from}, Page: store.Page{After: q.After, Limit: pageLimit, Newest: true}}
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
	for range pageTries {
		some, next, err := s.evidence.answers.store.Scanned(ctx, f)
		if errors.Is(err, store.ErrQuery) {
			return answer, fmt.Errorf("%w: %w", record.ErrInvalid, err)
		}
		if err != nil {
			return answer, err
		}
		for _, g := range some {
			if q.OfTenant(g.Subject.Namespace) {
				answer.Findings = append(answer.Findings, s.standingOf(g))
			}
		}
		f.After, f.Limit, answer.Next = next, pageLimit-len(answer.Findings), next
		if next == "" || f.Limit <= 0 {
			break
		}
	}
	slices.Reverse(answer.Findings)
	return answer, nil
}

// scanStates is a state by its word.
func scanStates(word string) store.ScanState {
	return map[string]store.ScanState{"": store.ScanOpen, "open": store.ScanOpen, "waived": store.ScanWaived}[word]
}

// askRunning answers from what the scan itself holds: it knows nothing of what closed.
func (s *Server) askRunning(answer record.Answer, from time.Time, q record.Query) (record.Answer, error) {
	answer.From = "memory"
	switch running := s.scan.Load(); {
	case q.State == "closed":
		return answer, fmt.Errorf("%w: state: found closed; want open or waived: what closed stands in the evidence, and none is kept", record.ErrInvalid)
	case q.After != "":
		return answer, fmt.Errorf("%w: after: want none: what stands in memory is one page", record.ErrInvalid)
	case running == nil:
		return answer, nil
	default:
		for _, k := range running.Standing() {
			if f := heldFinding(k); (k.Waiver != "") == (q.State == "waived") && q.Selects(f) && !k.Since.Before(from) {
				answer.Findings = append(answer.Findings, s.worded(f))
			}
		}
	}
	slices.SortFunc(answer.Findings, func(a, b finding.Finding) int { return a.Stands.Since.Compare(b.Stands.Since) })
	return answer, nil
}

// heldFinding is one that a scan holds.
func heldFinding(k scan.Known) finding.Finding {
	f := finding.Finding{Control: k.Control, Outcome: k.Outcome, Action: k.Action, Found: k.Value, Path: k.Path, Subject: k.Subject,
		Stands: &finding.Stands{State: "open", Since: k.Since, Last: k.Since}}
	if k.Waiver != "" {
		f.Stands.State, f.Waiver = "waived", &finding.Waiver{Name: k.Waiver, Expires: k.Expires}
	}
	return f
}

// standingOf is one that the store holds.
func (s *Server) standingOf(g store.Scanned) finding.Finding {
	f := finding.Finding{Control: g.Control, Outcome: finding.Outcome(g.Outcome), Action: finding.Action(g.Action), Found: g.Value, Path: g.Path, Subject: g.Subject,
		Stands: &finding.Stands{State: "open", Since: g.Since, Last: g.Last, Why: g.Why}}
	if g.Waived {
		f.Stands.State, f.Waiver = "waived", &finding.Waiver{Name: g.Waiver, Expires: g.Expires}
	}
	if g.State == store.ScanClosed {
		f.Stands.State, f.Stands.Until = "closed", &g.Until
	}
	return s.worded(f)
}

// worded is a finding in the words of the catalogue that is in force now.
func (s *Server) worded(f finding.Finding) finding.Finding {
	f.Rule, f.Severity, f.Source = f.Control, s.severity(f.Control), "catalogue"
	if c, ok := s.catalogue.Find(f.Control); ok {
		f.Rule, f.Title, f.Wanted, f.Fix = c.Rule(), c.Title, c.Wanted, c.Fix
	}
	f.Message = finding.Line(f.Control, f.Title, f.Found, f.Path, f.Wanted, f.Fix, "", 0)
	if !control.ValidID(f.Control) {
		f.Control = ""
	}
	if f.Outcome != finding.Fail {
		reason := "not-recorded"
		f.Reason, f.Message = &reason, f.Rule+" "+f.Title+": could not be decided"
	}
	f.Fingerprint = finding.Fingerprint(f.Rule, f.Subject, f.Path)
	return f
}

// scanned is how far the scan is; nil where none runs here.
func (s *Server) scanned() *record.Scanned {
	running := s.scan.Load()
	if running == nil {
		return nil
	}
	state := running.State()
	out := &record.Scanned{Started: state.Started.UTC(), AsOf: state.AsOf.UTC(), Objects: state.Objects, Waiting: state.Waiting,
		Unguarded: append([]string{}, state.Unguarded[:min(len(state.Unguarded), record.MaxScanNames)]...), Unread: append([]string{}, state.Unread...)}
	if !state.Whole.IsZero() {
		whole := state.Whole.UTC()
		out.Whole = &whole
	}
	return out
}
