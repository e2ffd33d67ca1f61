package portal

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/forward/wire"
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/internal/idptest"
)

// browser is a person's, with its own cookies, that trusts the portal and the provider.
func browser(t *testing.T, certificates ...*x509.Certificate) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for _, c := range certificates {
		pool.AddCert(c)
	}
	return &http.Client{Jar: jar, Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
}

// open opens an address, and says how it ended.
func open(t *testing.T, c *http.Client, method, address string, headers ...string) (code int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// TestBrowser: a person signs in with a browser at a real provider, looks, and signs out; and a browser that did not begin a sign-in, an
// answer that comes again or late, of another provider or with another's code, signs nobody in.
func TestBrowser(t *testing.T) {
	p := idptest.Start(t)
	p.Set(func(s *idptest.Settings) {
		s.Claims = map[string]any{"groups": []string{"payments-admins"}, "amr": []string{"pwd", "mfa"}}
	})
	v, err := identity.New(t.Context(), identity.Config{Issuer: p.URL, ClientID: idptest.ClientID, MFA: "mfa", TLS: wire.TLS{CAFile: p.CAFile}})
	if err != nil {
		t.Fatal(err)
	}
	b := newBank(t)
	b.set(func() { b.now = time.Now() })
	b.cfg.Verifier, b.cfg.Redirects, b.cfg.Undecided = v, v, identity.ErrUndecided
	b.start()
	authority := certificate(t, p.CAFile)
	jane := browser(t, b.certificate, authority)
	if code, _ := open(t, jane, "GET", b.url+"/api/v1/me"); code != http.StatusUnauthorized {
		t.Fatalf("before: %d", code)
	}
	if code, body := open(t, jane, "GET", b.url+signInPath); code != http.StatusOK || !strings.Contains(body, "You are signed in") {
		t.Fatalf("sign-in: %d %s", code, body)
	}
	if code, body := open(t, jane, "GET", b.url+"/api/v1/me"); code != http.StatusOK || !strings.Contains(body, `"mfa":true`) || !strings.Contains(body, "payments-dev") {
		t.Errorf("she is: %d %s", code, body)
	}
	if code, _ := open(t, jane, "POST", b.url+signOutPath, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); code != http.StatusForbidden {
		t.Errorf("another site signs her out: %d", code)
	}
	if code, _ := open(t, jane, "POST", b.url+signOutPath, "Sec-Fetch-Site", "same-origin", "Origin", b.url); code != http.StatusOK {
		t.Errorf("sign-out: %d", code)
	}
	if code, _ := open(t, jane, "GET", b.url+"/api/v1/me"); code != http.StatusUnauthorized {
		t.Errorf("after: %d", code)
	}

	answered := func(c *http.Client) string { // an answer of the provider that the browser has not brought yet
		t.Helper()
		c.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			if r.URL.Path == returnPath {
				return http.ErrUseLastResponse
			}
			return nil
		}
		defer func() { c.CheckRedirect = nil }()
		answer, err := c.Get(b.url + signInPath)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.Header.Get("Location")
	}
	with := func(address, key, value string) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set(key, value)
		u.RawQuery = q.Encode()
		return u.String()
	}
	mallory := browser(t, b.certificate, authority)
	theirs := answered(mallory)
	for what, address := range map[string]string{"somebody else's answer": theirs, "no state": b.url + returnPath + "?code=x", "nothing": b.url + returnPath} {
		if code, _ := open(t, jane, "GET", address); code != http.StatusBadRequest {
			t.Errorf("%s: %d, want 400", what, code)
		}
	}
	for what, change := range map[string]func(string) string{
		"another provider's": func(a string) string { return with(a, "iss", "https://login.evil.example") },
		"a code of another":  func(a string) string { u, _ := url.Parse(theirs); return with(a, "code", u.Query().Get("code")) },
		"a code of nobody":   func(a string) string { return with(a, "code", "x") },
		"an error":           func(a string) string { return with(a, "error", "access_denied") },
		"late":               func(a string) string { b.after(awayFor + time.Second); return a },
	} {
		address := change(answered(jane))
		if code, _ := open(t, jane, "GET", address); code != http.StatusBadRequest && code != http.StatusUnauthorized {
			t.Errorf("%s: %d, want refused", what, code)
		}
		if code, _ := open(t, jane, "GET", address); code != http.StatusBadRequest {
			t.Errorf("%s, again: %d, want 400", what, code)
		}
		b.set(func() { b.now = time.Now() })
	}
	if code, _ := open(t, jane, "GET", b.url+"/api/v1/me"); code != http.StatusUnauthorized {
		t.Errorf("one of these signed her in: %d", code)
	}
	p.Set(func(s *idptest.Settings) {
		s.Before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	})
	address := b.url + signInPath
	v2, err := identity.New(t.Context(), identity.Config{Issuer: p.URL, ClientID: idptest.ClientID, TLS: wire.TLS{CAFile: p.CAFile}})
	if err != nil {
		t.Fatal(err)
	}
	b.Portal.cfg.Redirects = v2 // which has not heard of the provider yet
	if code, _ := open(t, jane, "GET", address); code != http.StatusServiceUnavailable {
		t.Errorf("while the provider is down: %d, want 503", code)
	}
}

func certificate(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
