package login

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringfence.dev/ringfence/forward/wire"
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/internal/idptest"
)

// signer is a client of a provider, its browser a test's.
func signer(t *testing.T, p *idptest.Provider, open func(string) error) (*Client, *strings.Builder) {
	t.Helper()
	v, err := identity.New(t.Context(), identity.Config{Issuer: p.URL, ClientID: idptest.ClientID, TLS: wire.TLS{CAFile: p.CAFile}})
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	return New(Config{Verifier: v, Open: open, Tell: func(format string, args ...any) { fmt.Fprintf(&told, format+"\n", args...) }}), &told
}

// browse is a browser that follows the provider's redirect.
func browse(p *idptest.Provider) func(string) error {
	return func(address string) error {
		go func() {
			if response, err := p.Client().Get(address); err == nil {
				response.Body.Close()
			}
		}()
		return nil
	}
}

// TestBrowser: a sign-in with code and PKCE, then renewed; the provider checks the verifier.
func TestBrowser(t *testing.T) {
	p := idptest.Start(t)
	c, told := signer(t, p, browse(p))
	in, err := c.Browser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if in.Person.Subject != "anna" || !in.Whole || in.Tokens.Refresh == "" {
		t.Errorf("found %+v", in.Person)
	}
	if strings.Contains(told.String(), in.Tokens.ID) || !strings.Contains(told.String(), "offline_access") || strings.Contains(told.String(), "email") {
		t.Errorf("told %q", told)
	}
	again, err := c.Renew(t.Context(), in.Tokens.Refresh, in.Person)
	if err != nil || again.Tokens.Refresh == in.Tokens.Refresh {
		t.Fatalf("renew: %v", err)
	}
	if _, err := c.Renew(t.Context(), in.Tokens.Refresh, in.Person); !errors.Is(err, ErrSignIn) {
		t.Errorf("renewed twice: %v, want ErrSignIn", err)
	}
	p.Set(func(s *idptest.Settings) { s.Claims = map[string]any{"sub": "bert"} })
	if _, err := c.Renew(t.Context(), again.Tokens.Refresh, in.Person); !errors.Is(err, ErrSignIn) {
		t.Errorf("somebody else's token: %v, want ErrSignIn", err)
	}
	if _, err := c.Renew(t.Context(), "", in.Person); !errors.Is(err, ErrSignIn) {
		t.Errorf("nothing to renew with: %v, want ErrSignIn", err)
	}
}

// TestLoopback: what answers another sign-in, comes from another host, or comes twice changes nothing.
func TestLoopback(t *testing.T) {
	p := idptest.Start(t)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	status := func(address, host string) int {
		r, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			t.Error(err)
			return 0
		}
		r.Host = host
		response, err := client.Do(r)
		if err != nil {
			return 0
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
		return response.StatusCode
	}
	var wg sync.WaitGroup
	c, _ := signer(t, p, func(address string) error {
		wg.Go(func() {
			at, _ := url.Parse(address)
			back, state := at.Query().Get("redirect_uri"), at.Query().Get("state")
			u, _ := url.Parse(back)
			ask := func(uri string, query url.Values) string { return uri + "?" + query.Encode() }
			stranger := url.Values{"code": {"stolen"}, "state": {"another"}}
			for what, got := range map[string][2]int{
				"another state": {status(ask(back, stranger), ""), 400},
				"no state":      {status(ask(back, url.Values{"code": {"stolen"}}), ""), 400},
				"two states":    {status(ask(back, url.Values{"code": {"stolen"}, "state": {state, state}}), ""), 400},
				"another host":  {status(ask(back, url.Values{"code": {"stolen"}, "state": {state}}), "evil.example:"+u.Port()), 400},
				"another path":  {status(strings.TrimSuffix(back, callback)+"/", ""), 404},
			} {
				if got[0] != got[1] {
					t.Errorf("%s: status %d, want %d", what, got[0], got[1])
				}
			}
			if response, err := p.Client().Get(address); err == nil { // the right one
				response.Body.Close()
			}
			if got := status(ask(back, url.Values{"code": {"later"}, "state": {state}}), ""); got != http.StatusGone && got != 0 {
				t.Errorf("a second answer: status %d, want 410 or nobody there", got)
			}
		})
		return nil
	})
	in, err := c.Browser(t.Context())
	wg.Wait()
	if err != nil || in.Person.Subject != "anna" {
		t.Errorf("%v, want a sign-in", err)
	}
}

