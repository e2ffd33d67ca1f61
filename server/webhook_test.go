package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
)

// TestWebhookRefused: settings with which the API server would not find the door, or would not trust it.
func TestWebhookRefused(t *testing.T) {
	a := makeAuthority(t)
	for name, test := range map[string]struct {
		cfg  WebhookConfig
		want string
	}{
		"no address":         {WebhookConfig{Service: "a/b"}, "want that too"},
		"nowhere":            {WebhookConfig{Listen: "127.0.0.1:0"}, "want a Service or an address"},
		"in two places":      {WebhookConfig{Listen: "127.0.0.1:0", Service: "a/b", URL: "https://127.0.0.1:1"}, "one of them"},
		"without TLS":        {WebhookConfig{Listen: "127.0.0.1:0", URL: "http://127.0.0.1:1"}, "want https://"},
		"a key without a CA": {WebhookConfig{Listen: "127.0.0.1:0", Service: "a/b", Cert: a.cert, Key: a.key}, "all three"},
		"a CA that is a key": {WebhookConfig{Listen: "127.0.0.1:0", Service: "a/b", Cert: a.cert, Key: a.key, CA: a.key}, "holds no certificate"},
		"unknown mutations":  {WebhookConfig{Listen: "127.0.0.1:0", Service: "a/b", Mutations: "sometimes"}, `found "sometimes"; want auto, always or never`},
		"an unknown control": {WebhookConfig{Listen: "127.0.0.1:0", Service: "a/b", Controls: "RF-XX-99"}, `found "RF-XX-99"`},
	} {
		s, err := New(Config{Webhook: test.cfg}, slog.New(slog.DiscardHandler))
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// TestExpiredCertificate: files of a certificate that has expired are read anew at once, not within a minute.
func TestExpiredCertificate(t *testing.T) {
	a, next := makeAuthority(t), makeAuthority(t)
	c, err := newCertificate(a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	before := c.have.Leaf
	for from, to := range map[string]string{next.cert: a.cert, next.key: a.key} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.read = time.Now().Add(-2 * expiredTime)
	if have, err := c.get(nil); err != nil || !have.Leaf.Equal(before) {
		t.Errorf("one that is valid is read anew after seconds, %v", err)
	}
	expired := *before
	expired.NotAfter = time.Now().Add(-time.Hour)
	c.have.Leaf = &expired
	if have, err := c.get(nil); err != nil || have.Leaf.Equal(before) || have.Leaf.Equal(&expired) {
		t.Errorf("one that has expired is still shown, %v", err)
	}
}

// TestWebhookFiles: a certificate of others is shown, and another one once its files are renewed, whose authority is trusted
// beside the old one; before it can decide the door says so and refuses.
func TestWebhookFiles(t *testing.T) {
	a, next := makeAuthority(t), makeAuthority(t)
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	w, err := openWebhook(WebhookConfig{Listen: "127.0.0.1:0", URL: "https://127.0.0.1:1", Cert: a.cert, Key: a.key, CA: a.ca, Drain: time.Millisecond}, RegistriesConfig{}, time.Now, cat, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	ask := func(trust authority, path string) (int, string) {
		t.Helper()
		c := trust.client(t)
		c.Transport.(*http.Transport).TLSClientConfig.MinVersion = tls.VersionTLS13
		got, err := c.Post("https://"+w.listener.Addr().String()+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			return 0, err.Error()
		}
		defer got.Body.Close()
		text, _ := io.ReadAll(got.Body)
		return got.StatusCode, string(text)
	}
	if code, text := ask(a, "/admit"); code != http.StatusServiceUnavailable || !strings.Contains(text, "cannot decide yet") {
		t.Errorf("before it can decide: %d %s", code, text)
	}
	if got, err := a.client(t).Get("https://" + w.listener.Addr().String() + "/readyz"); err != nil || got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz = %v, %v", got, err)
	}
	old, err := w.ca()
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{next.cert: a.cert, next.key: a.key} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	both, err := w.ca()
	if err != nil || !bytes.Contains(both, old) || len(both) <= len(old) {
		t.Errorf("the registration trusts %s, %v", both, err)
	}
	<-w.files.turn
	w.files.read = time.Now().Add(-2 * certTime)
	w.files.turn <- struct{}{}
	if code, text := ask(next, "/admit"); code != http.StatusServiceUnavailable {
		t.Errorf("after the files are renewed: %d %s", code, text)
	}
	if err := os.WriteFile(filepath.Clean(a.cert), []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	<-w.files.turn
	w.files.read = time.Now().Add(-2 * certTime)
	w.files.turn <- struct{}{}
	if code, text := ask(next, "/admit"); code != http.StatusServiceUnavailable {
		t.Errorf("while the files are written: %d %s", code, text)
	}
	if _, err := w.ca(); err == nil {
		t.Error("half a file is an authority")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
