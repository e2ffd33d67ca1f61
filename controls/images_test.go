package controls_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
)

// TestScheduledAgain: what is refused and ran here is let in for a while where a controller of Kubernetes itself makes it,
// and for nobody else; each of them is named in the rules.
func TestScheduledAgain(t *testing.T) {
	engine, guard := engine(t, catalogue(t)), caseGuard(t)
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	ran := "registry.bank.example/payments/api@sha256:" + strings.Repeat("5", 64)
	failed := func(user string, at time.Time) (ids []string) {
		in := policy.Input{Guard: guard, Namespace: "payments-dev", Username: user, Now: at, Object: map[string]any{
			"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "api"},
			"spec": map[string]any{"containers": []any{map[string]any{"name": "api", "image": ran}}}}}
		for _, f := range engine.Judge(in, finding.Subject{APIVersion: "v1", Kind: "Pod", Name: "api"}) {
			if f.Outcome != finding.Pass && strings.HasPrefix(f.Control, "RF-IM") {
				ids = append(ids, f.Control)
			}
		}
		return ids
	}
	for _, user := range control.WorkloadControllers() {
		if ids := failed(user, now); ids != nil {
			t.Errorf("made by %s it fails %v", user, ids)
		}
		if ids := failed(user, now.AddDate(100, 0, 0)); !slices.Equal(ids, []string{"RF-IM-03", "RF-IM-04"}) {
			t.Errorf("made by %s when that is over it fails %v", user, ids)
		}
	}
	for _, user := range []string{"", "oidc:dave@bank.example", "system:serviceaccount:payments-dev:replicaset-controller", "system:serviceaccount:kube-system:default"} {
		if ids := failed(user, now); !slices.Equal(ids, []string{"RF-IM-03"}) {
			t.Errorf("made by %q it fails %v, want RF-IM-03", user, ids)
		}
	}
}

// TestEndsToTheSecond: the last second counts, and the next does not.
func TestEndsToTheSecond(t *testing.T) {
	engine, guard := engine(t, catalogue(t)), caseGuard(t)
	end := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	scanned := "registry.bank.example/payments/api@sha256:" + strings.Repeat("a", 64)
	for at, want := range map[time.Time]finding.Outcome{end: finding.Pass, end.Add(999 * time.Millisecond): finding.Pass, end.Add(time.Second): finding.Fail} {
		in := policy.Input{Guard: guard, Namespace: "payments-dev", Now: at, Object: map[string]any{
			"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "api", "creationTimestamp": "2026-01-01T00:00:00Z"},
			"spec": map[string]any{"containers": []any{map[string]any{"name": "api", "image": scanned}}}}}
		for _, f := range engine.Judge(in, finding.Subject{APIVersion: "v1", Kind: "Pod", Name: "api"}) {
			if f.Control == "RF-IM-03" && f.Outcome != want {
				t.Errorf("at %v: %s, want %s", at, f.Outcome, want)
			}
		}
	}
}
