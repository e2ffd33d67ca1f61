package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/idptest"
	"ringfence.dev/ringfence/record"
)

// cachedCluster is what a cluster's cache holds.
type cachedCluster struct {
	platform v1alpha1.Platform
	tenants  []v1alpha1.Tenant
	guards   []v1alpha1.Guard
}

// Get implements client.Reader; nothing is asked for by name.
func (c cachedCluster) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// List implements client.Reader.
func (c cachedCluster) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	switch all := into.(type) {
	case *v1alpha1.PlatformList:
		all.Items = []v1alpha1.Platform{c.platform}
	case *v1alpha1.TenantList:
		all.Items = c.tenants
	case *v1alpha1.GuardList:
		all.Items = c.guards
	}
	return nil
}

// askAPI asks the API and is the status, the body and the cookie as a header.
func askAPI(t *testing.T, c *http.Client, method, url, body string, headers ...string) (int, string, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	got, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	cookie, _, _ := strings.Cut(got.Header.Get("Set-Cookie"), ";")
	return got.StatusCode, string(text), cookie
}

// withAPI is a control plane with the signed-in API, for people of a provider.
func withAPI(t *testing.T, a authority, p *idptest.Provider) *Server {
	t.Helper()
	s, err := New(Config{Evidence: filepath.Join(t.TempDir(), "evidence"), Listen: "127.0.0.1:0", TLSCert: a.cert, TLSKey: a.key,
		API: APIConfig{Listen: "127.0.0.1:0", Cert: a.cert, Key: a.key, ProviderCA: p.CAFile}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hasTenant makes the control plane's cache hold a Platform of the provider and the tenant payments, with its namespace payments-dev.
func hasTenant(s *Server, issuer string) {
	cluster := cachedCluster{
		platform: v1alpha1.Platform{Spec: v1alpha1.PlatformSpec{Identity: v1alpha1.IdentityRules{Issuer: issuer, ClientID: idptest.ClientID}}},
		tenants:  []v1alpha1.Tenant{{Spec: v1alpha1.TenantSpec{Groups: v1alpha1.TenantGroups{Admin: "payments-admins", ReadOnly: "payments-readers"}, Environments: []v1alpha1.Environment{{Name: "dev"}}}}},
		guards:   []v1alpha1.Guard{{Spec: v1alpha1.GuardSpec{Tenant: "payments", Environment: "dev"}}},
	}
	cluster.tenants[0].Name, cluster.guards[0].Name, cluster.guards[0].Namespace = "payments", v1alpha1.GuardName, "payments-dev"
	reader := client.Reader(cluster)
	s.guards.Store(&reader)
}

// TestAPISignIn: with tokens of a real provider; what is not one of its for Ringfence is refused, and what cannot be known is neither.
func TestAPISignIn(t *testing.T) {
	a, p := makeAuthority(t), idptest.Start(t)
	s := withAPI(t, a, p)
	defer startEvidence(t, s)()
	c, base := a.client(t), "https://"+s.APIAddress()+"/api/v1"
	is := func(what string, code int, kind, raw string) {
		t.Helper()
		if got, text, _ := askAPI(t, c, "POST", base+"/sessions", `{"idToken":"`+raw+`"}`); got != code || !strings.Contains(text, kind) {
			t.Errorf("%s: %d %s; want %d %s", what, got, text, code, kind)
		}
	}
	good := p.Token(nil)
	is("before the cluster is read", 503, "undecided", good)
	hasTenant(s, "")
	is("no provider", 503, "undecided", good)
	hasTenant(s, p.URL)
	is("good", 201, "lastUsed", good)
	is("of another audience", 401, "token-refused", p.Token(map[string]any{"aud": "payroll"}))
	is("of another issuer", 401, "token-refused", p.Token(map[string]any{"iss": "https://evil.example"}))
	is("ended", 401, "token-refused", p.Token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}))
	is("no token", 401, "token-refused", "jane")
	is("groups that it could not hold, and no Graph", 503, "undecided", p.Token(map[string]any{"oid": idptest.Object, "tid": idptest.Directory, "_claim_names": map[string]any{"groups": "src1"},
		"_claim_sources": map[string]any{"src1": map[string]any{"endpoint": p.URL + "/gone"}}}))
	p.Set(func(now *idptest.Settings) {
		now.Before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	})
	hasTenant(s, p.URL+"/")
	is("a provider that is down", 503, "undecided", p.Token(nil))
}

// TestAPI: over TLS 1.3 alone a person signs in, sees the findings that the store has of their namespaces and no others, and makes a token with which a
// pipeline sends runs in until it is revoked; all of it is in the ledger, without a name or a credential.
func TestAPI(t *testing.T) {
	a, p := makeAuthority(t), idptest.Start(t)
	s := withAPI(t, a, p)
	defer startEvidence(t, s)()
	hasTenant(s, p.URL)
	c, base := a.client(t), "https://"+s.APIAddress()+"/api/v1"
	in := func(sub, group string) (cookie string) {
		code, text, cookie := askAPI(t, c, "POST", base+"/sessions", `{"idToken":"`+p.Token(map[string]any{"sub": sub, "groups": []string{group}})+`"}`)
		if code != 201 {
			t.Fatalf("sign in: %d %s", code, text)
		}
		return cookie
	}
	jane, eve := in("jane", "payments-admins"), in("eve", "strangers")
	for _, namespace := range []string{"payments-dev", "cards-dev"} {
		pod := finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: "p"}
		s.evidence.decided(t.Context(), admission.Decision{UID: "uid-" + namespace, Operation: "CREATE", Subject: pod, User: "jane", Findings: []finding.Finding{{Control: "RF-WL-01", Outcome: finding.Fail, Subject: pod}}})
	}
	var text string
	eventually(t, "the store's finding", func() bool {
		_, text, _ = askAPI(t, c, "GET", base+"/findings", "", "Cookie", jane)
		return strings.Contains(text, `"payments-dev"`) && strings.Contains(text, `"behind":0`)
	})
	if _, none, _ := askAPI(t, c, "GET", base+"/findings", "", "Cookie", eve); strings.Contains(text, "cards-dev") || strings.Contains(none, "-dev") {
		t.Errorf("jane sees %s\neve sees %s", text, none)
	}
	_, text, _ = askAPI(t, c, "POST", base+"/tokens", fmt.Sprintf(`{"name":"ci","scopes":["push:runs"],"expires":%q}`, time.Now().Add(time.Hour).Format(time.RFC3339)), "Cookie", jane)
	var made struct {
		Token string
		Info  struct{ ID string }
	}
	if err := json.Unmarshal([]byte(text), &made); err != nil || made.Token == "" {
		t.Fatalf("%s, %v", text, err)
	}
	push := func(token string) int {
		code, _ := send(t, c, "https://"+s.DoorsAddress()+"/records/check-run", run(t, nil), "Authorization", "Bearer "+token)
		return code
	}
	if got := []int{push(made.Token), push(strings.TrimPrefix(made.Token, "rf_")), push("rf_guess"), push("guess")}; fmt.Sprint(got) != "[200 401 401 401]" {
		t.Errorf("runs are answered %v", got)
	}
	if runs := kept(t, s, record.CheckRunKind); len(runs) != 1 || !strings.Contains(string(runs[0].Body), `"token/`+made.Info.ID+`/ci"`) {
		t.Errorf("runs: %v", runs)
	}
	if code, text, _ := askAPI(t, c, "DELETE", base+"/tokens/"+made.Info.ID, "", "Cookie", jane); code != 204 || push(made.Token) != 401 {
		t.Errorf("revoked: %d %s", code, text)
	}
	var what []string
	for _, r := range kept(t, s, "access.v1") {
		var body struct{ What string }
		if err := json.Unmarshal(r.Body, &body); err != nil || strings.Contains(string(r.Body), "jane") || strings.Contains(string(r.Body), made.Token) {
			t.Errorf("recorded: %s, %v", r.Body, err)
		}
		what = append(what, body.What)
	}
	if got := strings.Join(what, " "); got != "signed-in signed-in token-made token-revoked" {
		t.Errorf("recorded: %s", got)
	}
	old := a.client(t)
	old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	if _, err := old.Get(base + "/openapi.json"); err == nil {
		t.Error("TLS 1.2 is answered")
	}
}

// TestAPIRefused: settings with which the API could not be served, or not be recorded.
func TestAPIRefused(t *testing.T) {
	a := makeAuthority(t)
	for name, test := range map[string]struct {
		cfg  Config
		want string
	}{
		"no address":     {Config{API: APIConfig{Cert: a.cert, Key: a.key}}, "want that too"},
		"no certificate": {Config{Evidence: t.TempDir(), API: APIConfig{Listen: "127.0.0.1:0"}}, "want a certificate and its key too"},
		"no evidence":    {Config{API: APIConfig{Listen: "127.0.0.1:0", Cert: a.cert, Key: a.key}}, "want a folder for evidence too"},
		"not its key":    {Config{Evidence: filepath.Join(t.TempDir(), "e"), API: APIConfig{Listen: "127.0.0.1:0", Cert: a.cert, Key: makeAuthority(t).key}}, "read our certificate"},
	} {
		s, err := New(test.cfg, slog.New(slog.DiscardHandler))
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}
