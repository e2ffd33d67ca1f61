package portal

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// FuzzStranger: whatever somebody sends who holds nothing, it ends, and they are told nothing but a problem, or one of the two open pages.
func FuzzStranger(f *testing.F) {
	for _, s := range [][4]string{
		{"GET", "/api/v1/me", "Authorization: Bearer rf_x", ""}, {"POST", "/api/v1/sessions", "Content-Type: application/json", `{"idToken":"x"}`},
		{"POST", "/api/v1/sessions", "Content-Type: application/json;charset=x+y", `{"idToken":{"a":[1e999]},"a":`}, {"DELETE", "/api/v1/people/%2e%2e%2f/access", "Cookie: __Host-ringfence=\"a", ""},
		{"HEAD", "/healthz", "Origin: null", ""}, {"get", "/api/v1/openapi.json", "Sec-Fetch-Site: cross-site", ""}, {"POST", "/api/v1/sessions", "Content-Type: +;", "\xff"},
	} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	b, n := newBank(f), 0
	f.Fuzz(func(t *testing.T, method, path, header, body string) {
		at, err := url.ParseRequestURI(path)
		if err != nil || strings.ContainsAny(method, " \r\n\x00") || method == "" {
			return // net/http refuses it
		}
		n++
		r := &http.Request{Method: method, URL: at, Host: "h", RequestURI: path, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, RemoteAddr: fmt.Sprintf("[2001:db8::%x]:1", n%0xffff)}
		r.Body, r.ContentLength = http.NoBody, int64(len(body))
		if body != "" {
			r.Body = httptest.NewRequest("POST", "/", strings.NewReader(body)).Body
		}
		if name, value, ok := strings.Cut(header, ": "); ok {
			r.Header.Set(name, value)
		}
		got := httptest.NewRecorder()
		b.ServeHTTP(got, r.WithContext(t.Context()))
		open := at.EscapedPath() == "/healthz" || at.EscapedPath() == prefix+"/openapi.json"
		if got.Code < 400 && !open {
			t.Errorf("%s %s with %q: %d %s", method, path, header, got.Code, got.Body)
		}
		if got.Code >= 500 && got.Code != http.StatusServiceUnavailable || got.Code >= 400 && got.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s with %q: %d %v %s", method, path, header, got.Code, got.Header(), got.Body)
		}
	})
}
