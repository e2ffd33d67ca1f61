package signin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

const oid = "11111111-2222-3333-4444-555555555555"

// alice is what the provider says of a person of the bank who showed one factor.
func alice() claims {
	now := time.Now()
	return claims{
		"iss": world.provider.url, "aud": client, "sub": "alice-sub", "preferred_username": "alice@bank.example",
		"tid": directory, "oid": oid, "groups": []string{"payments-admins", "all-staff"}, "amr": []string{"pwd"},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": "a1",
	}
}

// hostile is a token and what must become of it.
type hostile struct {
	name  string
	token string
	// user is who it is taken for; "" where it is refused.
	user   string
	groups []string // without system:authenticated; nil: not looked at
	mfa    bool
}

func (h hostile) judge(r reply) error {
	switch {
	case h.user == "" && r.code != http.StatusUnauthorized && r.code != http.StatusRequestHeaderFieldsTooLarge:
		return fmt.Errorf("answered %d for %q, want it refused", r.code, r.user.Username)
	case h.user == "":
		return nil
	case r.code != http.StatusCreated || r.user.Username != h.user:
		return fmt.Errorf("answered %d for %q, want user %q", r.code, r.user.Username, h.user)
	}
	groups := slices.DeleteFunc(slices.Clone(r.user.Groups), func(g string) bool { return g == "system:authenticated" })
	if h.groups != nil && !slices.Equal(groups, h.groups) {
		return fmt.Errorf("in groups %q, want %q", groups, h.groups)
	}
	if mark := slices.Equal(r.user.Extra[identity.ExtraMFA], []string{"true"}); mark != h.mfa || len(r.user.Extra[identity.ExtraMFA]) > 0 != h.mfa {
		return fmt.Errorf("second factor %v, want %v", r.user.Extra[identity.ExtraMFA], h.mfa)
	}
	if person := r.user.Extra[identity.ExtraObject]; !slices.Equal(person, []string{oid}) || r.user.UID != oid {
		return fmt.Errorf("person %v with uid %s, want %s for both", person, r.user.UID, oid)
	}
	return nil
}

// check asks for each token and prints how many went as expected.
func check(t *testing.T, what string, cases []hostile) {
	t.Helper()
	good := 0
	for _, c := range cases {
		if err := c.judge(whoami(t, c.token)); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		good++
	}
	world.good, world.all = world.good+good, world.all+len(cases)
	t.Logf("%s: %d of %d as expected", what, good, len(cases))
}

// await waits until a token is taken, and returns what was said of it.
func await(t *testing.T, what, token string) (r reply) {
	t.Helper()
	ringfencetest.Eventually(t, what, func() error {
		if r = whoami(t, token); r.code != http.StatusCreated {
			return fmt.Errorf("answered %d", r.code)
		}
		return nil
	})
	return r
}

// TestSignIn takes the tests in the one order that a cluster allows: the provider is down first, then there, then its keys
// change, then it is gone, and at last the configuration is another.
func TestSignIn(t *testing.T) {
	served(t)
	p := world.provider
	first := p.signer()
	check(t, "before the provider answers", []hostile{{name: "a good token", token: first.sign(alice())}})
	anonymous(t)
	p.start()
	r := await(t, "the provider to be found", first.sign(alice()))
	if err := (hostile{user: "alice@bank.example", groups: []string{"oidc:payments-admins", "oidc:all-staff"}}).judge(r); err != nil {
		t.Error(err)
	}
	t.Run("tokens", tokens)
	t.Run("groups", groups)
	t.Run("factors", factors)
	t.Run("rights", rights)
	if n := p.fetched.Load(); n != 0 {
		t.Errorf("the API server asked %d times at an address that a token names", n)
	}
	t.Run("rotation", rotation)
	t.Run("another configuration", reconfigured)
	t.Run("kubectl", kubectl)
	t.Logf("sign-in: %d of %d as expected", world.good, world.all)
}

