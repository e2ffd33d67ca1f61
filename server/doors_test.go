package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
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

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/ledger/witness"
	"ringfence.dev/ringfence/record"
)

const token = "0123456789-0123456789"

// authority is a CA and a certificate of it for this machine, in files.
type authority struct {
	ca, cert, key string
	pair          tls.Certificate
}

// makeAuthority makes both.
func makeAuthority(t *testing.T) authority {
	t.Helper()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a := authority{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem"), tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
	for path, block := range map[string]*pem.Block{a.cert: {Type: "CERTIFICATE", Bytes: der}, a.key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// client trusts the authority, and shows certificates.
func (a authority) client(t *testing.T, show ...tls.Certificate) *http.Client {
	t.Helper()
	roots, err := pool(a.ca)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: show}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// withDoors is a control plane with doors.
func withDoors(t *testing.T, a authority) *Server {
	t.Helper()
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("another-token-of-some-length\n"+token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Evidence: filepath.Join(t.TempDir(), "evidence"), Listen: "127.0.0.1:0", TLSCert: a.cert, TLSKey: a.key, AuditTokens: tokens, AuditClientCA: a.ca}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// deletion is a batch that tells of a deleted policy.
func deletion(id string) string {
	return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"auditID":"` + id + `","stage":"ResponseComplete","stageTimestamp":"2026-11-21T12:00:00Z","verb":"delete",
		"user":{"username":"mallory@bank.example"},"responseStatus":{"code":200},
		"objectRef":{"resource":"validatingadmissionpolicies","name":"ringfence-workloads-deny","apiGroup":"admissionregistration.k8s.io","apiVersion":"v1"}}]}`
}

// send posts a batch.
func send(t *testing.T, c *http.Client, url, body string, headers ...string) (code int, header http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, response.Header
}

// kept are the records of a kind in a ledger.
func kept(t *testing.T, s *Server, kind string) (out []record.Record) {
	t.Helper()
	for from := uint64(0); ; {
		entries, err := s.evidence.ledger.Read(t.Context(), from, 256)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return out
		}
		for _, e := range entries {
			r, err := e.Record()
			if err != nil {
				t.Fatal(err)
			}
			if r.Kind == kind && r.Producer != catalogueProducer {
				out = append(out, r)
			}
			from = e.Index + 1
		}
	}
}

// TestDoorsAuthenticate: who proves nothing is answered 401 and leaves nothing; a token, or a certificate, lets in.
func TestDoorsAuthenticate(t *testing.T) {
	a, stranger := makeAuthority(t), makeAuthority(t)
	s := withDoors(t, a)
	defer startEvidence(t, s)()
	base := "https://" + s.DoorsAddress() + "/audit/"
	plain := a.client(t)
	for name, test := range map[string]struct {
		client  *http.Client
		path    string
		headers []string
		code    int
	}{
		"nothing":              {plain, "webhook", nil, 401},
		"another token":        {plain, "webhook", []string{"Authorization", "Bearer " + token + "x"}, 401},
		"a part of it":         {plain, "webhook", []string{"Authorization", "Bearer " + token[:20]}, 401},
		"not as a bearer":      {plain, "webhook", []string{"Authorization", token}, 401},
		"no door, no token":    {plain, "nowhere", nil, 401},
		"no door":              {plain, "nowhere", []string{"Authorization", "Bearer " + token}, 404},
		"a token":              {plain, "webhook", []string{"Authorization", "Bearer " + token}, 200},
		"as a Firehose does":   {plain, "webhook", []string{"X-Amz-Firehose-Access-Key", token}, 200},
		"a certificate":        {a.client(t, a.pair), "webhook", nil, 200},
		"the form of another":  {plain, "aks", []string{"Authorization", "Bearer " + token}, 400},
		"a cloud without form": {plain, "gke", nil, 401},
	} {
		if code, _ := send(t, test.client, base+test.path, deletion("auth"), test.headers...); code != test.code {
			t.Errorf("%s: POST = %d, want %d", name, code, test.code)
		}
	}
	if changes := kept(t, s, "change.v1"); len(changes) != 1 || strings.Contains(string(changes[0].Body), "mallory") {
		t.Errorf("%d changes %v, want one, without a name", len(changes), changes)
	}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"webhook", strings.NewReader(deletion("x")))
	if response, err := a.client(t, stranger.pair).Do(r); err == nil {
		response.Body.Close()
		if response.StatusCode != 401 {
			t.Errorf("a certificate of a stranger = %d, want no connection, or 401", response.StatusCode)
		}
	}
}

// TestReadingDoors: metrics and the ledger are served to who shows a token for them, and to nobody else: a token of another door is none.
func TestReadingDoors(t *testing.T) {
	a := makeAuthority(t)
	tokens := map[string]string{}
	for _, name := range []string{"audit", "metrics", "ledger"} {
		tokens[name] = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(tokens[name], []byte(name+"-"+token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(Config{Listen: "127.0.0.1:0", TLSCert: a.cert, TLSKey: a.key, AuditTokens: tokens["audit"], MetricsTokens: tokens["metrics"],
		Evidence: filepath.Join(t.TempDir(), "evidence"), LedgerTokens: tokens["ledger"]}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer startEvidence(t, s)()
	eventually(t, "the first record", func() bool { return s.evidence.ledger.Size() > 0 })
	for path, holds := range map[string]string{"/metrics": "ringfence_policies_in_place", "/ledger/checkpoint": "ringfence.dev/ledger/"} {
		for shown, door := range map[string]string{"": "", "audit-" + token: "/audit/", "metrics-" + token: "/metrics", "ledger-" + token: "/ledger/checkpoint"} {
			want := 401
			if door == path {
				want = 200
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.DoorsAddress()+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+shown)
			response, err := a.client(t).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(response.Body)
			response.Body.Close()
			if response.StatusCode != want || (want == 200) != strings.Contains(string(text), holds) {
				t.Errorf("GET %s with %q = %d, want %d:\n%.200s", path, shown, response.StatusCode, want, text)
			}
		}
	}
}

// TestDiskGone: while the ledger cannot be written batches are answered 503 with Retry-After and losses are counted; when the
// disk is back what was sent again is kept once, and the loss is a record.
func TestDiskGone(t *testing.T) {
	a := makeAuthority(t)
	s := withDoors(t, a)
	defer startEvidence(t, s)()
	eventually(t, "the first record", func() bool { return s.evidence.ledger.Size() > 0 })
	dir := filepath.Join(s.cfg.Evidence, "ledger")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // so that nothing can be written in it, by root neither
		t.Fatal(err)
	}
	url := "https://" + s.DoorsAddress() + "/audit/webhook"
	full := 0
	for i := range record.DefaultQueue + 1000 {
		full += s.evidence.queue.Add(bundlesProducer, gap(fmt.Sprint("gap-", i)))
	}
	if full < 50 {
		t.Errorf("%d records found no room, want 50 or more", full)
	}
	code, header := send(t, a.client(t), url, deletion("lost"), "Authorization", "Bearer "+token)
	if code != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("POST while the disk is away = %d, Retry-After %q; want 503 and when to come again", code, header.Get("Retry-After"))
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the record of the loss", func() bool { return len(kept(t, s, "overflow.v1")) > 0 })
	for range 2 {
		if code, _ := send(t, a.client(t), url, deletion("lost"), "Authorization", "Bearer "+token); code != http.StatusOK {
			t.Errorf("POST when the disk is back = %d, want 200", code)
		}
	}
	if n := len(kept(t, s, "change.v1")); n != 1 {
		t.Errorf("%d changes, want the one that was sent three times", n)
	}
	lost := 0.0
	for _, r := range kept(t, s, "overflow.v1") {
		var body struct{ Lost float64 }
		if err := json.Unmarshal(r.Body, &body); err != nil {
			t.Fatal(err)
		}
		lost += body.Lost
	}
	if lost < 50 {
		t.Errorf("%v records are told to be lost, want 50 or more", lost)
	}
}

// TestWitnessed: another ledger's checkpoints are witnessed at the doors, and without a token.
func TestWitnessed(t *testing.T) {
	a := makeAuthority(t)
	dir := t.TempDir()
	other, err := New(Config{Evidence: filepath.Join(dir, "other")}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer startEvidence(t, other)()
	ring := filepath.Join(dir, "other", "ledger", "keyring")
	s, err := New(Config{Evidence: filepath.Join(dir, "evidence"), Listen: "127.0.0.1:0", TLSCert: a.cert, TLSKey: a.key, WitnessFor: []string{ring}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer startEvidence(t, s)()
	eventually(t, "the first record", func() bool { return other.evidence.ledger.Size() > 0 })
	place := witness.Peer(a.client(t), "https://"+s.DoorsAddress()+"/witness", other.evidence.ledger.Source())
	if err := place.Publish(t.Context(), other.evidence.ledger.Checkpoint()); err != nil {
		t.Fatal(err)
	}
	seen, _ := filepath.Glob(filepath.Join(dir, "evidence", "witnessed", "*.checkpoint"))
	if len(seen) != 1 {
		t.Fatalf("%d checkpoints were kept, want 1", len(seen))
	}
	if text, err := os.ReadFile(seen[0]); err != nil || !bytes.Contains(text, []byte(other.evidence.ledger.Keyring().Origin())) {
		t.Errorf("what was witnessed is %s, %v", text, err)
	}
	if _, err := ledger.OpenCheckpoint(other.evidence.ledger.Checkpoint(), other.evidence.ledger.Keyring()); err != nil {
		t.Error(err)
	}
}

// TestDoorsRefused: settings that would open a door to everybody, or none.
func TestDoorsRefused(t *testing.T) {
	a := makeAuthority(t)
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		cfg  Config
		want string
	}{
		"no TLS":        {Config{Listen: "127.0.0.1:0", AuditTokens: short}, "want a certificate"},
		"no token":      {Config{Listen: "127.0.0.1:0", TLSCert: a.cert, TLSKey: a.key}, "want a file of tokens or a CA"},
		"a short token": {Config{Listen: "127.0.0.1:0", TLSCert: a.cert, TLSKey: a.key, AuditTokens: short}, "token 1 has 7 characters"},
		"no address":    {Config{AuditTokens: short}, "address to listen on"},
		"a file alone":  {Config{AuditFile: "audit.log"}, "want a folder for evidence"},
		"no keyring":    {Config{Evidence: t.TempDir(), Listen: "127.0.0.1:0", TLSCert: a.cert, TLSKey: a.key, WitnessFor: []string{a.key}}, "keyring"},
	} {
		s, err := New(test.cfg, slog.New(slog.DiscardHandler))
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}
