package identity

import (
	"encoding/json"
	"strings"
	"testing"
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