// anonymous shows what answers without a token.
func anonymous(t *testing.T) {
	t.Helper()
	good, all := 0, 0
	for path, want := range map[string]int{
		"/livez": 200, "/readyz": 200, "/healthz": 200,
		"/api": 401, "/apis": 401, "/version": 401, "/openapi/v2": 401, "/openapi/v3": 401, "/metrics": 401, "/livez/ping": 401, "/livez/": 401,
		"/.well-known/openid-configuration": 401, "/api/v1/namespaces/default/secrets": 401, "/apis/ringfence.dev/v1alpha1": 401,
	} {
		all++
		if code, _ := ask(t, http.MethodGet, path, "", ""); code != want {
			t.Errorf("without a token GET %s = %d, want %d", path, code, want)
			continue
		}
		good++
	}
	if code, _ := ask(t, http.MethodPost, "/apis/authentication.k8s.io/v1/selfsubjectreviews", "{}", ""); code != http.StatusUnauthorized {
		t.Errorf("without a token a review = %d, want 401", code)
	}
	world.good, world.all = world.good+good, world.all+all
	t.Logf("without a token: %d of %d as expected", good, all)
}

// tokens are those that are not the provider's, not for this client, or not in time.
func tokens(t *testing.T) {
	k, now := world.provider.signer(), time.Now()
	stranger, err := newKey(k.id) // another's key under the provider's name for its own
	if err != nil {
		t.Fatal(err)
	}
	other := "https://login.evil.example/directory/v2.0"
	text, err := json.Marshal(alice())
	if err != nil {
		t.Fatal(err)
	}
	in := func(d time.Duration) int64 { return now.Add(d).Unix() }
	at := func(off, lives time.Duration, nbf any) claims {
		c := claims{"iat": in(off), "nbf": nbf, "exp": in(off + lives)}
		if nbf != nil {
			c["nbf"] = in(off)
		}
		return alice().with(c)
	}
	good := hostile{user: "alice@bank.example"}
	as := func(name, token string) hostile { h := good; h.name, h.token = name, token; return h }
	embedded := map[string]any{"alg": "RS256", "kid": "mine", "jwk": map[string]string{"kty": "RSA", "kid": "mine", "n": encode(stranger.secret.N.Bytes()), "e": "AQAB"}}
	check(t, "tokens", []hostile{
		as("a good one", k.sign(alice())),
		as("for two clients", k.sign(alice().with(claims{"aud": []string{"other", client}}))),
		{name: "another audience", token: k.sign(alice().with(claims{"aud": "other"}))},
		{name: "no audience", token: k.sign(alice().with(claims{"aud": nil}))},
		{name: "another issuer", token: k.sign(alice().with(claims{"iss": other}))},
		{name: "another issuer's key", token: stranger.sign(alice().with(claims{"iss": other}))},
		{name: "a stranger's key of the same name", token: stranger.sign(alice())},
		{name: "a key that the token brings along", token: stranger.signText(embedded, text)},
		{name: "the issuer with a slash", token: k.sign(alice().with(claims{"iss": world.provider.url + "/"}))},
		{name: "another directory", token: k.sign(alice().with(claims{"tid": "99999999-9c5b-4a44-8f3c-0d6b1c3a7e01"}))},
		{name: "no directory", token: k.sign(alice().with(claims{"tid": nil}))},
		{name: "a list of directories", token: k.sign(alice().with(claims{"tid": []string{directory}}))},
		{name: "algorithm none", token: unsigned(alice())},
		{name: "HS256 with the public key", token: k.sharedSecret(alice(), "pem")},
		{name: "HS256 with the public key's bytes", token: k.sharedSecret(alice(), "der")},
		{name: "no signature", token: k.sign(alice())[:strings.LastIndex(k.sign(alice()), ".")+1]},
		{name: "a changed payload", token: changed(k.sign(alice()))},
		{name: "expired", token: k.sign(at(-2*time.Hour, time.Hour, true))},
		{name: "no end", token: k.sign(alice().with(claims{"exp": nil}))},
		{name: "no beginning", token: k.sign(alice().with(claims{"iat": nil}))},
		{name: "lives a week", token: k.sign(at(0, 7*24*time.Hour, true))},
		as("lives a working day", k.sign(at(0, 12*time.Hour, true))),
		{name: "the provider's clock is 10 minutes ahead", token: k.sign(at(10*time.Minute, time.Hour, true))},
		as("it is, and the provider sets no nbf", k.sign(at(10*time.Minute, time.Hour, nil))),
		as("the provider's clock is 10 minutes behind", k.sign(at(-10*time.Minute, time.Hour, true))),
		{name: "it is, and the token lives 5 minutes", token: k.sign(at(-10*time.Minute, 5*time.Minute, true))},
		as("a second account of the same person", k.sign(alice().with(claims{"sub": "alice-two"}))),
		as("oid twice: the last counts", k.signText(map[string]any{"alg": "RS256", "kid": k.id}, append([]byte(`{"oid":"someone-else",`), text[1:]...))),
		{name: "a list of oids", token: k.sign(alice().with(claims{"oid": []string{oid, "22222222-2222-3333-4444-555555555555"}}))},
		{name: "no oid", token: k.sign(alice().with(claims{"oid": nil}))},
		{name: "no name", token: k.sign(alice().with(claims{"preferred_username": nil}))},
		{name: "an empty name", token: k.sign(alice().with(claims{"preferred_username": ""}))},
		{name: "a name of two lines", token: k.sign(alice().with(claims{"preferred_username": "alice\nsystem:admin"}))},
		{name: "a name that is a list", token: k.sign(alice().with(claims{"preferred_username": []string{"alice"}}))},
		{name: "user system:admin", token: k.sign(alice().with(claims{"preferred_username": "system:admin"}))},
		{name: "user of the scheduler", token: k.sign(alice().with(claims{"preferred_username": "system:kube-scheduler"}))},
		{name: "a service account", token: k.sign(alice().with(claims{"preferred_username": "system:serviceaccount:kube-system:default"}))},
		{name: "no token at all", token: "abc"},
		{name: "three dots", token: "..."},
	})
}

