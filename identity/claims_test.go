package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// FuzzDecode: whatever a provider signs, nothing of the system's comes out, and groups that could not be read are not none.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{}`, `{"sub":"anna","iat":1,"exp":2}`, `{"sub":"anna","iat":1e3,"exp":2,"groups":{}}`, `{"sub":"system:x","iat":1,"exp":2,"groups":["a",null]}`,
		`{"sub":"a","iat":1,"exp":1e308,"groups":"g","_claim_names":{"groups":"s"},"hasgroups":"true","amr":["mfa"],"acr":7,"acrs":"x"}`, `{"sub":"a","iat":1,"exp":2,"_claim_names":[],"email_verified":"true"}`} {
		f.Add([]byte(seed), "sub", "oidc:")
	}
	f.Fuzz(func(t *testing.T, payload []byte, claim, prefix string) {
		var raw rawClaims
		if json.Unmarshal(payload, &raw) != nil {
			return
		}
		c, err := decode(raw, &Config{UserClaim: claim, UserPrefix: prefix, GroupsClaim: "groups", MFA: "mfa"})
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		for _, name := range append([]string{c.Name}, c.Groups...) {
			if strings.HasPrefix(strings.ToLower(name), "system:") || name == "" {
				t.Errorf("%q came out", name)
			}
		}
		if text := strings.TrimSpace(string(raw["groups"])); len(c.Groups) == 0 && !c.overage && text != "" && text != "null" && strings.Trim(text, "[] \t\r\n") != "" {
			t.Errorf("groups %s are read as none", text)
		}
	})
}

// FuzzToken: whatever somebody sends who has no key of the provider's, he is nobody.
func FuzzToken(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	cfg := Config{Issuer: "https://login.example", ClientID: "ringfence", UserClaim: "sub", GroupsClaim: "groups", Now: func() time.Time { return now }}
	known := &knowledge{endpoints: Endpoints{Issuer: cfg.Issuer}, read: now, keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256"}}}
	v := &Verifier{cfg: cfg, provider: &provider{cfg: cfg, last: known, asked: now}}
	for _, seed := range []string{"", "..", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.e30.AAAA", "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsifQ.e30.AAAA", `{"payload":"e30","signatures":[{"protected":"eyJhbGciOiJFUzI1NiJ9","signature":"AA"}]}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := v.Verify(t.Context(), raw)
		if !errors.Is(err, ErrRefused) && !errors.Is(err, ErrUndecided) || p.Subject != "" || p.Groups != nil {
			t.Errorf("%+v %v", p, err)
		}
	})
}

// FuzzKeys: whatever a provider shows, only public keys come out.
func FuzzKeys(f *testing.F) {
	for _, seed := range []string{`{}`, `{"keys":[{"kty":"oct","k":"c2hhcmVk"}]}`, `{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}]}`,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := parseKeys(body)
		if err == nil && len(keys) == 0 {
			t.Error("no keys and no error")
		}
		for _, key := range keys {
			if !key.IsPublic() || !key.Valid() {
				t.Errorf("a key of kind %T", key.Key)
			}
		}
	})
}
