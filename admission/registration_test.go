package admission

import (
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
)

func catalogue(t *testing.T) *control.Catalogue {
	t.Helper()
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

// TestRegistration: nothing is asked about that a cluster needs to start or to keep running, and nothing by a wildcard.
func TestRegistration(t *testing.T) {
	all, err := Select(catalogue(t), All, true)
	if err != nil {
		t.Fatal(err)
	}
	at, err := ParseClient("ringfence-system/ringfence", "")
	if err != nil {
		t.Fatal(err)
	}
	got := Registration(all, []string{"istio-system"}, at, []byte("ca"))
	if len(got.Webhooks) < 6 {
		t.Fatalf("%d webhooks for the whole catalogue", len(got.Webhooks))
	}
	seen := map[string]bool{}
	for _, w := range got.Webhooks {
		if *w.FailurePolicy != admissionv1.Fail || *w.TimeoutSeconds != 5 || *w.SideEffects != admissionv1.SideEffectClassNone || *w.MatchPolicy != admissionv1.Equivalent {
			t.Errorf("%s: %+v", w.Name, w)
		}
		exempt := w.NamespaceSelector.MatchExpressions[0]
		if exempt.Key != "kubernetes.io/metadata.name" || !slices.Equal(exempt.Values, []string{"istio-system", "kube-system", "ringfence-system"}) {
			t.Errorf("%s: exempt %+v", w.Name, exempt)
		}
		if !strings.Contains(w.MatchConditions[0].Expression, "!= 'system:serviceaccount:ringfence-system:ringfence'") {
			t.Errorf("%s: Ringfence itself is asked about: %+v", w.Name, w.MatchConditions)
		}
		for _, rule := range w.Rules {
			for _, resource := range rule.Resources {
				name, _, _ := strings.Cut(resource, "/")
				if strings.Contains(resource, "*") || slices.Contains([]string{"leases", "events", "endpoints", "endpointslices", "nodes", "guards", "tenants", "platforms"}, name) {
					t.Errorf("%s asks about %s", w.Name, resource)
				}
				if key := rule.APIGroups[0] + "/" + resource; seen[key] {
					t.Errorf("%s is asked about twice", key)
				} else {
					seen[key] = true
				}
			}
			if slices.Contains(rule.APIGroups, "*") || slices.Contains(rule.APIGroups, "ringfence.dev") || slices.Contains(rule.APIGroups, "coordination.k8s.io") {
				t.Errorf("%s asks about %v", w.Name, rule)
			}
		}
	}
	for _, want := range []string{"/pods", "/pods/ephemeralcontainers", "/pods/resize", "apps/deployments", "batch/cronjobs", "rbac.authorization.k8s.io/rolebindings", "/secrets", "/namespaces"} {
		if !seen[want] {
			t.Errorf("%s is not asked about", want)
		}
	}
}

// TestSelect: today native policies carry every control that any door can, so that nothing is asked; where there are none,
// everything is.
func TestSelect(t *testing.T) {
	cat := catalogue(t)
	count := func(which string, native bool) int {
		t.Helper()
		part, err := Select(cat, which, native)
		if err != nil {
			t.Fatal(err)
		}
		return len(part.Controls)
	}
	all := count(All, true)
	if needed, bare := count(Needed, true), count(Needed, false); needed != 0 || bare != all || all == 0 {
		t.Errorf("needed %d, without native policies %d, all %d", needed, bare, all)
	}
	part, err := Select(cat, "RF-WL-01, rf-wl-02,RF-WL-01", true)
	if err != nil || len(part.Controls) != 2 {
		t.Fatalf("two ids give %v, %v", part, err)
	}
	got := Registration(part, nil, Client{URL: "https://127.0.0.1:1"}, nil)
	for _, w := range got.Webhooks {
		if !strings.HasPrefix(w.Name, "workloads.") && !strings.HasPrefix(w.Name, "templates.") {
			t.Errorf("rules about pods ask %s", w.Name)
		}
	}
	if got := Registration(&control.Catalogue{}, nil, Client{}, nil); len(got.Webhooks) != 0 {
		t.Errorf("a catalogue without controls asks %v", got.Webhooks)
	}
	for _, which := range []string{"RF-XX-99", "", "all,needed"} {
		if _, err := Select(cat, which, true); err == nil {
			t.Errorf("Select(%q) = nil", which)
		}
	}
}

func TestParseClient(t *testing.T) {
	for _, c := range []struct {
		service, url string
		name         string // the server's; "" for an error
	}{
		{"ringfence-system/ringfence", "", "ringfence.ringfence-system.svc"},
		{"a/b:8443", "", "b.a.svc"},
		{"", "https://127.0.0.1:9443", "127.0.0.1"},
		{"", "https://[::1]:9443", "::1"},
		{"", "https://ringfence.bank.example", "ringfence.bank.example"},
		{"", "", ""}, {"a/b", "https://c", ""}, {"b", "", ""}, {"/b", "", ""}, {"a/", "", ""}, {"a/b/c", "", ""}, {"a/b:0", "", ""}, {"a/b:99999", "", ""},
		{"", "http://a", ""}, {"", "https://", ""}, {"", "https://a/b", ""}, {"", "https://u@a", ""},
	} {
		got, err := ParseClient(c.service, c.url)
		if (err != nil) != (c.name == "") || err == nil && got.ServerNames()[0] != c.name {
			t.Errorf("ParseClient(%q, %q) = %+v, %v; want %q", c.service, c.url, got, err, c.name)
		}
	}
}

// trusts reports whether a client that trusts bundle takes what the authority shows now.
func trusts(t *testing.T, a *Authority, bundle []byte, name string, at time.Time) bool {
	t.Helper()
	shown, err := a.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(shown.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(bundle)
	_, err = leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err == nil
}

// TestAuthority walks through a renewal: at every moment what is shown is trusted by whoever read any bundle that was
// registered for long enough.
func TestAuthority(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a, err := NewAuthority(AuthorityConfig{Names: []string{"b.a.svc", "127.0.0.1", "::1"}, Lifetime: 9 * time.Hour, Settle: time.Minute, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	first := a.Bundle()
	for _, name := range []string{"b.a.svc", "127.0.0.1", "::1"} {
		if !trusts(t, a, first, name, now) {
			t.Errorf("%s is not trusted", name)
		}
	}
	if trusts(t, a, first, "c.a.svc", now) || !trusts(t, a, first, "b.a.svc", now.Add(-24*time.Hour)) {
		t.Error("another name is trusted, or a clock that jumped back a day breaks trust")
	}
	if a.Ready() == nil {
		t.Error("ready before it is registered")
	}
	a.Trusted(first, true)
	if err := a.Ready(); err != nil {
		t.Errorf("first registration: %v", err)
	}
	turn := func() time.Duration {
		t.Helper()
		again, err := a.Turn()
		if err != nil || again <= 0 {
			t.Fatalf("Turn = %v, %v", again, err)
		}
		return again
	}
	now = now.Add(turn()) // 6 h later
	turn()
	both := a.Bundle()
	if slices.Equal(first, both) || !trusts(t, a, first, "b.a.svc", now) {
		t.Fatal("nothing was renewed, or it is shown before anybody was told")
	}
	now = now.Add(2 * time.Minute)
	if turn(); !trusts(t, a, first, "b.a.svc", now) {
		t.Fatal("it is shown although it was never registered")
	}
	a.Trusted(both, false)
	now = now.Add(30 * time.Second)
	if turn(); !trusts(t, a, first, "b.a.svc", now) {
		t.Fatal("it is shown before API servers had their time")
	}
	now = now.Add(31 * time.Second)
	if turn(); trusts(t, a, first, "b.a.svc", now) || !trusts(t, a, both, "b.a.svc", now) || a.Ready() != nil {
		t.Fatalf("after that the next is not shown, or not ready: %v", a.Ready())
	}
	now = now.Add(24 * time.Hour) // asleep until long after it expired
	if a.Ready() == nil {
		t.Error("ready with an expired certificate")
	}
	turn()
	a.Trusted(a.Bundle(), false)
	if turn(); !trusts(t, a, a.Bundle(), "b.a.svc", now) {
		t.Error("after it expired the next is not shown at once")
	}
	if a.Trusted([]byte("others"), false); a.Ready() == nil {
		t.Error("ready although the registration trusts others")
	}
}

// TestAuthorityClock: a clock that is set a day ahead and back leaves the door ready, and one that was far ahead when the
// certificate was issued has it issued anew, because nobody takes one that is not valid yet.
func TestAuthorityClock(t *testing.T) {
	right := time.Unix(1_800_000_000, 0)
	now := right.Add(24 * time.Hour)
	a, err := NewAuthority(AuthorityConfig{Names: []string{"b.a.svc"}, Lifetime: 7 * 24 * time.Hour, Settle: time.Minute, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	first := a.Bundle()
	a.Trusted(first, true)
	for _, at := range []time.Time{now, right, now, right.Add(-12 * time.Hour)} {
		now = at
		if again, err := a.Turn(); again <= 0 || err != nil || a.Ready() != nil || !trusts(t, a, first, "b.a.svc", right) {
			t.Errorf("at %v: again in %v, %v, %v", at, again, err, a.Ready())
		}
	}
	now = right.Add(-3 * 24 * time.Hour) // of the issue's clock four days ago
	if a.Ready() == nil {
		t.Error("ready with a certificate that is not valid yet")
	}
	for range 2 {
		if _, err := a.Turn(); err != nil {
			t.Fatal(err)
		}
		a.Trusted(a.Bundle(), false)
	}
	if _, err := a.Turn(); err != nil || !trusts(t, a, a.Bundle(), "b.a.svc", now) {
		t.Errorf("one that is valid now is not shown, %v", err)
	}
	now = now.Add(2 * time.Minute)
	if err := a.Ready(); err != nil {
		t.Errorf("after API servers had their time: %v", err)
	}
}

// TestMerge: every replica's authorities stay until they expire, and what is no authority goes.
func TestMerge(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	made := func(at time.Time) []byte {
		one, err := issue([]string{"b.a.svc"}, at, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return one.authority
	}
	mine, other, past := made(now), made(now.Add(-time.Minute)), made(now.Add(-2*time.Hour))
	got := merge(map[string]string{"me": string(past), "other": string(past) + string(other), "gone": string(past), "odd": "nothing"}, "me", mine, now)
	if want := map[string]string{"me": string(mine), "other": string(other)}; !maps.Equal(got, want) {
		t.Errorf("merge = %v", slices.Collect(maps.Keys(got)))
	}
	many := map[string]string{}
	for i := range maxHolders + 5 {
		many[strings.Repeat("x", i+1)] = string(other)
	}
	many["eldest"] = string(made(now.Add(-50 * time.Minute)))
	got = merge(many, "me", mine, now)
	if _, kept := got["eldest"]; len(got) != maxHolders || kept || got["me"] == "" {
		t.Errorf("%d holders are kept, the eldest %v", len(got), kept)
	}
}