// changed is a token with one more letter in its claims.
func changed(token string) string {
	parts := bytes.Split([]byte(token), []byte("."))
	parts[1][10] ^= 1
	return string(bytes.Join(parts, []byte(".")))
}

// groups are all the forms in which providers have sent them.
func groups(t *testing.T) {
	k := world.provider.signer()
	send := func(name string, value any) hostile {
		return hostile{name: name, token: k.sign(alice().with(claims{"groups": value}))}
	}
	signsIn := func(h hostile, groups ...string) hostile {
		h.user, h.groups = "alice@bank.example", append([]string{}, groups...)
		return h
	}
	many := func(n int) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprintf("00000000-0000-0000-0000-%012d", i))
		}
		return names
	}
	elsewhere := claims{"groups": nil, "_claim_names": map[string]string{"groups": "src1"},
		"_claim_sources": map[string]any{"src1": map[string]string{"endpoint": "https://" + world.provider.address + "/groups"}}}
	all := many(2048)
	for i := range all {
		all[i] = "oidc:" + all[i]
	}
	check(t, "groups", []hostile{
		signsIn(send("none", []string{})),
		signsIn(send("one of Kubernetes' own names, below the prefix", []string{"system:masters"}), "oidc:system:masters"),
		signsIn(send("as many as may be", many(2048)), all...),
		send("no claim", nil),
		send("an object", map[string]any{}),
		send("an object with names", map[string]any{"system:masters": true, "payments-admins": 1}),
		send("a text", "payments-admins"),
		send("a text with commas", "payments-admins,all-staff"),
		send("a number", 7),
		send("lists in a list", []any{"a", []string{"b"}}),
		send("numbers in a list", []any{"a", 1}),
		send("null in a list", []any{"a", nil}),
		send("one too many", many(2049)),
		send("5,000", many(5000)),
		{name: "left out, with an address", token: k.sign(alice().with(elsewhere))},
		{name: "left out, with an address and some groups", token: k.sign(alice().with(elsewhere.with(claims{"groups": []string{"a"}})))},
		{name: "left out, as a mark", token: k.sign(alice().with(claims{"hasgroups": true, "groups": nil}))},
		{name: "left out, as a mark beside none", token: k.sign(alice().with(claims{"hasgroups": "true", "groups": []string{}}))},
		signsIn(hostile{name: "another claim left out", token: k.sign(alice().with(claims{"_claim_names": map[string]string{"photo": "src1"}, "_claim_sources": elsewhere["_claim_sources"]}))}, "oidc:payments-admins", "oidc:all-staff"),
	})
}

