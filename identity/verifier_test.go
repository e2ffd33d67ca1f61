package identity_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/forward/wire"
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/internal/idptest"
)

// clock is a clock that a test turns.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// set makes it that much ahead, turn more so.
func (c *clock) set(d time.Duration)  { c.ahead.Store(int64(d)) }
func (c *clock) turn(d time.Duration) { c.ahead.Add(int64(d)) }

func verifier(t *testing.T, p *idptest.Provider, change func(*identity.Config)) *identity.Verifier {
	t.Helper()
	cfg := identity.Config{Issuer: p.URL, ClientID: idptest.ClientID, UserPrefix: "oidc:", MFA: "mfa", TLS: wire.TLS{CAFile: p.CAFile}}
	if change != nil {
		change(&cfg)
	}
	v, err := identity.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVerify: a token that is right names the person whole.
func TestVerify(t *testing.T) {
	p := idptest.Start(t)
	v := verifier(t, p, func(c *identity.Config) { c.Directory = idptest.Directory })
	got, err := v.Verify(t.Context(), p.Token(map[string]any{"groups": []string{"payments", "audit", "audit"}, "amr": []string{"pwd", "mfa"}, "oid": idptest.Object, "tid": idptest.Directory}))
	if err != nil {
		t.Fatal(err)
	}
	if got.Issuer != p.URL || got.Subject != "anna" || got.Name != "oidc:anna" || got.Object != idptest.Object || got.Directory != idptest.Directory ||
		!slices.Equal(got.Groups, []string{"audit", "payments"}) || !got.MFA || got.Expires.Before(time.Now().Add(time.Minute)) || got.SignedIn.IsZero() {
		t.Errorf("found %+v", got)
	}
}

// TestRefused: each token is wrong in one thing, is refused, says so in words, and is not told on.
func TestRefused(t *testing.T) {
	p := idptest.Start(t)
	v := verifier(t, p, func(c *identity.Config) { c.Directory = idptest.Directory })
	now := time.Now()
	good := map[string]any{"tid": idptest.Directory}
	with := func(name string, value any) string {
		claims := map[string]any{"tid": idptest.Directory, name: value}
		return p.Token(claims)
	}
	key := p.Key()
	public, _ := json.Marshal(key.Public())
	shared := jose.JSONWebKey{Key: public, Algorithm: string(jose.HS256), KeyID: p.Key().KeyID}
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	body, _ := json.Marshal(p.Claims(good))
	none := head + "." + base64.RawURLEncoding.EncodeToString(body) + "."
	other := idptest.Start(t)
	stolen := other.Key()
	stolen.KeyID = p.Key().KeyID
	parts := strings.Split(p.Token(good), ".")
	for name, c := range map[string]struct{ token, says string }{
		"another audience":           {with("aud", "payroll"), "audience"},
		"another issuer":             {with("iss", "https://login.evil.example"), "provider"},
		"another directory":          {with("tid", idptest.Object), "directory"},
		"no directory":               {with("tid", nil), "directory"},
		"expired":                    {with("exp", now.Add(-10*time.Minute).Unix()), "sign in again"},
		"issued in ten minutes":      {with("iat", now.Add(10*time.Minute).Unix()), "clock"},
		"counts in ten minutes":      {with("nbf", now.Add(10*time.Minute).Unix()), "clock"},
		"without an end":             {with("exp", nil), "exp"},
		"end of another kind":        {with("exp", map[string]any{}), "refused"},
		"made for another client":    {with("azp", "payroll"), "payroll"},
		"no subject":                 {with("sub", nil), "sub"},
		"named like a system user":   {with("sub", "system:admin"), "system:"},
		"the same in another case":   {with("sub", "System:kube-scheduler"), "system:"},
		"group of the system":        {with("groups", []string{"a", "system:masters"}), "system:"},
		"groups as an object":        {with("groups", map[string]any{}), "groups"},
		"groups as numbers":          {with("groups", []any{"a", 7}), "entry 1"},
		"groups with nothing":        {with("groups", []any{nil}), "entry 0"},
		"group without a name":       {with("groups", []any{""}), "group"},
		"group that cannot be seen":  {with("groups", "a\u202eb"), "cannot be seen"},
		"subject is a list":          {with("sub", []string{"anna"}), "refused"},
		"too many groups":            {with("groups", slices.Repeat([]string{"g"}, 11_001)), "11001"},
		"algorithm none":             {none, "none"},
		"signed with the public key": {idptest.Sign(shared, p.Claims(good)), "HS256"},
		"signed by somebody else":    {idptest.Sign(stolen, p.Claims(good)), "signature"},
		"claims changed":             {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"boss"}`)) + "." + parts[2], "signature"},
		"no token":                   {"", "signed token"},
		"a sentence":                 {"give me access", "signed token"},
		"a megabyte and more":        {strings.Repeat("a", 1<<20+1), "longer"},
	} {
		t.Run(name, func(t *testing.T) {
			person, err := v.Verify(t.Context(), c.token)
			switch {
			case !errors.Is(err, identity.ErrRefused) || errors.Is(err, identity.ErrUndecided):
				t.Fatalf("%v, want ErrRefused", err)
			case !strings.Contains(err.Error(), c.says):
				t.Errorf("%q does not say %q", err, c.says)
			case len(err.Error()) > 600:
				t.Errorf("an error of %d bytes", len(err.Error()))
			case person.Subject != "" || person.Groups != nil:
				t.Errorf("a person beside the error: %+v", person)
			}
			for _, part := range strings.Split(c.token, ".") {
				if len(part) > 20 && strings.Contains(err.Error(), part) {
					t.Errorf("%q shows the token", err)
				}
			}
		})
	}
}

// TestUser: the claim that names the user, where it counts and where not.
func TestUser(t *testing.T) {
	p := idptest.Start(t)
	email := verifier(t, p, func(c *identity.Config) { c.UserClaim = "email" })
	claims := map[string]any{"email": "anna@bank.example", "email_verified": true}
	if got, err := email.Verify(t.Context(), p.Token(claims)); err != nil || got.Name != "oidc:anna@bank.example" {
		t.Errorf("%+v %v", got, err)
	}
	for _, verified := range []any{nil, false, "false", 1} {
		claims["email_verified"] = verified
		if _, err := email.Verify(t.Context(), p.Token(claims)); !errors.Is(err, identity.ErrRefused) {
			t.Errorf("email_verified %v: %v, want ErrRefused", verified, err)
		}
	}
	oid := verifier(t, p, func(c *identity.Config) { c.UserClaim = "oid" })
	if got, err := oid.Verify(t.Context(), p.Token(map[string]any{"oid": idptest.Object})); err != nil || got.Name != "oidc:"+idptest.Object || got.Object != idptest.Object {
		t.Errorf("%+v %v", got, err)
	}
	bare := verifier(t, p, func(c *identity.Config) { c.UserPrefix = "sys" })
	if _, err := bare.Verify(t.Context(), p.Token(map[string]any{"sub": "tem:admin"})); !errors.Is(err, identity.ErrRefused) {
		t.Errorf("prefix and name make system:admin: %v, want ErrRefused", err)
	}
	if _, err := identity.New(t.Context(), identity.Config{Issuer: p.URL, ClientID: "x", UserPrefix: "system:"}); err == nil {
		t.Error("a prefix system: was taken")
	}
	prefix := ""
	if c := identity.ConfigOf(v1alpha1.IdentityRules{UserPrefix: &prefix}); c.UserPrefix != "" {
		t.Errorf("prefix %q, want none", c.UserPrefix)
	}
	if c := identity.ConfigOf(v1alpha1.IdentityRules{}); c.UserPrefix != "oidc:" {
		t.Errorf("prefix %q, want the default", c.UserPrefix)
	}
}

// TestGroups: the forms in which providers send groups.
func TestGroups(t *testing.T) {
	p := idptest.Start(t)
	v := verifier(t, p, nil)
	many := make([]string, 5000)
	for i := range many {
		many[i] = fmt.Sprintf("%08d-0000-4000-8000-000000000000", i)
	}
	for name, c := range map[string]struct {
		claim any
		want  []string
	}{"none": {nil, nil}, "one string": {"payments, audit", []string{"payments, audit"}}, "a list": {[]string{"b", "a"}, []string{"a", "b"}}, "5,000": {many, many}, "an empty list": {[]string{}, nil}} {
		got, err := v.Verify(t.Context(), p.Token(map[string]any{"groups": c.claim}))
		if err != nil || !slices.Equal(got.Groups, c.want) {
			t.Errorf("%s: %d groups, %v", name, len(got.Groups), err)
		}
	}
	roles := verifier(t, p, func(c *identity.Config) { c.GroupsClaim = "roles" })
	got, err := roles.Verify(t.Context(), p.Token(map[string]any{"roles": []string{"Approver"}, "groups": []string{"x"}, "hasgroups": true}))
	if err != nil || !slices.Equal(got.Groups, []string{"Approver"}) {
		t.Errorf("app roles: %v %v", got.Groups, err)
	}
}

// TestMFA: what proves a second factor and what does not.
func TestMFA(t *testing.T) {
	p := idptest.Start(t)
	v := verifier(t, p, func(c *identity.Config) { c.MFA = "c1" })
	for _, c := range []struct {
		claims map[string]any
		want   bool
	}{{map[string]any{"acr": "c1"}, true}, {map[string]any{"amr": []string{"pwd", "c1"}}, true}, {map[string]any{"acrs": []string{"c1"}}, true}, {map[string]any{"amr": "c1"}, true},
		{nil, false}, {map[string]any{"amr": []string{"pwd", "c11"}}, false}, {map[string]any{"amr": []any{"c1", 2}}, false}, {map[string]any{"acr": map[string]any{"c1": "c1"}}, false}} {
		if got, err := v.Verify(t.Context(), p.Token(c.claims)); err != nil || got.MFA != c.want {
			t.Errorf("%v: %v %v, want %v", c.claims, got.MFA, err, c.want)
		}
	}
	unset := verifier(t, p, func(c *identity.Config) { c.MFA = "" })
	if got, err := unset.Verify(t.Context(), p.Token(map[string]any{"acr": "", "amr": []string{""}})); err != nil || got.MFA {
		t.Errorf("no value is named: %v %v, want no second factor", got.MFA, err)
	}
}

// TestNonce: a token answers the sign-in that asked for it.
func TestNonce(t *testing.T) {
	p := idptest.Start(t)
	v := verifier(t, p, nil)
	token := p.Token(map[string]any{"nonce": "n-1"})
	if _, err := v.Answer(t.Context(), token, "n-1"); err != nil {
		t.Error(err)
	}
	if _, err := v.Answer(t.Context(), token, "n-2"); !errors.Is(err, identity.ErrRefused) {
		t.Errorf("%v, want ErrRefused", err)
	}
	if _, err := v.Answer(t.Context(), p.Token(nil), "n-1"); !errors.Is(err, identity.ErrRefused) {
		t.Errorf("no nonce: %v, want ErrRefused", err)
	}
}

// TestRotation: a new key is asked for once, a key that nobody has costs one question in a while, and what the provider withdrew counts no more.
func TestRotation(t *testing.T) {
	p := idptest.Start(t)
	c := &clock{}
	p.Set(func(s *idptest.Settings) { s.Now = c.now })
	v := verifier(t, p, func(cfg *identity.Config) { cfg.Now = c.now })
	old := p.Token(nil)
	if _, err := v.Verify(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	oldKey := p.Key()
	p.Rotate()
	if _, err := v.Verify(t.Context(), p.Token(nil)); !errors.Is(err, identity.ErrUndecided) { // asked just now
		t.Fatalf("%v, want ErrUndecided", err)
	}
	c.turn(6 * time.Second)
	if _, err := v.Verify(t.Context(), p.Token(nil)); err != nil {
		t.Fatalf("after the key was changed: %v", err)
	}
	asked := p.Asked("/keys")
	for range 50 {
		forged := oldKey
		forged.KeyID = "nobody's"
		if _, err := v.Verify(t.Context(), idptest.Sign(forged, p.Claims(nil))); !errors.Is(err, identity.ErrUndecided) {
			t.Fatalf("%v, want ErrUndecided: the provider was asked just now", err)
		}
		if _, err := v.Verify(t.Context(), p.Token(nil)); err != nil {
			t.Fatalf("beside forged tokens: %v", err)
		}
	}
	if more := p.Asked("/keys") - asked; more != 0 {
		t.Errorf("50 forged tokens made %d questions", more)
	}
	c.turn(6 * time.Second)
	if _, err := v.Verify(t.Context(), old); !errors.Is(err, identity.ErrRefused) {
		t.Errorf("signed with a key that was withdrawn: %v, want ErrRefused", err)
	}
}

// TestProviderDown: keys that are known count for a while; then nobody can say.
func TestProviderDown(t *testing.T) {
	p := idptest.Start(t)
	c := &clock{}
	p.Set(func(s *idptest.Settings) { s.Now = c.now })
	v := verifier(t, p, func(cfg *identity.Config) { cfg.Now = c.now })
	p.Set(func(s *idptest.Settings) {
		s.Before = func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return true
		}
	})
	c.set(50 * time.Minute)
	if _, err := v.Verify(t.Context(), p.Token(nil)); err != nil {
		t.Errorf("50 minutes after the keys were read: %v", err)
	}
	c.set(61 * time.Minute)
	if _, err := v.Verify(t.Context(), p.Token(nil)); !errors.Is(err, identity.ErrUndecided) || errors.Is(err, identity.ErrRefused) {
		t.Errorf("an hour after: %v, want ErrUndecided", err)
	}
	p.Set(func(s *idptest.Settings) { s.Before = nil })
	c.turn(6 * time.Second)
	if _, err := v.Verify(t.Context(), p.Token(nil)); err != nil {
		t.Errorf("once it answers: %v", err)
	}
}

// TestHostileProvider: whatever a provider does in place of an answer, nobody is let in and nobody waits for ever.
func TestHostileProvider(t *testing.T) {
	p := idptest.Start(t)
	token := p.Token(nil)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	elsewhere := idptest.Start(t)
	for name, before := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"slow": func(http.ResponseWriter, *http.Request) bool { <-release; return true },
		"never ends a body": func(w http.ResponseWriter, _ *http.Request) bool {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return true
				}
			}
		},
		"redirects": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusFound)
			return true
		},
		"says nonsense": func(w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, "<html>"); return true },
		"has no keys": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/keys" {
				fmt.Fprint(w, `{"keys":[]}`)
			}
			return r.URL.Path == "/keys"
		},
		"shows a shared key": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/keys" {
				fmt.Fprint(w, `{"keys":[{"kty":"oct","k":"c2hhcmVk","kid":"key-1","alg":"HS256"}]}`)
			}
			return r.URL.Path == "/keys"
		},
		"keys by plain HTTP": func(w http.ResponseWriter, r *http.Request) bool {
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"http://%s/keys"}`, p.URL, p.Host())
			return true
		},
		"hangs up": func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			p.Set(func(s *idptest.Settings) { s.Before = before })
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			v, err := identity.New(ctx, identity.Config{Issuer: p.URL, ClientID: idptest.ClientID, TLS: wire.TLS{CAFile: p.CAFile}})
			if err != nil {
				t.Fatalf("New: %v, want none: the provider may come back", err)
			}
			if _, err := v.Verify(ctx, token); !errors.Is(err, identity.ErrUndecided) || errors.Is(err, identity.ErrRefused) {
				t.Errorf("%v, want ErrUndecided", err)
			}
		})
	}
	if n := elsewhere.Asked("/.well-known/openid-configuration"); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

