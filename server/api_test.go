package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
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
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/record"
)

// cachedCluster is what a cluster's cache holds.
type cachedCluster struct {
	tenants []v1alpha1.Tenant
	guards  []v1alpha1.Guard
}

// Get implements client.Reader; nothing is asked for by name.
func (c cachedCluster) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// List implements client.Reader.
func (c cachedCluster) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	switch all := into.(type) {
	case *v1alpha1.TenantList:
		all.Items = c.tenants
	case *v1alpha1.GuardList:
		all.Items = c.guards
	}
	return nil
}

// people are those whom ID tokens speak for.
type people map[string]identity.Person

var errNobody = errors.New("of nobody")

func (p people) Verify(_ context.Context, raw string) (identity.Person, error) {
	if who, ok := p[raw]; ok {
		who.Issuer, who.Subject, who.Name, who.SignedIn, who.Expires = "https://idp", raw, "oidc:"+raw, time.Now(), time.Now().Add(time.Hour)
		return who, nil
	}
	return identity.Person{}, errNobody
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

// withAPI is a control plane with the signed-in API for people, on a cluster with a tenant.
func withAPI(t *testing.T, a authority) *Server {
	t.Helper()
	s, err := New(Config{Evidence: filepath.Join(t.TempDir(), "evidence"), Listen: "127.0.0.1:0", TLSCert: a.cert, TLSKey: a.key, API: APIConfig{Listen: "127.0.0.1:0", Cert: a.cert, Key: a.key,
		Verifier: people{"jane": {Groups: []string{"payments-admins"}}, "eve": {}}}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAPI: over TLS 1.3 alone a person signs in, sees the findings that the store has of their namespaces and no others, and makes a token with which a
// pipeline sends runs in until it is revoked; all of it is in the ledger, without a name or a credential.
func TestAPI(t *testing.T) {
	a := makeAuthority(t)
	s := withAPI(t, a)
	defer startEvidence(t, s)()
	c, base := a.client(t), "https://"+s.APIAddress()+"/api/v1"
	if code, _, cookie := askAPI(t, c, "POST", base+"/sessions", `{"idToken":"jane"}`); code != 201 {
		t.Fatalf("sign in: %d %s", code, cookie)
	}
	_, _, jane := askAPI(t, c, "POST", base+"/sessions", `{"idToken":"jane"}`)
	_, _, eve := askAPI(t, c, "POST", base+"/sessions", `{"idToken":"eve"}`)
	if code, text, _ := askAPI(t, c, "GET", base+"/findings", "", "Cookie", jane); code != 503 || !strings.Contains(text, "undecided") {
		t.Errorf("before the cluster is read: %d %s", code, text)
	}
	cluster := cachedCluster{tenants: []v1alpha1.Tenant{{Spec: v1alpha1.TenantSpec{Groups: v1alpha1.TenantGroups{Admin: "payments-admins", ReadOnly: "payments-readers"}, Environments: []v1alpha1.Environment{{Name: "dev"}}}}},
		guards: []v1alpha1.Guard{{Spec: v1alpha1.GuardSpec{Tenant: "payments", Environment: "dev"}}}}
	cluster.tenants[0].Name, cluster.guards[0].Name, cluster.guards[0].Namespace = "payments", v1alpha1.GuardName, "payments-dev"
	reader := client.Reader(cluster)
	s.guards.Store(&reader)

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
	if got := strings.Join(what, " "); got != "signed-in signed-in signed-in token-made token-revoked" {
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
