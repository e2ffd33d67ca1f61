package portal

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/record"
)

// TestSignIn: who is not known now is undecided and never nobody; the cookie is one that no page and no other host can read; nothing is
// kept that opens anything.
func TestSignIn(t *testing.T) {
	b := newBank(t)
	b.wants("refused", 401, "token-refused", "POST", "/api/v1/sessions", `{"idToken":"of another audience"}`)
	b.wants("undecided", 503, "undecided", "POST", "/api/v1/sessions", `{"idToken":"undecided"}`)
	b.wants("no token", 422, "bad-request", "POST", "/api/v1/sessions", `{}`)
	b.wants("no JSON", 400, "bad-request", "POST", "/api/v1/sessions", `{`)
	if r := b.wants("a field too many", 422, "bad-request", "POST", "/api/v1/sessions", `{"idToken":"jane","groups":["audit-of-everything"]}`); strings.Contains(r.body, "audit-of-everything") {
		t.Errorf("what was sent comes back: %s", r.body)
	}
	if r := b.wants("a secret in the wrong place", 422, "bad-request", "POST", "/api/v1/sessions", `{"idToken":["hunter2"]}`); strings.Contains(r.body, "hunter2") {
		t.Errorf("a secret comes back: %s", r.body)
	}
	r := b.send("POST", "/api/v1/sessions", `{"idToken":"jane"}`)
	set := r.header.Get("Set-Cookie")
	for _, want := range []string{"__Host-ringfence=", "; Path=/;", "; HttpOnly", "; Secure", "; SameSite=Strict"} {
		if !strings.Contains(set, want) {
			t.Errorf("the cookie is %s; want %s", set, want)
		}
	}
	if len(r.cookie) != 43 || strings.Contains(r.body, r.cookie) || strings.Contains(set, "Domain") {
		t.Errorf("the cookie is %s, the body %s", set, r.body)
	}
	token, _ := b.made([]string{"Cookie", cookieName + "=" + r.cookie}, readFindings)
	files, err := os.ReadDir(b.cfg.Dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	info, err := files[0].Info()
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	text, err := os.ReadFile(filepath.Join(b.cfg.Dir, files[0].Name()))
	if err != nil || strings.Contains(string(text), r.cookie) || strings.Contains(string(text), strings.TrimPrefix(token[1], "Bearer ")) {
		t.Errorf("a credential is kept: %s, %v", text, err)
	}
	b.cfg.Verifier = nil
	b.start()
	b.wants("no provider", 503, "no-provider", "POST", "/api/v1/sessions", `{"idToken":"jane"}`)
}

// TestSessionEnds: a session ends unused, at all, and where its groups were verified too long ago; signing in again lengthens the last
// alone; a clock that goes back lengthens nothing.
func TestSessionEnds(t *testing.T) {
	b := newBank(t)
	use := func(s []string, code int, kind string) {
		t.Helper()
		b.wants("session", code, kind, "GET", "/api/v1/me", "", s...)
	}
	s := b.in("jane")
	b.after(29 * time.Minute)
	use(s, 200, "")
	b.after(29 * time.Minute)
	use(s, 200, "")
	b.after(3 * time.Minute)
	use(s, 401, "sign-in-again")
	b.joins("jane2", "jane", true, "payments-admins")
	next := b.send("POST", "/api/v1/sessions", `{"idToken":"jane2"}`, s...)
	s2 := []string{"Cookie", cookieName + "=" + next.cookie}
	use(s, 401, "sign-in")
	for range 14 { // to eight hours after the first sign-in, always used and verified anew
		use(s2, 200, "")
		b.after(29 * time.Minute)
		b.joins("again", "jane", true, "payments-admins")
		b.in("again")
	}
	use(s2, 200, "")
	b.after(20 * time.Minute)
	use(s2, 401, "sign-in")

	unused := b.in("rob")
	b.after(idle)
	use(unused, 401, "sign-in")

	for _, jump := range []time.Duration{-6 * time.Minute, -24 * time.Hour, 365 * 24 * time.Hour} {
		b.joins("carl", "carl", true, "cards-admins")
		s := b.in("carl")
		b.after(jump)
		if r := b.send("GET", "/api/v1/me", "", s...); r.code != 401 {
			t.Errorf("after a jump of the clock by %v: %d", jump, r.code)
		}
		b.after(-jump)
		use(s, 200, "") // it was right before, and is again
	}
}

// TestGroupsTaken: who is taken out of a group sees nothing more in any session and with any token once the provider says so anywhere, and an
// older ID token does not give it back.
func TestGroupsTaken(t *testing.T) {
	b := newBank(t)
	s := b.in("jane")
	token, _ := b.made(s, readTenants, pushRuns)
	b.after(10 * time.Minute)
	b.joins("left", "jane", true, "nothing")
	other := b.in("left")
	for _, who := range [][]string{s, other, token} {
		if r := b.wants("left", 200, "", "GET", "/api/v1/namespaces", "", who...); strings.Contains(r.body, "payments") {
			t.Errorf("she still sees %s", r.body)
		}
	}
	if name, ok := b.Pipeline(t.Context(), strings.TrimPrefix(token[1], "Bearer ")); ok {
		t.Errorf("the token still sends runs, as %s", name)
	}
	old := b.in("jane") // the ID token of before, which is valid still
	if r := b.send("GET", "/api/v1/namespaces", "", old...); strings.Contains(r.body, "payments") {
		t.Errorf("an older ID token gives it back: %s", r.body)
	}
}

// TestFixationAndTheft: a cookie that a client brings along is never taken over and ends; what was ended stays so for whoever has a copy.
func TestFixationAndTheft(t *testing.T) {
	b := newBank(t)
	planted := strings.Repeat("B", 43)
	r := b.send("POST", "/api/v1/sessions", `{"idToken":"jane"}`, "Cookie", cookieName+"="+planted)
	if r.cookie == planted || r.code != http.StatusCreated {
		t.Fatalf("%d %s", r.code, r.cookie)
	}
	b.wants("planted", 401, "sign-in", "GET", "/api/v1/me", "", "Cookie", cookieName+"="+planted)
	eve := b.in("eve")
	b.send("POST", "/api/v1/sessions", `{"idToken":"jane"}`, eve...) // eve's browser, in which jane signs in
	b.wants("eve's", 401, "sign-in", "GET", "/api/v1/me", "", eve...)

	one, two := b.in("carl"), b.in("carl")
	var list struct {
		Sessions []struct {
			ID      string
			Current bool
		}
	}
	if err := json.Unmarshal([]byte(b.send("GET", "/api/v1/sessions", "", two...).body), &list); err != nil || len(list.Sessions) != 2 || list.Sessions[0].Current || !list.Sessions[1].Current {
		t.Fatalf("%+v, %v", list, err)
	}
	b.wants("of another", 404, "not-found", "DELETE", "/api/v1/sessions/"+list.Sessions[0].ID, "", b.in("rob")...)
	b.wants("his own", 204, "", "DELETE", "/api/v1/sessions/"+list.Sessions[0].ID, "", two...)
	b.wants("stolen", 401, "sign-in", "GET", "/api/v1/me", "", one...)
	out := b.wants("sign out", 204, "", "DELETE", "/api/v1/sessions/current", "", two...)
	if set := out.header.Get("Set-Cookie"); !strings.Contains(set, "Max-Age=0") {
		t.Errorf("the cookie stays: %s", set)
	}
	b.wants("stolen", 401, "sign-in", "GET", "/api/v1/me", "", two...)
	b.start() // as after a kill: what was answered is on the disk
	b.wants("stolen, after a restart", 401, "sign-in", "GET", "/api/v1/me", "", two...)
}

// TestRevokeAccess: an administrator with a second factor ends all that somebody holds, under any account of the person, and who has it in hand
// must authenticate anew.
func TestRevokeAccess(t *testing.T) {
	b := newBank(t)
	s := b.in("jane")
	token, _ := b.made(s, readFindings)
	b.wants("by a stranger", 403, "not-allowed", "DELETE", "/api/v1/people/sub-jane/access", "", b.in("eve")...)
	b.joins("weak", "weak", false, "security")
	b.wants("without a second factor", 403, "second-factor", "DELETE", "/api/v1/people/sub-jane/access", "", b.in("weak")...)
	sec := b.in("sec")
	b.wants("nobody", 404, "not-found", "DELETE", "/api/v1/people/nobody/access", "", sec...)
	b.wants("jane", 204, "", "DELETE", "/api/v1/people/oid-jane/access", "", sec...)
	for range 2 {
		b.wants("her session", 401, "sign-in", "GET", "/api/v1/me", "", s...)
		b.wants("her token", 401, "sign-in", "GET", "/api/v1/findings", "", token...)
		b.wants("her ID token", 401, "revoked", "POST", "/api/v1/sessions", `{"idToken":"jane"}`)
		b.start()
	}
	b.after(time.Minute)
	b.joins("jane", "jane", true, "payments-admins")
	b.wants("authenticated anew", 200, "", "GET", "/api/v1/me", "", b.in("jane")...)
	if last := b.acts[len(b.acts)-2]; last.What != record.AccessRevoked || last.By != "oidc:sec" || last.Of != "oidc:jane" || !last.MFA {
		t.Errorf("recorded: %+v", last)
	}
}

// TestTokens: a token is shown once, ends, does no more than its owner may now, and makes none.
func TestTokens(t *testing.T) {
	b := newBank(t)
	jane := b.in("jane")
	wish := func(name string, life time.Duration, scopes string) string {
		return fmt.Sprintf(`{"name":%q,"scopes":%s,"expires":%q}`, name, scopes, b.now.Add(life).Format(time.RFC3339))
	}
	for what, body := range map[string]string{
		"91 days": wish("ci", 91*24*time.Hour, `["push:runs"]`), "the past": wish("ci", -time.Second, `["push:runs"]`), "no scope": wish("ci", time.Hour, `[]`),
		"another scope": wish("ci", time.Hour, `["write:everything"]`), "a scope twice": wish("ci", time.Hour, `["push:runs","push:runs"]`), "a name": wish("Ci\n", time.Hour, `["push:runs"]`),
	} {
		b.wants(what, 422, "bad-request", "POST", "/api/v1/tokens", body, jane...)
	}
	b.wants("without a second factor", 403, "second-factor", "POST", "/api/v1/tokens", wish("ci", time.Hour, `["read:findings"]`), b.in("rob")...)
	b.joins("reader", "reader", true, "payments-readers")
	b.wants("runs of a reader", 403, "not-allowed", "POST", "/api/v1/tokens", wish("ci", time.Hour, `["push:runs"]`), b.in("reader")...)
	b.set(func() { b.lost = errors.New("the ledger is full") })
	b.wants("unrecorded", 503, "not-recorded", "POST", "/api/v1/tokens", wish("ci", time.Hour, `["push:runs"]`), jane...)
	b.set(func() { b.lost = nil })

	token, id := b.made(jane, readTenants, pushRuns)
	if r := b.send("GET", "/api/v1/tokens", "", jane...); !strings.Contains(r.body, `"lastUsed":null`) || strings.Contains(r.body, strings.TrimPrefix(token[1], "Bearer ")) || !strings.Contains(r.body, id) {
		t.Errorf("the list: %s", r.body)
	}
	if r := b.wants("me", 200, "", "GET", "/api/v1/me", "", token...); strings.Contains(r.body, "payments-admins") || !strings.Contains(r.body, `"mfa":false`) {
		t.Errorf("a token learns %s", r.body)
	}
	b.wants("a token makes one", 403, "scope", "POST", "/api/v1/tokens", wish("ci", time.Hour, `["push:runs"]`), token...)
	b.wants("as a cookie", 401, "sign-in", "GET", "/api/v1/me", "", "Cookie", cookieName+"="+strings.TrimPrefix(token[1], "Bearer "))
	if name, ok := b.Pipeline(t.Context(), strings.TrimPrefix(token[1], "Bearer ")); !ok || name != "token/"+id+"/ci" {
		t.Errorf("the pipeline is %q, %v", name, ok)
	}
	other, _ := b.made(jane, readFindings)
	if _, ok := b.Pipeline(t.Context(), strings.TrimPrefix(other[1], "Bearer ")); ok {
		t.Error("a token without the scope sends runs")
	}
	b.wants("used", 200, "", "GET", "/api/v1/tenants", "", token...)
	if r := b.send("GET", "/api/v1/tokens", "", jane...); !strings.Contains(r.body, `"lastUsed":"2026-11-21T12:00:00Z"`) {
		t.Errorf("the list: %s", r.body)
	}
	b.wants("of another", 404, "not-found", "DELETE", "/api/v1/tokens/"+id, "", b.in("carl")...)
	b.wants("revoked", 204, "", "DELETE", "/api/v1/tokens/"+id, "", jane...)
	b.wants("revoked", 401, "sign-in", "GET", "/api/v1/tenants", "", token...)
	for range maxTokens - 1 {
		b.made(jane, readFindings)
	}
	b.wants("too many", 409, "too-many-tokens", "POST", "/api/v1/tokens", wish("ci", time.Hour, `["push:runs"]`), jane...)
	b.after(25 * time.Hour)
	b.wants("ended", 401, "sign-in", "GET", "/api/v1/findings", "", other...)
}

// TestOwnerUnknown: a token does nothing once nobody knows what its owner may.
func TestOwnerUnknown(t *testing.T) {
	b := newBank(t)
	body := fmt.Sprintf(`{"name":"ci","scopes":["read:findings"],"expires":%q}`, b.now.Add(80*24*time.Hour).Format(time.RFC3339))
	var out struct{ Token string }
	if err := json.Unmarshal([]byte(b.send("POST", "/api/v1/tokens", body, b.in("jane")...).body), &out); err != nil {
		t.Fatal(err)
	}
	token := []string{"Authorization", "Bearer " + out.Token}
	b.after(known - time.Minute)
	b.wants("known", 200, "", "GET", "/api/v1/findings", "", token...)
	b.after(time.Minute)
	b.wants("unknown", 401, "sign-in-again", "GET", "/api/v1/findings", "", token...)
	b.joins("back", "jane", false, "payments-readers")
	b.in("back")
	b.wants("known again", 200, "", "GET", "/api/v1/findings", "", token...)
}
