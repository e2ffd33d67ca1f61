package identity_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/internal/idptest"
)

// many are ids of groups.
func many(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%08x-915a-4a64-b130-f4eb9e75525e", i))
	}
	return ids
}

// overage are the claims that Entra ID sends in place of groups; the address is of an API that is gone.
func overage(p *idptest.Provider) map[string]any {
	return map[string]any{"oid": idptest.Object, "tid": idptest.Directory, "_claim_names": map[string]any{"groups": "src1"},
		"_claim_sources": map[string]any{"src1": map[string]any{"endpoint": p.URL + "/graph.windows.net/" + idptest.Directory + "/users/" + idptest.Object + "/getMemberObjects"}}}
}

func graphVerifier(t *testing.T, p *idptest.Provider, c *clock) *identity.Verifier {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(idptest.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Set(func(s *idptest.Settings) { s.Now = c.now })
	return verifier(t, p, func(cfg *identity.Config) {
		cfg.Directory, cfg.Now, cfg.Graph = idptest.Directory, c.now, identity.Graph{Host: p.Host(), SecretFile: secret}
	})
}

const members = "/v1.0/users/" + idptest.Object + "/getMemberObjects"

// TestGraph: groups that a token could not hold come from Graph, are remembered for a while, and never from the address in the token.
func TestGraph(t *testing.T) {
	p, c := idptest.Start(t), &clock{}
	v := graphVerifier(t, p, c)
	p.Set(func(s *idptest.Settings) { s.Groups = many(5000) })
	for _, claims := range []map[string]any{overage(p), {"oid": idptest.Object, "tid": idptest.Directory, "hasgroups": true}, overage(p)} {
		got, err := v.Verify(t.Context(), p.Token(claims))
		if err != nil || !slices.Equal(got.Groups, many(5000)) {
			t.Fatalf("%d groups, %v", len(got.Groups), err)
		}
	}
	if n := p.Asked(members); n != 1 {
		t.Errorf("Graph was asked %d times, want once", n)
	}
	p.Set(func(s *idptest.Settings) { s.Groups = many(3) })
	c.set(identity.GroupsAge + time.Second)
	if got, err := v.Verify(t.Context(), p.Token(overage(p))); err != nil || len(got.Groups) != 3 {
		t.Errorf("after %s: %d groups, %v; want 3", identity.GroupsAge, len(got.Groups), err)
	}
	if p.Asked("/graph.windows.net/"+idptest.Directory+"/users/"+idptest.Object+"/getMemberObjects") != 0 {
		t.Error("the address in the token was asked")
	}
	if n := p.Asked("/token"); n != 1 {
		t.Errorf("%d tokens for Graph, want one", n)
	}
	person, whole, err := v.Account(t.Context(), p.Token(overage(p)), "")
	if err != nil || whole || person.Groups != nil {
		t.Errorf("Account: whole %v, %d groups, %v", whole, len(person.Groups), err)
	}
}

// TestGraphFails: whatever Graph does in place of an answer, the person is not one without groups.
func TestGraphFails(t *testing.T) {
	for name, before := range map[string]func(http.ResponseWriter){
		"down": func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) },
		"busy": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "60")
			idptest.GraphError(w, 429, "TooManyRequests")
		},
		"no consent":             func(w http.ResponseWriter) { idptest.GraphError(w, 403, "Authorization_RequestDenied") },
		"token not taken":        func(w http.ResponseWriter) { idptest.GraphError(w, 401, "InvalidAuthenticationToken") },
		"too many groups":        func(w http.ResponseWriter) { idptest.GraphError(w, 400, "Directory_ResultSizeLimitExceeded") },
		"a page of many":         func(w http.ResponseWriter) { fmt.Fprint(w, `{"value":[],"@odata.nextLink":"https://evil.example"}`) },
		"no list":                func(w http.ResponseWriter) { fmt.Fprint(w, `{}`) },
		"null":                   func(w http.ResponseWriter) { fmt.Fprint(w, `{"value":null}`) },
		"names of the system":    func(w http.ResponseWriter) { fmt.Fprint(w, `{"value":["system:masters"]}`) },
		"cut":                    func(w http.ResponseWriter) { fmt.Fprint(w, `{"value":["`+many(1)[0]) },
		"an address not Graph's": func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
	} {
		t.Run(name, func(t *testing.T) {
			p, c := idptest.Start(t), &clock{}
			v := graphVerifier(t, p, c)
			p.Set(func(s *idptest.Settings) {
				s.Before = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == members {
						before(w)
					}
					return r.URL.Path == members
				}
			})
			for range 2 {
				if got, err := v.Verify(t.Context(), p.Token(overage(p))); !errors.Is(err, identity.ErrUndecided) || errors.Is(err, identity.ErrRefused) || got.Subject != "" {
					t.Fatalf("%+v %v, want ErrUndecided and nobody", got, err)
				}
			}
			if n := p.Asked(members); name == "busy" && n != 1 {
				t.Errorf("asked %d times, want once: it wanted to be left alone", n)
			}
			p.Set(func(s *idptest.Settings) { s.Before, s.Groups = nil, many(1) })
			c.set(2 * time.Minute)
			if got, err := v.Verify(t.Context(), p.Token(overage(p))); err != nil || len(got.Groups) != 1 {
				t.Errorf("once it answers: %v %v", got.Groups, err)
			}
		})
	}
}

// TestGraphRefuses: a person whom the directory does not know is refused; without a secret nobody can say.
func TestGraphRefuses(t *testing.T) {
	p, c := idptest.Start(t), &clock{}
	v := graphVerifier(t, p, c)
	p.Set(func(s *idptest.Settings) {
		s.Before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == members {
				idptest.GraphError(w, 404, "Request_ResourceNotFound")
			}
			return r.URL.Path == members
		}
	})
	if _, err := v.Verify(t.Context(), p.Token(overage(p))); !errors.Is(err, identity.ErrRefused) {
		t.Errorf("%v, want ErrRefused", err)
	}
	claims := overage(p)
	claims["oid"] = "../me"
	if _, err := v.Verify(t.Context(), p.Token(claims)); !errors.Is(err, identity.ErrRefused) {
		t.Errorf("an oid that is a path: %v, want ErrRefused", err)
	}
	bare := verifier(t, p, func(cfg *identity.Config) { cfg.Now = c.now })
	if _, err := bare.Verify(t.Context(), p.Token(overage(p))); !errors.Is(err, identity.ErrUndecided) || !strings.Contains(err.Error(), "docs/signin.md") {
		t.Errorf("without a secret: %v, want ErrUndecided", err)
	}
}
