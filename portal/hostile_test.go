package portal

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"ringfence.dev/ringfence/identity"
)

// TestCrossOrigin: a page of another site can do nothing with a browser's cookie, nor sign anybody in.
func TestCrossOrigin(t *testing.T) {
	b := newBank(t)
	jane := b.in("jane")
	for _, headers := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
		{"Origin", b.url + ".evil.example"}, {"Sec-Fetch-Site", "cross-site", "Origin", b.url}} {
		for _, route := range []string{"POST /api/v1/sessions", "POST /api/v1/tokens", "DELETE /api/v1/sessions/current"} {
			method, path, _ := strings.Cut(route, " ")
			b.wants(fmt.Sprint(headers), 403, "cross-origin", method, path, `{"idToken":"eve"}`, append(headers, jane...)...)
		}
	}
	b.wants("a form", 415, "bad-request", "POST", "/api/v1/sessions", `{"idToken":"eve"}`, "Content-Type", "text/plain")
	b.wants("she is still in", 200, "", "GET", "/api/v1/me", "", append(jane, "Origin", b.url)...)
	b.wants("her own page", 204, "", "DELETE", "/api/v1/sessions/current", "", append(jane, "Origin", b.url, "Sec-Fetch-Site", "same-origin")...)
	if r := b.send("OPTIONS", "/api/v1/me", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "GET"); r.header.Get("Access-Control-Allow-Origin") != "" || r.code != 401 {
		t.Errorf("a preflight: %d %v", r.code, r.header)
	}
}

// TestAmbiguous: who shows two credentials, or names who they are in a header, is nobody.
func TestAmbiguous(t *testing.T) {
	b := newBank(t)
	jane, ada := b.in("jane"), b.in("ada")
	token, _ := b.made(jane, readFindings)
	for what, headers := range map[string][]string{
		"cookie and token": append(append([]string{}, jane...), token...), "two cookies": append(append([]string{}, jane...), ada...),
		"two in one header": {"Cookie", jane[1] + "; " + ada[1]}, "two tokens": append(append([]string{}, token...), token...),
		"basic": {"Authorization", "Basic amFuZTpqYW5l"}, "lower case": {"Authorization", "bearer" + strings.TrimPrefix(token[1], "Bearer")},
	} {
		b.wants(what, 401, "ambiguous", "GET", "/api/v1/me", "", headers...)
	}
	for _, name := range []string{"X-Remote-User", "X-Forwarded-User", "Impersonate-User", "X-Remote-Group", "Impersonate-Group", "X-Forwarded-Client-Cert"} {
		b.wants(name, 401, "sign-in", "GET", "/api/v1/me", "", name, "audit")
		if r := b.send("GET", "/api/v1/me", "", append(jane, name, "audit")...); strings.Contains(r.body, `"auditor":true`) {
			t.Errorf("%s makes jane %s", name, r.body)
		}
	}
}

// TestPaths: no spelling of a path gets past the sign-in.
func TestPaths(t *testing.T) {
	b := newBank(t)
	for _, path := range []string{"//api/v1/me", "/api/v1//me", "/api/v1/./me", "/api/v1/sessions/../me", "/api/v1/openapi.json/../me", "/healthz/../api/v1/me", "/api/v1/%6de",
		"/api/v1/me/", "/api/v1/me%2f", "/API/v1/me", "/api/v1/openapi.json/", "/api/v1/openapi.json%2f..%2fme", "/api/v1/openapi%2ejson", "/api/v1/me;/healthz", "/api/v1/me?x=/healthz",
		"/healthz%00", "/", "/api", "/metrics", "/debug/pprof/", "/api/v1/docs", "/api/v1/schemas/Finding.json", "/openapi.yaml", "/api/v1/openapi.yaml"} {
		b.start()
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "CONNECT_", "TRACE"} {
			r, err := http.NewRequestWithContext(t.Context(), method, b.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.URL.Opaque = strings.TrimPrefix(b.url, "https:") + path // as it is, not cleaned
			if got := b.do(r); got.code != 401 {
				t.Errorf("%s %s: %d %s", method, path, got.code, got.body)
			}
		}
	}
	jane := b.in("jane")
	for _, path := range []string{"/api/v1/nothing", "/api/v1/people", "/metrics", "/api/v1/tenants/payments/environments"} {
		b.wants("no route", 404, "not-found", "GET", path, "", jane...)
	}
	b.wants("no method", 404, "not-found", "PUT", "/api/v1/me", "", jane...)
	b.wants("a tenant up the tree", 422, "bad-request", "GET", "/api/v1/tenants/..%2fcards", "", jane...)
	for _, path := range []string{"/healthz", "/api/v1/openapi.json"} {
		if r := b.send("GET", path, ""); r.code != 200 || r.header.Get("Cache-Control") != "no-store" || r.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, r.code, r.header)
		}
	}
}

