//go:build unix

package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/server"
)

// pushToken is what the pipeline of the scripts shows.
const pushToken = "a-token-of-the-payments-pipeline"

// TestDoors plays the scripts of testdata/doors against a control plane whose cluster does not answer, and that was told of a dry run
// of long ago.
func TestDoors(t *testing.T) {
	dir, err := os.MkdirTemp("", "rf") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "doors"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	cert, err1 := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	private, err2 := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	reports := filepath.Join(dir, "reports")
	if err := os.Mkdir(reports, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Config{ImageReports: reports, Socket: local.SocketPath(dir), AuditAddress: "127.0.0.1:0", Evidence: filepath.Join(dir, "evidence"), Listen: "127.0.0.1:0", TLSCert: write("tls.pem", ca),
		TLSKey:     write("tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		PushTokens: write("tokens", []byte("payments-ci "+pushToken+"\n"))}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	cluster := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-gone // what asks which kinds there are has no context
		http.Error(w, "gone", http.StatusForbidden)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, &rest.Config{Host: cluster.URL}) }()
	t.Cleanup(func() {
		cancel()
		close(gone)
		if err := <-done; err != nil {
			t.Error(err)
		}
		cluster.Close()
	})
	events, err := os.Open("../detect/auditlog/testdata/events/dry-run.json")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	answer, err := http.Post(s.AuditURL(), "application/json", events)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("POST of audit events = %d, want 200", answer.StatusCode)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if told, err := record.Fetch(t.Context(), onSocket(local.SocketPath(dir)), "http://ringfence", record.Query{}); err == nil && len(told.Findings) > 0 && told.Behind == 0 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the findings are %+v, %v after 20 s", told, err)
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	t.Run("scripts", func(t *testing.T) { // they are parallel: the control plane ends after them
		testscript.Run(t, testscript.Params{Dir: "testdata/doors", UpdateScripts: *update, Setup: func(env *testscript.Env) error {
			env.Setenv("DOORS", "https://"+s.DoorsAddress())
			env.Setenv("NOBODY", "https://"+free.Addr().String())
			env.Setenv("UP", dir)
			env.Setenv("REPORTS", reports)
			env.Setenv("LEDGER", filepath.Join(dir, "evidence", "ledger"))
			return errors.Join(os.WriteFile(filepath.Join(env.WorkDir, "ca.pem"), ca, 0o600), os.WriteFile(filepath.Join(env.WorkDir, "token"), []byte(pushToken+"\n"), 0o600))
		}})
	})
}

// TestAddress: nothing that could be a secret is taken out of the address of a repository.
func TestAddress(t *testing.T) {
	for origin, want := range map[string]string{
		"https://oauth2:glpat-hunter2@git.bank.example/a/b.git?token=hunter2": "git.bank.example/a/b",
		"git@git.bank.example:a/b.git":                                        "git.bank.example/a/b",
		"ssh://git@git.bank.example:2222/a/b":                                 "git.bank.example:2222/a/b",
		"user:hunter2@git.bank.example:a":                                     "",
		"/srv/git/a":                                                          "",
		"../a:b":                                                              "",
		`C:\a`:                                                                "",
		"":                                                                    "",
	} {
		if got := address(origin); got != want {
			t.Errorf("address(%q) = %q, want %q", origin, got, want)
		}
	}
}

// TestPushRetries: what may pass is tried again, with the same bytes; what will not is not; no other host is led to.
func TestPushRetries(t *testing.T) {
	for name, test := range map[string]struct {
		answers []int
		posts   int
		id      string
	}{
		"busy, then down, then taken": {[]int{429, 503, 200}, 3, "check-run:1"},
		"refused":                     {[]int{400, 200}, 1, ""},
		"led elsewhere":               {[]int{307, 200}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var bodies []string
			door := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				bodies = append(bodies, r.URL.Path+" "+r.Header.Get("Authorization")+" "+string(text))
				w.Header().Set("Location", "https://elsewhere.bank.example/")
				w.WriteHeader(test.answers[len(bodies)-1])
				_, _ = io.WriteString(w, `{"id":"check-run:1","error":"because\u001b[31m"}`)
			}))
			defer door.Close()
			dir := t.TempDir()
			o := pushOptions{url: door.URL + "/base/", ca: filepath.Join(dir, "ca.pem"), tokenFile: filepath.Join(dir, "token")}
			if err := errors.Join(os.WriteFile(o.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: door.Certificate().Raw}), 0o600),
				os.WriteFile(o.tokenFile, []byte(pushToken), 0o600)); err != nil {
				t.Fatal(err)
			}
			p, err := o.open()
			if err != nil {
				t.Fatal(err)
			}
			defer p.client.Close()
			id, err := p.send(t.Context(), record.Pushed{Kind: record.CheckRunKind})
			if id != test.id || (err == nil) != (test.id != "") || len(bodies) != test.posts || err != nil && strings.ContainsAny(err.Error(), "\x1b") {
				t.Errorf("send = %q, %v after %d posts; want %q after %d", id, err, len(bodies), test.id, test.posts)
			}
			for _, b := range bodies {
				if b != bodies[0] || !strings.HasPrefix(b, "/base/records/check-run Bearer "+pushToken+" {") {
					t.Errorf("posted %s", b)
				}
			}
		})
	}
}
