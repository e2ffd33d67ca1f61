//go:build linux

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringfence.dev/ringfence/internal/idptest"
)

// desktop is standard error with a person who opens the address that it shows.
type desktop struct {
	mu     sync.Mutex // guards text
	text   bytes.Buffer
	client *http.Client
	wg     sync.WaitGroup
}

// shownToken is what a token looks like.
var shownToken = regexp.MustCompile(`eyJ[\w-]+\.eyJ`)

var shownAddress = regexp.MustCompile(`sign in at: (\S+)`)

func (d *desktop) Write(b []byte) (int, error) {
	if at := shownAddress.FindSubmatch(b); at != nil {
		address := string(at[1]) // b is used again
		d.wg.Go(func() {
			if response, err := d.client.Get(address); err == nil {
				response.Body.Close()
			}
		})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(b)
}

// seat is a user's machine.
type seat struct {
	t     *testing.T
	p     *idptest.Provider
	ahead atomic.Int64
	// watched says that there is a terminal.
	watched bool
}

func (s *seat) now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

// run runs a command and wants an exit code.
func (s *seat) run(code int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	var out bytes.Buffer
	d := &desktop{client: s.p.Client()}
	got := Main(s.t.Context(), args, Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: d, Now: s.now, Watched: s.watched})
	d.wg.Wait()
	if got != code {
		s.t.Fatalf("ringfence %s: exit %d, want %d\n%s", strings.Join(args, " "), got, code, d.text.String())
	}
	return out.String(), d.text.String()
}

func newSeat(t *testing.T) (*seat, string) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("KUBERNETES_EXEC_INFO", "")
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	s := &seat{t: t, p: idptest.Start(t)}
	s.p.Set(func(set *idptest.Settings) {
		set.Now = s.now
		set.Claims = map[string]any{"groups": []string{"payments-admins", "staff"}, "amr": []string{"pwd", "mfa"}}
	})
	platform := filepath.Join(t.TempDir(), "platform.yaml")
	text := fmt.Sprintf("apiVersion: ringfence.dev/v1alpha1\nkind: Platform\nmetadata: {name: platform}\nspec:\n  registries: [registry.bank.example]\n  identity: {issuer: %q, clientID: %s, mfa: mfa}\n", s.p.URL, idptest.ClientID)
	if err := os.WriteFile(platform, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, platform
}

// TestLogin: signing in, who that is, kubectl's credential, renewal without a person, and the end of it.
func TestLogin(t *testing.T) {
	s, platform := newSeat(t)
	if _, stderr := s.run(1, "login", "--exec-credential", "--issuer", s.p.URL, "--client-id", "ringfence"); !strings.Contains(stderr, "run: ringfence login --issuer "+s.p.URL) {
		t.Errorf("nobody is signed in: %s", stderr)
	}
	s.run(1, "access", "whoami")
	out, stderr := s.run(0, "login", "--platform", platform, "--ca", s.p.CAFile, "--no-browser")
	if out != "oidc:anna\n" || shownToken.MatchString(stderr) {
		t.Errorf("stdout %q, stderr %s", out, stderr)
	}
	out, _ = s.run(0, "access", "whoami")
	for _, want := range []string{"oidc:anna", "payments-admins, staff", "second factor: shown", "until:"} {
		if !strings.Contains(out, want) {
			t.Errorf("whoami lacks %q:\n%s", want, out)
		}
	}
	first := s.credential()
	if again := s.credential(); again != first {
		t.Error("a token that still counts was renewed")
	}
	s.ahead.Store(int64(2 * time.Hour))
	second := s.credential()
	if second == first {
		t.Error("a token that has ended was handed out")
	}
	s.p.Set(func(set *idptest.Settings) {
		set.Before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	})
	if third := s.credential(); third != second {
		t.Error("the provider was asked while the token counts")
	}
	s.ahead.Store(int64(4 * time.Hour))
	s.run(3, "login", "--exec-credential")
	s.run(3, "access", "whoami")
	s.p.Set(func(set *idptest.Settings) { set.Before = nil })
	s.run(0, "access", "whoami", "-o", "json")
	_, stderr = s.run(0, "logout")
	if s.p.Asked("/revoke") != 1 || !strings.Contains(stderr, "forgotten: 1") {
		t.Errorf("revoked %d times: %s", s.p.Asked("/revoke"), stderr)
	}
	s.run(1, "access", "whoami")
	if kept, _ := filepath.Glob(filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "ringfence", "login", "*.json")); len(kept) != 0 {
		t.Errorf("kept %v", kept)
	}
}