// TestBrowserRefused: what the provider's answer can be beside a code.
func TestBrowserRefused(t *testing.T) {
	p := idptest.Start(t)
	answer := func(change func(url.Values)) func(string) error {
		return func(address string) error {
			at, _ := url.Parse(address)
			q := url.Values{"state": {at.Query().Get("state")}, "code": {"c"}}
			change(q)
			go func() {
				if response, err := http.Get(at.Query().Get("redirect_uri") + "?" + q.Encode()); err == nil {
					response.Body.Close()
				}
			}()
			return nil
		}
	}
	for name, c := range map[string]struct {
		change func(url.Values)
		says   string
	}{
		"no consent":       {func(q url.Values) { q.Set("error", "access_denied"); q.Del("code") }, "access_denied"},
		"another provider": {func(q url.Values) { q.Set("iss", "https://login.evil.example") }, "iss"},
		"no code":          {func(q url.Values) { q.Del("code") }, "no code"},
		"a code of none":   {func(url.Values) {}, "invalid_grant"},
	} {
		client, _ := signer(t, p, answer(c.change))
		if _, err := client.Browser(t.Context()); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.says)
		}
	}
	p.Set(func(s *idptest.Settings) { s.Claims = map[string]any{"aud": "payroll"} })
	client, _ := signer(t, p, browse(p))
	if _, err := client.Browser(t.Context()); !errors.Is(err, identity.ErrRefused) {
		t.Errorf("a token for another: %v, want ErrRefused", err)
	}
	p.Set(func(s *idptest.Settings) { s.Claims = nil })
	client, _ = signer(t, p, func(address string) error {
		at, _ := url.Parse(address)
		q := at.Query()
		q.Set("nonce", "another")
		at.RawQuery = q.Encode()
		return browse(p)(at.String())
	})
	if _, err := client.Browser(t.Context()); !errors.Is(err, identity.ErrRefused) || !strings.Contains(err.Error(), "nonce") {
		t.Errorf("another nonce: %v, want ErrRefused", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	client, _ = signer(t, p, func(string) error { return errors.New("there is no desktop") })
	if _, err := client.Browser(ctx); !errors.Is(err, ErrSignIn) {
		t.Errorf("nobody comes: %v, want ErrSignIn", err)
	}
}

// TestSecondFactor: one is asked for in the provider's form, and a token that proves none is refused.
func TestSecondFactor(t *testing.T) {
	p := idptest.Start(t)
	v, err := identity.New(t.Context(), identity.Config{Issuer: p.URL, ClientID: idptest.ClientID, MFA: "c1", TLS: wire.TLS{CAFile: p.CAFile}})
	if err != nil {
		t.Fatal(err)
	}
	for _, directory := range []bool{false, true} {
		var shown url.Values
		c := New(Config{Verifier: v, MFA: "c1", Directory: directory, Tell: func(string, ...any) {}, Open: func(address string) error {
			at, err := url.Parse(address)
			shown = at.Query()
			return errors.Join(err, browse(p)(address))
		}})
		p.Set(func(s *idptest.Settings) { s.Claims = map[string]any{"acrs": []string{"c1"}} })
		if in, err := c.Browser(t.Context()); err != nil || !in.Person.MFA {
			t.Errorf("directory %v: %v, want a second factor", directory, err)
		}
		if got := [2]string{shown.Get("acr_values"), shown.Get("claims")}; directory && got != [2]string{"", `{"id_token":{"acrs":{"essential":true,"value":"c1"}}}`} || !directory && got != [2]string{"c1", ""} {
			t.Errorf("directory %v: asked with %q", directory, got)
		}
		p.Set(func(s *idptest.Settings) { s.Claims = nil })
		if _, err := c.Browser(t.Context()); !errors.Is(err, identity.ErrRefused) {
			t.Errorf("directory %v: %v, want ErrRefused", directory, err)
		}
	}
}

// TestDevice: a code typed elsewhere, with every answer of RFC 8628.
func TestDevice(t *testing.T) {
	p := idptest.Start(t)
	c, told := signer(t, p, nil)
	var waits []time.Duration
	c.wait = func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }
	p.Set(func(s *idptest.Settings) {
		s.Pending = []string{"authorization_pending", "slow_down", "authorization_pending"}
	})
	in, err := c.Device(t.Context())
	if err != nil || in.Person.Subject != "anna" {
		t.Fatal(err)
	}
	if got := fmt.Sprint(waits); got != "[1s 1s 6s 6s]" {
		t.Errorf("waits %s, want five seconds more after slow_down", got)
	}
	if !strings.Contains(told.String(), "WDJB-MJHT") || strings.Contains(told.String(), "the-code-of-the-device") {
		t.Errorf("told %q, want the person's code and not the device's", told)
	}
	for code, want := range map[string]error{"expired_token": ErrSignIn, "access_denied": nil, "invalid_grant": nil} {
		p.Set(func(s *idptest.Settings) { s.Pending = []string{"authorization_pending", code} })
		_, err := c.Device(t.Context())
		no := (*identity.GrantError)(nil)
		if err == nil || want != nil && !errors.Is(err, want) || want == nil && (!errors.As(err, &no) || no.Code != code) {
			t.Errorf("%s: %v", code, err)
		}
		p.Set(func(s *idptest.Settings) { s.Pending = nil })
	}
	waits = nil
	var failed atomic.Int32
	p.Set(func(s *idptest.Settings) {
		s.Before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" && failed.Add(1) <= 2 {
				w.WriteHeader(http.StatusBadGateway)
				return true
			}
			return false
		}
	})
	if _, err := c.Device(t.Context()); err != nil || fmt.Sprint(waits) != "[1s 2s 4s]" {
		t.Errorf("a provider that fails twice: %v, waits %v", err, waits)
	}
	p.Set(func(s *idptest.Settings) {
		s.Before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/device" {
				fmt.Fprint(w, `{"device_code":"a","user_code":"b","verification_uri":"http://login.evil.example"}`)
			}
			return r.URL.Path == "/device"
		}
	})
	if _, err := c.Device(t.Context()); !errors.Is(err, identity.ErrUndecided) {
		t.Errorf("an address by plain HTTP: %v, want ErrUndecided", err)
	}
}