// TestBodies: nothing is read beyond a bound, whether its length is told or not.
func TestBodies(t *testing.T) {
	b := newBank(t)
	jane := b.in("jane")
	large := strings.Repeat("x", 10<<20)
	for _, route := range []string{"POST /api/v1/sessions", "POST /api/v1/tokens", "DELETE /api/v1/sessions/current", "GET /api/v1/me"} {
		method, path, _ := strings.Cut(route, " ")
		r, err := http.NewRequestWithContext(t.Context(), method, b.url+path, strings.NewReader(large))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", jane[1])
		r.Header.Set("Expect", "100-continue")
		if got := b.do(r); got.code != 413 || got.kind() != "too-large" {
			t.Errorf("%s: %d %s", route, got.code, got.body)
		}
	}
	for _, path := range []string{"/api/v1/sessions", "/api/v1/tokens"} { // in chunks: nobody says how much there is
		read := &counted{}
		r := httptest.NewRequestWithContext(t.Context(), "POST", path, io.TeeReader(strings.NewReader(large), read))
		r.ContentLength, r.RemoteAddr = -1, "192.0.2.1:1"
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Cookie", jane[1])
		got := httptest.NewRecorder()
		b.ServeHTTP(got, r)
		if got.Code != 413 || read.n > 2*maxBody {
			t.Errorf("%s: %d after %d bytes", path, got.Code, read.n)
		}
	}
	b.wants("deep", 422, "", "POST", "/api/v1/sessions", `{"idToken":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`}`)
	b.wants("not UTF-8", 401, "token-refused", "POST", "/api/v1/sessions", "{\"idToken\":\"\xff\xfe\"}")
}

// TestSmuggled: a request that is hidden in another's body is nobody's, or is none.
func TestSmuggled(t *testing.T) {
	b := newBank(t)
	jane := b.in("jane")
	for what, text := range map[string]string{
		"length and chunks": "POST /api/v1/sessions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n" + jane[0] + ": " + jane[1] + "\r\n\r\n0\r\n\r\nGET /api/v1/me HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
		"two lengths":       "POST /api/v1/sessions HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 60\r\n\r\nGET /api/v1/me HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
		"a folded header":   "GET /api/v1/me HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: y\r\n " + jane[0] + ": " + jane[1] + "\r\n\r\n",
		"a bare newline":    "GET /api/v1/me HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: y\rCookie: " + jane[1] + "\r\n\r\n",
		"a space":           "GET /api/v1/me HTTP/1.1\r\nHost: h\r\nConnection: close\r\nCookie : " + jane[1] + "\r\n\r\n",
	} {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(b.url, "https://"), insecure().TLSClientConfig)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		for range 2 {
			got, err := http.ReadResponse(in, nil)
			if err != nil {
				break // the connection was closed
			}
			body, _ := io.ReadAll(got.Body)
			got.Body.Close()
			if got.StatusCode < 400 || strings.Contains(string(body), "payments") {
				t.Errorf("%s: %d %s", what, got.StatusCode, body)
			}
		}
		conn.Close()
	}
}

// TestTooOften: an address that fails again and again is told to wait, and does not keep out from there who shows what counts; one person
// cannot ask without end.
func TestTooOften(t *testing.T) {
	b := newBank(t)
	jane, carl := b.in("jane"), b.in("carl")
	const never = 1e-6 // a second: nothing comes back while the test runs, however slow the machine
	b.failed, b.asking, b.signIns = newLimiter(never, 5), newLimiter(never, 5), newLimiter(never, 5)
	last := 0
	for range 6 {
		last = b.send("GET", "/api/v1/me", "", "Authorization", "Bearer rf_guess").code
	}
	if last != 429 {
		t.Errorf("the sixth guess: %d", last)
	}
	for range 5 {
		b.wants("jane", 200, "", "GET", "/api/v1/sessions", "", jane...)
	}
	b.wants("jane again", 429, "too-many", "GET", "/api/v1/sessions", "", jane...)
	b.wants("another", 200, "", "GET", "/api/v1/me", "", carl...)
	for range 6 {
		last = b.send("POST", "/api/v1/sessions", `{"idToken":"no"}`).code
	}
	if last != 429 {
		t.Errorf("the sixth sign-in: %d", last)
	}
	l := newLimiter(1, 1)
	for i := range maxLimited + 10 {
		l.allow(fmt.Sprint(i))
	}
	if len(l.all) > maxLimited+1 {
		t.Errorf("%d addresses are kept", len(l.all))
	}
}

// TestSlow: sign-ins that hang keep nobody out who is known.
func TestSlow(t *testing.T) {
	b := newBank(t)
	jane := b.in("jane")
	release, under := make(chan struct{}), make(chan struct{}, maxEntering)
	b.cfg.Verifier = hanging{release, under}
	b.start()
	var wait sync.WaitGroup
	for range maxEntering {
		wait.Go(func() { b.send("POST", "/api/v1/sessions", `{"idToken":"any"}`) })
	}
	for range maxEntering {
		<-under
	}
	b.wants("jane", 200, "", "GET", "/api/v1/me", "", jane...)
	b.wants("one more", 429, "too-many", "POST", "/api/v1/sessions", `{"idToken":"any"}`)
	close(release)
	wait.Wait()
}

// TestKept: two that write at once lose nothing, a file that was not finished is none, and one of somebody else is seen.
func TestKept(t *testing.T) {
	b := newBank(t)
	var wait sync.WaitGroup
	sessions := make([][]string, 8)
	for i := range sessions {
		wait.Go(func() { sessions[i] = b.in("jane") })
	}
	wait.Wait()
	b.start()
	for _, s := range sessions {
		b.wants("after a restart", 200, "", "GET", "/api/v1/me", "", s...)
	}
	var full error
	for i := range maxSessions * 3 {
		full = errors.Join(full, b.accounts.change(identity.Person{Issuer: issuer, Subject: "many"}, b.now, func(a *account) error {
			for len(a.Sessions) >= maxSessions {
				a.Sessions = append(a.Sessions[:oldest(a.Sessions)], a.Sessions[oldest(a.Sessions)+1:]...)
			}
			a.Sessions = append(a.Sessions, session{ID: fmt.Sprint(i), Hash: fmt.Sprint(i), Began: b.now, Used: b.now})
			return nil
		}))
	}
	if full != nil || b.accounts.find("0") != nil || b.accounts.find("29") == nil {
		t.Errorf("%v: the first is %v", full, b.accounts.find("0"))
	}
	if err := b.accounts.change(identity.Person{Issuer: issuer, Subject: "large", Groups: []string{strings.Repeat("g", maxAccount)}}, b.now, func(*account) error { return nil }); !errors.Is(err, errFull) {
		t.Errorf("a person of two megabytes: %v", err)
	}
}

// counted counts what is written.
type counted struct{ n int }

func (c *counted) Write(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}

// hanging is a provider that does not answer until it is released.
type hanging struct{ release, under chan struct{} }

func (h hanging) Verify(ctx context.Context, _ string) (identity.Person, error) {
	h.under <- struct{}{}
	select {
	case <-h.release:
	case <-ctx.Done():
	}
	return identity.Person{}, errUndecided
}