// factors are what providers write of second factors, and what looks like it.
func factors(t *testing.T) {
	k := world.provider.signer()
	token := func(c claims) string { return k.sign(alice().with(c)) }
	with := func(name string, mfa bool, c claims) hostile {
		return hostile{name: name, token: token(c), user: "alice@bank.example", mfa: mfa}
	}
	check(t, "second factors", []hostile{
		with("a list", true, claims{"amr": []string{"pwd", "mfa"}}),
		with("a class", true, claims{"amr": nil, "acr": "mfa"}),
		with("authentication contexts", true, claims{"acrs": []string{"p1", "mfa"}}),
		with("a text for a list", true, claims{"amr": "mfa"}),
		with("one factor", false, claims{"amr": []string{"pwd"}}),
		with("nothing said", false, claims{"amr": nil}),
		with("an object", false, claims{"amr": map[string]any{"mfa": true}}),
		with("the word in a longer one", false, claims{"amr": []string{"no-mfa"}, "acr": "mfa-not-shown"}),
		with("another case", false, claims{"amr": []string{"MFA"}}),
		with("truth", false, claims{"amr": true, "acr": true, "acrs": true}),
		with("null", false, claims{"amr": nil, "acr": []any{nil}, "acrs": []any{nil, 1}}),
		with("a list in a list", false, claims{"amr": []any{[]string{"mfa"}}}),
		with("a claim called as the mark", false, claims{identity.ExtraMFA: []string{"true"}, "extra": map[string]any{identity.ExtraMFA: "true"}}),
	})
}

// rights shows that a prefix keeps the provider's groups away from Kubernetes' own, and that nobody marks themselves.
func rights(t *testing.T) {
	k := world.provider.signer()
	master := k.sign(alice().with(claims{"groups": []string{"system:masters", "kubeadm:cluster-admins"}}))
	if code, _ := ask(t, http.MethodGet, "/api/v1/namespaces/kube-system/secrets", "", master); code != http.StatusForbidden {
		t.Errorf("secrets for oidc:system:masters: %d, want 403", code)
	}
	for _, header := range []string{"Impersonate-Extra-Ringfence.dev%2fMfa", "Impersonate-Extra-Ringfence.dev%2foid"} {
		if r := whoami(t, k.sign(alice()), "Impersonate-User", "alice@bank.example", header, "true"); r.code != http.StatusForbidden {
			t.Errorf("a person who says %s of themselves: %d, want 403", header, r.code)
		}
	}
	if r := whoami(t, k.sign(alice()), "X-Remote-User", "system:admin", "X-Remote-Group", "system:masters", "X-Remote-Extra-Ringfence.dev%2fMfa", "true"); r.user.Username != "alice@bank.example" || len(r.user.Extra[identity.ExtraMFA]) > 0 {
		t.Errorf("headers of a proxy that is none: %+v", r.user)
	}
}