// TestKeep: what is kept comes back, is the user's alone, and is shown to nobody else.
func TestKeep(t *testing.T) {
	f := Folder(filepath.Join(t.TempDir(), "a", "b"))
	if k, err := f.Load("https://a.example", "x"); k != nil || err != nil {
		t.Fatalf("%v %v, want none", k, err)
	}
	k := &Kept{Settings: Settings{Issuer: "https://a.example", ClientID: "x"}, Issuer: "https://a.example", Subject: "anna", IDToken: "secret-id", RefreshToken: "secret-refresh", Expires: time.Now().UTC()}
	if err := f.Save(k); err != nil {
		t.Fatal(err)
	}
	if shown := fmt.Sprintf("%v %+v %s", k, k, k); strings.Contains(shown, "secret") {
		t.Errorf("%s", shown)
	}
	got, err := f.Load("https://a.example", "x")
	if err != nil || got.IDToken != k.IDToken || !got.Expires.Equal(k.Expires) {
		t.Fatalf("%v, want what was kept", err)
	}
	path := f.path("https://a.example", "x")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v, want mode 0600", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load("https://a.example", "x"); err == nil || !strings.Contains(err.Error(), "0600") {
		t.Errorf("%v, want an error: others may read it", err)
	}
	if err := os.WriteFile(filepath.Join(string(f), "torn.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if kept, err := f.List(); err == nil || len(kept) != 0 || strings.Contains(err.Error(), "secret") {
		t.Errorf("%d %v, want two faults", len(kept), err)
	}
	unlock, err := f.Lock("https://a.example", "x", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Lock("https://a.example", "x", 30*time.Millisecond); err == nil {
		t.Error("two have the lock")
	}
	unlock()
	if err := f.Clear(); err != nil {
		t.Fatal(err)
	}
	if kept, err := f.List(); err != nil || len(kept) != 0 {
		t.Errorf("%d %v, want none", len(kept), err)
	}
}
