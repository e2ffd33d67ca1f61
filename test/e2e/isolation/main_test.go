// Package isolation shows on a real API server that nobody reaches another tenant: it asks of every person whether they may do
// every verb on every resource everywhere, and then tries what those who may do something could make of it.
//
// What is expected is data: testdata/expected.tsv is who may do what, and each file of testdata/attempts is one way to reach out and
// the answer it must get. docs/isolation.md says how to read both. Nothing enforces networks here and no node runs anything: what
// they let through is shown nowhere here.
package isolation

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/attempt"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
)

// atOnce is how many requests are on their way at a time.
const atOnce = 16

// person is whose rights are asked for, and who sends attempts.
type person struct {
	name   string // in the files of testdata
	user   string
	groups []string // beside system:authenticated
	// tenant is whose person it is, "" for nobody's. twin is the same person of the other tenant.
	tenant, twin string
}

const accounts = "system:serviceaccounts"

// people are those of the matrix. The accounts are alpha's: the default one, and one that alpha's admin made, who can give it nothing.
func people() []person {
	return []person{
		{name: "alpha-reader", user: "oidc:ann@bank.example", groups: []string{"oidc:alpha-readers"}, tenant: "alpha", twin: "beta-reader"},
		{name: "alpha-admin", user: "oidc:abe@bank.example", groups: []string{"oidc:alpha-admins"}, tenant: "alpha", twin: "beta-admin"},
		{name: "alpha-default", user: "system:serviceaccount:alpha-dev:default", groups: []string{accounts, accounts + ":alpha-dev"}, tenant: "alpha"},
		{name: "alpha-robot", user: "system:serviceaccount:alpha-dev:robot", groups: []string{accounts, accounts + ":alpha-dev"}, tenant: "alpha"},
		{name: "beta-reader", user: "oidc:bea@bank.example", groups: []string{"oidc:beta-readers"}, tenant: "beta"},
		{name: "beta-admin", user: "oidc:bob@bank.example", groups: []string{"oidc:beta-admins"}, tenant: "beta"},
		{name: "stranger", user: "oidc:eve@bank.example"},
		{name: "strange-account", user: "system:serviceaccount:default:default", groups: []string{accounts, accounts + ":default"}},
		{name: "anonymous", user: "system:anonymous"},
	}
}

// platform is the bank's own engineer: an administrator of the cluster who is not of system:masters. Only attempts are made as her.
func platform() person {
	return person{name: "platform", user: "oidc:pia@bank.example", groups: []string{"oidc:platform"}}
}

// everyGroup are all groups of a person.
func (p person) everyGroup() []string {
	if p.name == "anonymous" {
		return []string{"system:unauthenticated"}
	}
	return append([]string{"system:authenticated"}, p.groups...)
}

// namespaces are where rights are asked for.
func namespaces() []string {
	return []string{"alpha-dev", "alpha-prod", "beta-dev", "beta-prod", "kube-system", v1alpha1.SystemNamespace}
}

var cluster *clustertest.Cluster

func TestMain(m *testing.M) {
	os.Exit(clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c }))
}

// bed is a cluster with Ringfence, two tenants and what they have.
type bed struct {
	admin   client.Client
	senders map[string]attempt.Sender
}

// TestIsolation shares one cluster: what attempts change does not change who may do what, and the names that collide come last.
func TestIsolation(t *testing.T) {
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	began := time.Now()
	b := newBed(t)
	t.Logf("two tenants stand after %v", time.Since(began).Round(time.Millisecond))
	for _, part := range []struct {
		name string
		test func(*testing.T)
	}{{"matrix", b.matrix}, {"attempts", b.attempts}, {"names", b.names}} {
		began := time.Now()
		t.Run(part.name, part.test)
		t.Logf("%s took %v", part.name, time.Since(began).Round(time.Millisecond))
	}
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{admin: ringfencetest.Client(t, cluster.Config), senders: map[string]attempt.Sender{}}
	b.send(t, "anonymous", rest.AnonymousClientConfig(cluster.Config))
	for _, p := range append(people(), platform()) { // before Ringfence runs, which refuses to sign certificates for people
		if !strings.HasPrefix(p.user, "system:") {
			b.send(t, p.name, b.certified(t, p))
		}
	}
	b.install(t, "kinds") // likewise, so that its policies are written for them
	for _, kind := range []string{"gateways", "httproutes", "referencegrants"} {
		if err := cluster.AwaitCRD(t.Context(), kind+".gateway.networking.k8s.io"); err != nil {
			t.Fatal(err)
		}
	}
	ringfencetest.Start(t, cluster.Config, server.Config{}, slog.LevelError)
	b.install(t, "bank")
	ringfencetest.Eventually(t, "the rules to be in force", func() error { return ringfencetest.InForce(t.Context(), b.admin) })
	for _, name := range []string{"alpha", "beta"} {
		ringfencetest.Eventually(t, name+" to be ready", func() error { return b.tenant(t.Context(), name) })
	}
	b.guarded(t)
	b.install(t, "things")
	for _, p := range people() {
		if name, ok := strings.CutPrefix(p.user, "system:serviceaccount:alpha-dev:"); ok {
			b.send(t, p.name, b.token(t, name))
		}
	}
	return b
}

