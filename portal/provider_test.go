package portal

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	captest "github.com/hashicorp/cap/oidc"

	"ringfence.dev/ringfence/identity"
)

// relying verifies ID tokens of a provider as go-oidc does.
type relying struct {
	verifier *oidc.IDTokenVerifier
}

func (r relying) Verify(ctx context.Context, raw string) (identity.Person, error) {
	token, err := r.verifier.Verify(ctx, raw)
	if err != nil {
		return identity.Person{}, err
	}
	var claims struct {
		Groups   []string
		AMR      []string
		AuthTime float64 `json:"auth_time"`
	}
	if err := token.Claims(&claims); err != nil {
		return identity.Person{}, err
	}
	return identity.Person{Issuer: token.Issuer, Subject: token.Subject, Name: "oidc:" + token.Subject, Groups: claims.Groups, MFA: strings.Contains(strings.Join(claims.AMR, " "), "mfa"),
		SignedIn: time.Unix(int64(claims.AuthTime), 0), Expires: token.Expiry}, nil
}

// idToken runs the code flow with PKCE at a provider and is the ID token that comes out.
func idToken(t *testing.T, p *captest.TestProvider) string {
	t.Helper()
	verifier, err := captest.NewCodeVerifier()
	if err != nil {
		t.Fatal(err)
	}
	p.SetPKCEVerifier(verifier)
	client := p.HTTPClient()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	ask := url.Values{"response_type": {"code"}, "scope": {"openid"}, "client_id": {"ringfence"}, "redirect_uri": {"https://example.com"}, "state": {"s"},
		"code_challenge": {verifier.Challenge()}, "code_challenge_method": {"S256"}}
	at, err := client.Get(p.Addr() + "/authorize?" + ask.Encode())
	if err != nil {
		t.Fatal(err)
	}
	at.Body.Close()
	back, err := url.Parse(at.Header.Get("Location"))
	if err != nil || back.Query().Get("code") == "" {
		t.Fatalf("%d, back to %q, %v", at.StatusCode, at.Header.Get("Location"), err)
	}
	got, err := client.PostForm(p.Addr()+"/token", url.Values{"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {"https://example.com"},
		"client_id": {"ringfence"}, "code_verifier": {verifier.Verifier()}})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	var out struct {
		IDToken string `json:"id_token"`
	}
	if err := json.NewDecoder(got.Body).Decode(&out); err != nil || out.IDToken == "" {
		t.Fatalf("%d, %v", got.StatusCode, err)
	}
	return out.IDToken
}

// TestProvider: with tokens of a real OpenID Connect provider: groups and a second factor arrive, and a token of another audience, issuer or time, one
// whose signature is gone and the access token are refused.
func TestProvider(t *testing.T) {
	p := captest.StartTestProvider(t)
	p.SetClientCreds("ringfence", "not-needed-with-pkce")
	p.SetExpectedAuthCode("code")
	p.SetExpectedExpiry(time.Hour)
	p.SetExpectedSubject("jane")
	p.SetCustomClaims(map[string]any{"groups": []string{"payments-admins"}, "amr": []string{"pwd", "mfa"}})
	ctx := oidc.ClientContext(t.Context(), p.HTTPClient())
	provider, err := oidc.NewProvider(ctx, p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	b := newBank(t)
	b.set(func() { b.now = time.Now() })
	b.cfg.Verifier = relying{provider.VerifierContext(ctx, &oidc.Config{ClientID: "ringfence", SupportedSigningAlgs: []string{oidc.ES256}})}
	b.start()
	good := idToken(t, p)
	s := b.in(good)
	if r := b.wants("jane", 200, "", "GET", "/api/v1/me", "", s...); !strings.Contains(r.body, `"mfa":true`) || !strings.Contains(r.body, "payments-dev") {
		t.Errorf("she is %s", r.body)
	}
	hostile := map[string]string{}
	parts := strings.Split(good, ".")
	hostile["no signature"] = parts[0] + "." + parts[1] + "."
	hostile["alg none"] = "eyJhbGciOiJub25lIn0." + parts[1] + "."
	hostile["other claims"] = parts[0] + "." + strings.Split(idTokenWith(t, p, map[string]any{"groups": []string{"audit"}}), ".")[1] + "." + parts[2]
	hostile["another audience"] = idTokenWith(t, p, map[string]any{"aud": []string{"payroll"}})
	hostile["another issuer"] = idTokenWith(t, p, map[string]any{"iss": "https://evil.example"})
	hostile["ended"] = idTokenWith(t, p, map[string]any{"exp": float64(time.Now().Add(-time.Hour).Unix())})
	hostile["of another provider"] = func() string {
		evil := captest.StartTestProvider(t)
		evil.SetClientCreds("ringfence", "x")
		evil.SetExpectedAuthCode("code")
		return idTokenWith(t, evil, map[string]any{"iss": p.Addr(), "groups": []string{"audit"}})
	}()
	for what, raw := range hostile {
		b.wants(what, 401, "token-refused", "POST", "/api/v1/sessions", fmt.Sprintf(`{"idToken":%q}`, raw))
	}
}

func idTokenWith(t *testing.T, p *captest.TestProvider, claims map[string]any) string {
	t.Helper()
	p.SetCustomClaims(claims)
	return idToken(t, p)
}