// TestClock: where this machine's clock is wrong, no token is judged, and the error says which way.
func TestClock(t *testing.T) {
	for ahead, says := range map[time.Duration]string{10 * time.Minute: "ahead", -10 * time.Minute: "behind"} {
		p := idptest.Start(t)
		c := &clock{}
		c.set(ahead)
		v := verifier(t, p, func(cfg *identity.Config) { cfg.Now = c.now })
		if _, err := v.Verify(t.Context(), p.Token(nil)); !errors.Is(err, identity.ErrUndecided) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "clock") {
			t.Errorf("%s: %v, want ErrUndecided about the clock", ahead, err)
		}
	}
	p := idptest.Start(t)
	v := verifier(t, p, nil)
	if _, err := v.Verify(t.Context(), p.Token(map[string]any{"iat": time.Now().Add(90 * time.Second).Unix()})); err != nil {
		t.Errorf("a minute and a half: %v, want none", err)
	}
}

// TestIssuer: settings that name another provider are found at once, and Entra ID's templates are filled in.
func TestIssuer(t *testing.T) {
	p := idptest.Start(t)
	p.Set(func(s *idptest.Settings) { s.Issuer = p.URL + "/" })
	cfg := identity.Config{Issuer: p.URL, ClientID: idptest.ClientID, TLS: wire.TLS{CAFile: p.CAFile}}
	if _, err := identity.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "slash") {
		t.Errorf("%v, want an error about the slash", err)
	}
	for _, bad := range []identity.Config{{}, {Issuer: "http://login.example", ClientID: "x"}, {Issuer: p.URL}, {Issuer: "https://login.example/{tenantid}/v2.0", ClientID: "x"}, {Issuer: "https://a:b@login.example", ClientID: "x"}} {
		if _, err := identity.New(t.Context(), bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	own := p.URL + "/" + idptest.Directory + "/v2.0"
	p.Set(func(s *idptest.Settings) {
		s.Before = func(w http.ResponseWriter, r *http.Request) bool {
			issuer := p.URL + "/{tenantid}/v2.0"
			if strings.HasPrefix(r.URL.Path, "/"+idptest.Directory) {
				issuer = own
			}
			if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
				fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"token_endpoint":%q}`, issuer, p.URL+"/keys", p.URL+"/token")
				return true
			}
			return false
		}
	})
	if _, err := identity.New(t.Context(), identity.Config{Issuer: p.URL + "/common/v2.0", ClientID: idptest.ClientID, TLS: wire.TLS{CAFile: p.CAFile}}); err == nil {
		t.Error("the issuer of every directory was taken without one")
	}
	for _, issuer := range []string{"/common/v2.0", "/{tenantid}/v2.0", "/" + idptest.Directory + "/v2.0"} {
		v := verifier(t, p, func(c *identity.Config) { c.Issuer, c.Directory = p.URL+issuer, idptest.Directory })
		if _, err := v.Verify(t.Context(), p.Token(map[string]any{"iss": own, "tid": idptest.Directory})); err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
		other := p.URL + "/" + idptest.Object + "/v2.0"
		if _, err := v.Verify(t.Context(), p.Token(map[string]any{"iss": other, "tid": idptest.Object})); !errors.Is(err, identity.ErrRefused) {
			t.Errorf("%s: another directory's token: %v, want ErrRefused", issuer, err)
		}
	}
}

// TestTokensAreNotShown: however they are printed.
func TestTokensAreNotShown(t *testing.T) {
	tokens := identity.Tokens{ID: "secret-id", Access: "secret-access", Refresh: "secret-refresh"}
	text, _ := json.Marshal(tokens)
	for _, shown := range []string{fmt.Sprint(tokens), fmt.Sprintf("%+v %#v %s %q", tokens, tokens, tokens, &tokens), string(text), tokens.LogValue().String()} {
		if strings.Contains(shown, "secret") {
			t.Errorf("%s", shown)
		}
	}
}