// install applies the objects of a file of testdata/setup as a member of system:masters, as often as it takes.
func (b *bed) install(t *testing.T, name string) {
	t.Helper()
	ringfencetest.Eventually(t, "install "+name, func() error {
		return cluster.Install(t.Context(), filepath.Join("testdata", "setup", name+".yaml"))
	})
}

// tenant is nil where a tenant is as it asks to be.
func (b *bed) tenant(ctx context.Context, name string) error {
	var o v1alpha1.Tenant
	if err := b.admin.Get(ctx, client.ObjectKey{Name: name}, &o); err != nil {
		return err
	}
	if !meta.IsStatusConditionTrue(o.Status.Conditions, "Ready") {
		return fmt.Errorf("conditions: %v", o.Status.Conditions)
	}
	return nil
}

// guarded waits until rights and rules are in force in each namespace of both tenants: the admin is let in, and refused by a rule.
func (b *bed) guarded(t *testing.T) {
	t.Helper()
	for _, p := range people() {
		if !strings.HasSuffix(p.name, "-admin") {
			continue
		}
		for _, env := range []string{"dev", "prod"} {
			service := func(kind corev1.ServiceType) error {
				return ringfencetest.As(t, cluster.Config, p.user, p.groups...).Create(t.Context(), &corev1.Service{
					ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: p.tenant + "-" + env},
					Spec:       corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Port: 443}}},
				}, client.DryRunAll)
			}
			ringfencetest.Eventually(t, p.name+" to have rights in "+env, func() error { return service(corev1.ServiceTypeClusterIP) })
			ringfencetest.Eventually(t, p.name+" to be refused in "+env, func() error {
				return ringfencetest.RefusedBy(service(corev1.ServiceTypeNodePort), "RF-NW-08")
			})
		}
	}
}

func (b *bed) send(t *testing.T, name string, config *rest.Config) {
	t.Helper()
	sender, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	sender.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	b.senders[name] = attempt.Sender{Host: config.Host, Client: sender}
}

// certified is a configuration with a certificate of that person, so that what they send passes through authentication too.
func (b *bed) certified(t *testing.T, p person) *rest.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: p.user, Organization: p.groups}}, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{GenerateName: "isolation-"}, Spec: certificatesv1.CertificateSigningRequestSpec{
		Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: asked}),
		SignerName: certificatesv1.KubeAPIServerClientSignerName,
		Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
	}}
	if err := b.admin.Create(t.Context(), csr); err != nil {
		t.Fatal(err)
	}
	csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test"}}
	if err := b.admin.SubResource("approval").Update(t.Context(), csr); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the certificate of "+p.name, func() error {
		if err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(csr), csr); err != nil || len(csr.Status.Certificate) > 0 {
			return err
		}
		return fmt.Errorf("it is not signed: %v", csr.Status.Conditions)
	})
	config := rest.AnonymousClientConfig(cluster.Config)
	config.CertData, config.KeyData = csr.Status.Certificate, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})
	return config
}

// token is a configuration with a token of one of alpha's accounts.
func (b *bed) token(t *testing.T, account string) *rest.Config {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	ringfencetest.Eventually(t, "a token of "+account, func() error {
		return b.admin.SubResource("token").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "alpha-dev", Name: account}}, request)
	})
	config := rest.AnonymousClientConfig(cluster.Config)
	config.BearerToken = request.Status.Token
	return config
}