// credential is the token that kubectl is given.
func (s *seat) credential() string {
	s.t.Helper()
	out, _ := s.run(0, "login", "--exec-credential")
	var c struct {
		APIVersion, Kind string
		Status           struct {
			Token               string
			ExpirationTimestamp time.Time
		}
	}
	if err := json.Unmarshal([]byte(out), &c); err != nil || c.APIVersion != "client.authentication.k8s.io/v1" || c.Kind != "ExecCredential" ||
		strings.Count(c.Status.Token, ".") != 2 || !c.Status.ExpirationTimestamp.After(s.now()) {
		s.t.Fatalf("%v in %s", err, out)
	}
	return c.Status.Token
}

// TestLoginWithoutRefresh: once the token has ended the person is needed; kubectl's terminal is used where there is one, and told what to run
// where there is none.
func TestLoginWithoutRefresh(t *testing.T) {
	s, platform := newSeat(t)
	s.p.Set(func(set *idptest.Settings) { set.NoRefresh = true })
	s.run(0, "login", "--platform", platform, "--ca", s.p.CAFile, "--device")
	s.ahead.Store(int64(2 * time.Hour))
	if _, stderr := s.run(1, "login", "--exec-credential"); !strings.Contains(stderr, "run: ringfence login") {
		t.Errorf("%s", stderr)
	}
	s.watched = true
	t.Setenv("KUBERNETES_EXEC_INFO", `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":false}}`)
	s.run(1, "login", "--exec-credential")
	t.Setenv("KUBERNETES_EXEC_INFO", `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":true}}`)
	s.credential()
	t.Setenv("KUBERNETES_EXEC_INFO", `{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential"}`)
	s.run(2, "login", "--exec-credential")
}

// TestLoginOverage: a token that could not hold the groups is not one of a person without groups.
func TestLoginOverage(t *testing.T) {
	s, platform := newSeat(t)
	s.p.Set(func(set *idptest.Settings) { set.Claims = map[string]any{"hasgroups": true} })
	s.run(0, "login", "--platform", platform, "--ca", s.p.CAFile, "--no-browser")
	if out, _ := s.run(0, "access", "whoami"); !strings.Contains(out, "more than the token can hold") || !strings.Contains(out, "not shown") {
		t.Errorf("%s", out)
	}
	if out, _ := s.run(0, "access", "whoami", "-o", "json"); !strings.Contains(out, `"groups":null`) {
		t.Errorf("%s", out)
	}
}

// TestLoginUsage: what cannot be meant is said before anybody is asked.
func TestLoginUsage(t *testing.T) {
	s, platform := newSeat(t)
	for _, args := range [][]string{{"--platform", platform, "--issuer", "https://a.example"}, {"--issuer", "https://a.example"}, {"--client-id", "x"}, {"--issuer", "http://a.example", "--client-id", "x"},
		{"--platform", "/nowhere.yaml"}, {"--port", "70000"}, {"--mfa", "--issuer", "https://a.example", "--client-id", "x"}, {"--mfa", "--device", "--platform", platform}, {"--issuer", s.p.URL + "/other", "--client-id", "x", "--ca", "/nowhere.pem"}} {
		s.run(2, append([]string{"login"}, args...)...)
	}
	s.p.Set(func(set *idptest.Settings) { set.Claims = map[string]any{"aud": "payroll"} })
	s.run(1, "login", "--platform", platform, "--ca", s.p.CAFile, "--no-browser")
	s.run(3, "login", "--issuer", "https://127.0.0.1:1", "--client-id", "x")
}