// rotation changes the provider's keys while tokens live, and then takes the provider away.
func rotation(t *testing.T) {
	p := world.provider
	first := p.signer()
	second, err := newKey("second")
	if err != nil {
		t.Fatal(err)
	}
	third, err := newKey("third")
	if err != nil {
		t.Fatal(err)
	}
	fourth, err := newKey("fourth")
	if err != nil {
		t.Fatal(err)
	}
	good, n := hostile{user: "alice@bank.example"}, 0
	// The API server remembers for 10 s that it took a token; each of these is another.
	signed := func(k *key) string { n++; return k.sign(alice().with(claims{"jti": fmt.Sprint("r", n)})) }
	as := func(name, token string) hostile { h := good; h.name, h.token = name, token; return h }
	p.rotate("", second, first)
	check(t, "a key beside the old one", []hostile{
		as("the new key, at once", signed(second)), as("a token of the old key", signed(first)),
		{name: "a key that is not published", token: signed(third)},
	})
	p.rotate("", third)
	check(t, "a key withdrawn", []hostile{
		as("the newest key", signed(third)), // only now are the keys fetched anew
		{name: "a token of a withdrawn key", token: signed(first)},
		{name: "of the other", token: signed(second)},
	})
	p.rotate("", second, third)
	h, token, answered := p.slow(), signed(second), make(chan reply, 1)
	go func() { answered <- whoami(t, token) }()
	<-h.asked
	check(t, "the provider slow", []hostile{as("a token of a known key, meanwhile", signed(third))})
	close(h.release)
	if err := (hostile{user: "alice@bank.example"}).judge(<-answered); err != nil {
		t.Errorf("a token that waited for its key: %v", err)
	}
	p.rotate("", third)
	check(t, "the provider there again", []hostile{as("a known key", signed(third)), {name: "a key nobody published", token: signed(fourth)}})
	p.stop()
	check(t, "the provider down", []hostile{
		as("a token of a known key", signed(third)), {name: "of an unknown one", token: signed(second)},
	})
	p.rotate("", second)
	p.start()
	check(t, "the provider back", []hostile{as("a new key", signed(second))})
}

// reconfigured changes the file below the running API server: another prefix, and a second factor for everything.
func reconfigured(t *testing.T) {
	if err := configure("oidc:", "", "--require-mfa"); err != nil {
		t.Fatal(err)
	}
	k := world.provider.signer()
	both := alice().with(claims{"amr": []string{"pwd", "mfa"}})
	ringfencetest.Eventually(t, "the configuration to be taken up", func() error {
		return hostile{}.judge(whoami(t, k.sign(alice())))
	})
	good := hostile{user: "oidc:alice@bank.example", mfa: true}
	as := func(name string, c claims, groups ...string) hostile {
		h := good
		h.name, h.token, h.groups = name, k.sign(both.with(c)), groups
		return h
	}
	check(t, "another prefix, a second factor for everything", []hostile{
		as("two factors", nil, "payments-admins", "all-staff"),
		as("a class", claims{"amr": nil, "acr": "mfa"}, "payments-admins", "all-staff"),
		{name: "one factor", token: k.sign(alice())},
		{name: "nothing said", token: k.sign(alice().with(claims{"amr": nil}))},
		{name: "an object", token: k.sign(both.with(claims{"amr": map[string]any{"mfa": true}}))},
		{name: "group system:masters", token: k.sign(both.with(claims{"groups": []string{"a", "system:masters"}}))},
		{name: "group kubeadm:cluster-admins", token: k.sign(both.with(claims{"groups": []string{"kubeadm:cluster-admins"}}))},
		{name: "user system:admin, below the prefix", user: "oidc:system:admin", mfa: true, token: k.sign(both.with(claims{"preferred_username": "system:admin"}))},
	})
	said(t)
}

// said looks for the reasons of refusals where people find them: in the API server's log.
func said(t *testing.T) {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(filepath.Dir(world.cluster.Kubeconfig), "logs", "kube-apiserver.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{"this token is of another directory", "the provider left the groups out of this token", "sign in again and show one"} {
		if !bytes.Contains(log, []byte(words)) {
			t.Errorf("the API server's log does not say %q", words)
		}
	}
}
