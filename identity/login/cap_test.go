package login

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/cap/oidc"

	"ringfence.dev/ringfence/forward/wire"
	"ringfence.dev/ringfence/identity"
)

// chosen is a PKCE verifier that the test's provider expects.
type chosen string

func (c chosen) Verifier() string           { return string(c) }
func (chosen) Challenge() string            { return "" }
func (chosen) Method() oidc.ChallengeMethod { return oidc.S256 }
func (c chosen) Copy() oidc.CodeVerifier    { return c }

// TestStrangersProvider: a sign-in with a provider that others wrote, so that what two sides of ours agree on is not taken for the protocol.
func TestStrangersProvider(t *testing.T) {
	p := oidc.StartTestProvider(t)
	t.Cleanup(p.Stop)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte(p.CACert()), 0o600); err != nil {
		t.Fatal(err)
	}
	p.SetClientCreds("ringfence", "")
	p.SetExpectedAuthCode("a-code")
	p.SetCustomClaims(map[string]any{"groups": []string{"payments"}, "amr": []string{"mfa"}})
	p.SetPKCEVerifier(chosen("verifierverifier"))
	v, err := identity.New(t.Context(), identity.Config{Issuer: p.Addr(), ClientID: "ringfence", MFA: "mfa", TLS: wire.TLS{CAFile: ca}})
	if err != nil {
		t.Fatal(err)
	}
	c := New(Config{Verifier: v, Tell: t.Logf, Open: func(address string) error {
		at, err := url.Parse(address)
		if err != nil {
			return err
		}
		p.SetExpectedAuthNonce(at.Query().Get("nonce"))
		p.SetAllowedRedirectURIs([]string{at.Query().Get("redirect_uri")})
		go func() {
			if response, err := p.HTTPClient().Get(address); err == nil {
				response.Body.Close()
			}
		}()
		return nil
	}})
	c.random = func() string { return "verifier" }
	in, err := c.Browser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if in.Person.Subject != "alice@example.com" || len(in.Person.Groups) != 1 || !in.Person.MFA {
		t.Errorf("found %+v", in.Person)
	}
}
