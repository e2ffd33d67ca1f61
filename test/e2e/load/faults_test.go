package load

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

const (
	// faultRate is how many requests a second are made while something is broken.
	faultRate = 40
	// underWay is how long a request may have been under way when something broke.
	underWay = 20 * time.Second
	// calm is how long a load goes on before something breaks, and after it is whole again.
	calm = time.Second
)

// outage is a time in which some refusals of what is right are to be expected.
type outage struct {
	words []string // of those refusals; "" is in all

	mu          sync.Mutex // guards what follows
	from, until time.Time
}

func (o *outage) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.from = time.Now()
}

func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.until = time.Now()
}

// forgive reports whether a request fell into the outage and was refused for it.
func (o *outage) forgive(_ request, begun time.Time, err error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.from.IsZero() || begun.Before(o.from.Add(-underWay)) || !o.until.IsZero() && begun.After(o.until) {
		return false
	}
	for _, words := range o.words {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return false
}

// underLoad makes requests until what it returns is called, which says what was wrong.
func underLoad(t *testing.T, c client.Client, during *outage) (l *tally, end func()) {
	t.Helper()
	l = &tally{forgive: during.forgive}
	stop := background(t, func(ctx context.Context) { l.run(ctx, c, faultRate, 0) })
	time.Sleep(calm)
	return l, func() {
		t.Helper()
		time.Sleep(calm)
		stop()
		l.check(t)
	}
}

// killed: Ringfence is killed under load and started again. While it is down native policies refuse what is wrong and the webhook's
// registration refuses everything it is asked about; once it says that it is ready nothing right is refused.
func killed(t *testing.T) {
	c := administrator(t)
	furnish(t, c)
	s := usual(t)
	p := start(t, s)
	inForce(t, c)
	ringfencetest.Eventually(t, "it to be ready", p.ready)

	down := &outage{words: []string{"failed calling webhook"}}
	l, end := underLoad(t, c, down)
	down.begin()
	p.kill()
	before := l.bad.Load()
	ringfencetest.Eventually(t, "refusals of what is right and of what is wrong", func() error {
		if l.forgiven.Load() < 5 || l.bad.Load() < before+5 {
			return fmt.Errorf("%d and %d", l.forgiven.Load(), l.bad.Load()-before)
		}
		return nil
	})
	p = start(t, s)
	ringfencetest.Eventually(t, "it to be ready again", p.ready)
	down.end()
	end()
	stored(t, p)
}

// expired: Ringfence shows a certificate that has expired. It says so, and the API server refuses what it would have asked;
// once the files are renewed nothing right is refused, without a restart.
func expired(t *testing.T) {
	c := administrator(t)
	furnish(t, c)
	s := usual(t)
	a := newAuthority(t)
	s.Webhook.Cert, s.Webhook.Key, s.Webhook.CA = a.path("tls.crt"), a.path("tls.key"), a.path("ca.crt")
	a.issue(t, time.Now().Add(time.Hour))
	p := start(t, s)
	inForce(t, c)
	ringfencetest.Eventually(t, "it to be ready", p.ready)

	ended := &outage{words: []string{"failed calling webhook"}}
	l, end := underLoad(t, c, ended)
	ended.begin()
	p.stop()
	a.issue(t, time.Now().Add(-time.Minute))
	p = start(t, s)
	ringfencetest.Eventually(t, "it to say that its certificate has expired", func() error {
		if err := p.ready(); err == nil || !strings.Contains(err.Error(), "the certificate has expired") {
			return fmt.Errorf("ready: %v", err)
		}
		return nil
	})
	ringfencetest.Eventually(t, "the API server to refuse for the certificate", func() error {
		if err := c.Create(t.Context(), pod(), client.DryRunAll); err == nil || !strings.Contains(err.Error(), "certificate has expired") {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	if at, err := p.metric("ringfence_admission_certificate_expires_seconds", ""); err != nil || at == 0 || at > float64(time.Now().Unix()) {
		t.Errorf("the metric that alerts says %v, %v; want a time that is past", at, err)
	}
	bad := l.bad.Load()
	ringfencetest.Eventually(t, "refusals of what is wrong", func() error {
		if l.bad.Load() < bad+5 {
			return fmt.Errorf("%d", l.bad.Load()-bad)
		}
		return nil
	})
	a.issue(t, time.Now().Add(time.Hour))
	ringfencetest.Eventually(t, "it to be ready again", p.ready)
	ended.end()
	end()
}

// serverKilled: the API server and its storage are killed under load and come back. Ringfence goes on by itself: it does not end,
// tells of no gap, for there was none, and hears again of what changes. From its first answer on the API server refuses what is wrong.
func serverKilled(t *testing.T) {
	c := administrator(t)
	furnish(t, c)
	p := start(t, usual(t))
	inForce(t, c)
	ringfencetest.Eventually(t, "it to be ready", p.ready)

	away := &outage{words: []string{""}} // no answer, or for some twenty seconds that it does not know the policies' parameters yet
	l, end := underLoad(t, c, away)
	away.begin()
	if err := cluster.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(calm)
	if err := cluster.Restart(); err != nil {
		t.Fatal(err)
	}
	good := l.good.Load()
	for _, r := range requests() {
		ringfencetest.Eventually(t, r.name, func() error { return r.judge(c.Create(t.Context(), r.object(), client.DryRunAll)) })
	}
	away.end()
	ringfencetest.Eventually(t, "answers again", func() error {
		if l.good.Load() < good+20 {
			return fmt.Errorf("%d", l.good.Load()-good)
		}
		return nil
	})
	if err := p.alive(); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "it to be ready", p.ready)
	var tenant v1alpha1.Tenant
	if err := c.Get(t.Context(), client.ObjectKey{Name: "payments"}, &tenant); err != nil {
		t.Fatal(err)
	}
	tenant.Spec.Environments = append(tenant.Spec.Environments, v1alpha1.Environment{Name: "after"})
	if err := c.Update(t.Context(), &tenant); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "it to hear of a change", func() error {
		return c.Get(t.Context(), client.ObjectKey{Namespace: "payments-after", Name: v1alpha1.GuardName}, &v1alpha1.Guard{})
	})
	end()
	stored(t, p)
}

// authority issues certificates of the webhook into files, as cert-manager does.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t.TempDir(), &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the bank"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}, key}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, "ca.crt", "CERTIFICATE", der)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(a.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue writes a certificate that is valid until then, and its key.
func (a *authority) issue(t *testing.T, until time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(until.UnixNano()), Subject: pkix.Name{CommonName: "ringfence"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, "tls.key", "PRIVATE KEY", private)
	a.write(t, "tls.crt", "CERTIFICATE", der)
}
