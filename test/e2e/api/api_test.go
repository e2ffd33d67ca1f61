// Package api shows on a real API server, with tokens of an OpenID Connect provider, that the signed-in API follows what the cluster says
// of tenants. Its routes one by one, and whoever attacks them, are package portal's own tests.
package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/idptest"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
)

var cluster *clustertest.Cluster

func TestMain(m *testing.M) {
	os.Exit(clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c }))
}

// certificate makes files of a certificate for this machine, and a client that trusts it.
func certificate(t *testing.T) (cert, key string, trusting *http.Client) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir, roots := t.TempDir(), x509.NewCertPool()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, key, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

// people are those of a provider at an API.
type people struct {
	t        *testing.T
	client   *http.Client
	base     string
	provider *idptest.Provider
}

// ask asks with a cookie and is status, body and the cookie that came.
func (p people) ask(method, path, body, cookie string) (int, string, string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.base+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	got, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	set, _, _ := strings.Cut(got.Header.Get("Set-Cookie"), ";")
	return got.StatusCode, string(text), set
}

// in signs somebody of a group in, once the cluster is read.
func (p people) in(sub, group string) (cookie string) {
	p.t.Helper()
	ringfencetest.Eventually(p.t, sub+" to sign in", func() error {
		code, text, set := p.ask("POST", "/sessions", fmt.Sprintf(`{"idToken":%q}`, p.provider.Token(map[string]any{"sub": sub, "groups": []string{group}})), "")
		if code != http.StatusCreated {
			return fmt.Errorf("%d %s", code, text)
		}
		cookie = set
		return nil
	})
	return cookie
}

// sees waits until somebody sees these namespaces and no others.
func (p people) sees(who, cookie, want string) {
	p.t.Helper()
	ringfencetest.Eventually(p.t, who+" to see "+want, func() error {
		code, text, _ := p.ask("GET", "/namespaces", "", cookie)
		var out struct {
			Namespaces []struct{ Namespace, Role string }
		}
		if err := json.Unmarshal([]byte(text), &out); err != nil || code != http.StatusOK {
			return fmt.Errorf("%d %s", code, text)
		}
		got := ""
		for _, n := range out.Namespaces {
			got += " " + n.Namespace + "=" + n.Role
		}
		if strings.TrimSpace(got) != want {
			return fmt.Errorf("%s sees %s", who, got)
		}
		return nil
	})
}

// team is a Tenant of two groups named for it.
func team(name string, environments ...v1alpha1.Environment) *v1alpha1.Tenant {
	t := &v1alpha1.Tenant{Spec: v1alpha1.TenantSpec{Owner: name + "@bank.example", Environments: environments, Groups: v1alpha1.TenantGroups{Admin: name + "-admins", ReadOnly: name + "-readers"}}}
	t.Name = name
	return t
}

// TestAPI: people see the namespaces of their tenants as the cluster has them, a tenant that claims another's namespace does not have it, and a change of
// the Tenant or the Platform counts in sessions that are there.
func TestAPI(t *testing.T) {
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	provider := idptest.Start(t)
	cert, key, trusting := certificate(t)
	srv, _ := ringfencetest.Start(t, cluster.Config, server.Config{Evidence: filepath.Join(t.TempDir(), "evidence"),
		API: server.APIConfig{Listen: "127.0.0.1:0", Cert: cert, Key: key, ProviderCA: provider.CAFile}}, slog.LevelError)
	admin := ringfencetest.Client(t, cluster.Config)
	platform := &v1alpha1.Platform{Spec: v1alpha1.PlatformSpec{Profile: "mvp", Registries: []v1alpha1.Registry{"registry.bank.example"},
		Identity: v1alpha1.IdentityRules{Issuer: provider.URL, ClientID: idptest.ClientID}}}
	platform.Name = v1alpha1.PlatformName
	dev := v1alpha1.Environment{Name: "dev"}
	for _, o := range []client.Object{platform, team("payments", dev, v1alpha1.Environment{Name: "prod", Production: true}), team("cards", dev)} {
		ringfencetest.Eventually(t, o.GetName(), func() error { return client.IgnoreAlreadyExists(admin.Create(t.Context(), o)) })
	}
	p := people{t, trusting, "https://" + srv.APIAddress() + "/api/v1", provider}
	jane, rob, carl, ada := p.in("jane", "payments-admins"), p.in("rob", "payments-readers"), p.in("carl", "cards-admins"), p.in("ada", "audit")
	p.sees("jane", jane, "payments-dev=admin payments-prod=admin")
	p.sees("rob", rob, "payments-dev=readOnly payments-prod=readOnly")
	p.sees("carl", carl, "cards-dev=admin")
	p.sees("ada", ada, "")
	if code, text, _ := p.ask("GET", "/tenants/cards", "", jane); code != http.StatusNotFound || strings.Contains(text, "cards-") {
		t.Errorf("jane of cards: %d %s", code, text)
	}
	greedy := team("greedy", v1alpha1.Environment{Name: "dev", Namespace: "payments-dev"}, v1alpha1.Environment{Name: "own"})
	if err := admin.Create(t.Context(), greedy); err != nil {
		t.Fatal(err)
	}
	p.sees("mallory", p.in("mallory", "greedy-admins"), "greedy-own=admin")
	p.sees("jane", jane, "payments-dev=admin payments-prod=admin")

	change := func(o client.Object, patch string) {
		t.Helper()
		if err := admin.Patch(t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
	change(team("payments"), `{"spec":{"groups":{"admin":"payments-new"}}}`)
	p.sees("jane", jane, "")
	p.sees("rob", rob, "payments-dev=readOnly payments-prod=readOnly")
	change(platform, `{"spec":{"identity":{"auditors":["audit"]}}}`)
	p.sees("ada", ada, "cards-dev=auditor greedy-own=auditor payments-dev=auditor payments-prod=auditor")
}
