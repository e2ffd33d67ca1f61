package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/outcomes"
	"ringfence.dev/ringfence/rollout"
	"ringfence.dev/ringfence/store"
	"ringfence.dev/ringfence/tenant"
)

// maxOutcomePages bounds how many pages of a thousand are counted of each kind of evidence: beyond, numbers say "at least".
const maxOutcomePages = 200

// outcomeTime bounds one answer.
const outcomeTime = 25 * time.Second

// outcomes answers GET /outcomes?since=720h as JSON.
func (s *Server) outcomes(w http.ResponseWriter, r *http.Request) {
	since, err := time.ParseDuration(r.URL.Query().Get("since"))
	code := http.StatusBadRequest
	var body any
	if err != nil || since <= 0 {
		err = errors.New("since: want a time above zero, for instance 720h")
	} else {
		ctx, cancel := context.WithTimeout(r.Context(), outcomeTime)
		defer cancel()
		code = http.StatusServiceUnavailable
		body, err = s.outcomesOf(ctx, since)
	}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(code)
		body = map[string]string{"error": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(body) // the caller has gone; there is nobody to tell
}

// outcomesOf gathers what is counted.
func (s *Server) outcomesOf(ctx context.Context, since time.Duration) (outcomes.Outcomes, error) {
	in := outcomes.Input{Now: s.cfg.Now().UTC()}
	in.From = in.Now.Add(-since)
	if s.evidence == nil || s.evidence.answers.store == nil {
		return outcomes.Outcomes{}, errors.New("outcomes: no store of evidence is open here; start Ringfence with a folder for evidence")
	}
	if running := s.scan.Load(); running != nil {
		state := running.State()
		in.Scanned, in.Unread, in.Unguarded = !state.Whole.IsZero(), state.Unread, state.Unguarded
	}
	var err error
	for _, state := range []store.ScanState{store.ScanOpen, store.ScanWaived} {
		if err == nil {
			in.Open, err = s.stoodAs(ctx, state, store.Range{}, in.Open, &in.More)
		}
	}
	if err == nil {
		in.Closed, err = s.stoodAs(ctx, store.ScanClosed, store.Range{From: in.From}, nil, &in.More)
	}
	if err == nil {
		err = errors.Join(s.countRefusals(ctx, &in), s.countRuns(ctx, &in), s.outcomeGaps(ctx, &in))
	}
	if err != nil {
		return outcomes.Outcomes{}, fmt.Errorf("outcomes: %w", err)
	}
	s.outcomeObjects(ctx, &in)
	if unproven := s.unproven(in.Now); unproven != "" {
		in.Unknown = slices.Insert(in.Unknown, 0, unproven) // before the gaps, of which a page names the first alone
	}
	return outcomes.Of(in), nil
}

// stoodAs adds what stood in a state.
func (s *Server) stoodAs(ctx context.Context, state store.ScanState, in store.Range, to []outcomes.Stood, more *bool) ([]outcomes.Stood, error) {
	f := store.ScannedFilter{State: state, Range: in, Page: store.Page{Limit: pageLimit}}
	for range maxOutcomePages {
		some, next, err := s.evidence.answers.store.Scanned(ctx, f)
		if err != nil {
			return to, err
		}
		for _, g := range some {
			to = append(to, outcomes.Stood{Control: g.Control, Namespace: g.Subject.Namespace, Severity: s.severity(g.Control), Since: g.Since, Until: g.Until, Why: g.Why, Waived: g.Waived})
		}
		if f.After = next; next == "" {
			return to, nil
		}
	}
	*more = true
	return to, nil
}

// countRefusals counts requests that were refused by the cluster, dry runs aside.
func (s *Server) countRefusals(ctx context.Context, in *outcomes.Input) error {
	last, err := s.lastEvent(ctx)
	if err != nil {
		return err
	}
	if last == nil {
		in.Unknown = append(in.Unknown, "what the cluster refused: no audit event has arrived")
	}
	for _, kind := range []string{"native-refusal.v1", "admission-decision.v1"} {
		n, err := s.countRecords(ctx, kind, in, func(body []byte) bool {
			var b struct {
				Refused bool  `json:"refused"`
				Allowed *bool `json:"allowed"`
				DryRun  bool  `json:"dryRun"`
			}
			return json.Unmarshal(body, &b) == nil && !b.DryRun && (b.Refused || b.Allowed != nil && !*b.Allowed)
		})
		if err != nil {
			return err
		}
		in.Refused += n
	}
	return nil
}

// countRuns counts runs of check that pipelines sent in.
func (s *Server) countRuns(ctx context.Context, in *outcomes.Input) (err error) {
	in.RunsRefused, err = s.countRecords(ctx, "check-run.v1", in, func(body []byte) bool {
		in.Runs++
		var b struct {
			ExitCode int `json:"exitCode"`
		}
		return json.Unmarshal(body, &b) == nil && b.ExitCode == finding.ExitRefused
	})
	return err
}

// countRecords counts the records of a kind for whose body is holds.
func (s *Server) countRecords(ctx context.Context, kind string, in *outcomes.Input, is func(body []byte) bool) (n int, err error) {
	f := store.RecordFilter{Range: store.Range{From: in.From}, Kind: kind, Page: store.Page{Limit: pageLimit}}
	for range maxOutcomePages {
		some, next, err := s.evidence.answers.store.Records(ctx, f)
		if err != nil {
			return n, err
		}
		for _, r := range some {
			if is(r.Body) {
				n++
			}
		}
		if f.After = next; next == "" {
			return n, nil
		}
	}
	in.More = true
	return n, nil
}

// outcomeGaps adds what is not known of the time, and what retention removed of it.
func (s *Server) outcomeGaps(ctx context.Context, in *outcomes.Input) error {
	gaps, err := s.unknown(ctx, in.From)
	for _, g := range gaps {
		until := "no end recorded"
		if g.Until != nil {
			until = g.Until.Format(time.RFC3339)
		}
		in.Unknown = append(in.Unknown, fmt.Sprintf("%s to %s: %s", g.Since.Format(time.RFC3339), until, g.What))
	}
	horizons, wrong := s.evidence.answers.store.Horizons(ctx)
	for _, h := range horizons {
		if h.Before.After(in.From) {
			in.Unknown = append(in.Unknown, "records of kind "+h.Kind+" from before "+h.Before.Format(time.RFC3339)+" were removed from the store")
		}
	}
	return errors.Join(err, wrong)
}

// outcomeObjects adds the tenants and waivers of the cluster, as the cache has them.
func (s *Server) outcomeObjects(ctx context.Context, in *outcomes.Input) {
	cached := s.guards.Load()
	var tenants v1alpha1.TenantList
	var waivers v1alpha1.WaiverList
	if cached == nil {
		in.Unknown = append(in.Unknown, "waivers: the cluster is not known yet")
		return
	}
	if err := errors.Join((*cached).List(ctx, &tenants, client.UnsafeDisableDeepCopy), (*cached).List(ctx, &waivers, client.UnsafeDisableDeepCopy)); err != nil { // both only read
		in.Unknown = append(in.Unknown, "waivers: the cluster does not tell")
		return
	}
	in.Promotions = s.promotions(ctx, in, tenants.Items)
	in.Tenants = map[string][]string{}
	for i := range tenants.Items {
		t := &tenants.Items[i]
		in.Tenants[t.Name] = nil
		for _, environment := range t.Spec.Environments {
			in.Tenants[t.Name] = append(in.Tenants[t.Name], tenant.NamespaceOf(t, environment))
		}
	}
	for _, w := range waivers.Items {
		end, err := tenant.Expiry(w.Spec.Expires)
		if w.Status.Approval != nil && err == nil && in.Now.Before(end) {
			in.Waivers = append(in.Waivers, outcomes.Waiver{Granted: w.CreationTimestamp.Time, Expires: end})
		}
	}
}

// promotions are the steps that the Platform notes, and which namespaces each is about.
func (s *Server) promotions(ctx context.Context, in *outcomes.Input, tenants []v1alpha1.Tenant) (all []outcomes.Promotion) {
	var p v1alpha1.Platform
	if err := (*s.guards.Load()).Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
		if !apierrors.IsNotFound(err) {
			in.Unknown = append(in.Unknown, "promotions: the cluster does not tell")
		}
		return nil
	}
	for id, c := range p.Spec.Controls {
		for _, step := range c.Steps {
			at, err := time.Parse(time.RFC3339, string(step.At))
			if err != nil {
				in.Unknown = append(in.Unknown, "a promotion of "+id+" at a time that is none")
				continue
			}
			scope := rollout.ScopeOf(step.Place)
			all = append(all, outcomes.Promotion{Control: id, Place: step.Place, From: string(step.From), To: string(step.To), At: at, Insisted: step.Insisted != nil,
				Covers: func(namespace string) bool { return scope.Covers(tenants, namespace) }})
		}
	}
	return all
}
