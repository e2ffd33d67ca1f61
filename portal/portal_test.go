package portal

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/identity"
)

var update = flag.Bool("update", false, "write docs/api/openapi.json anew")

// insecure is a transport that takes any certificate: these tests are not about TLS, and server has one that is.
func insecure() *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}, ExpectContinueTimeout: 10 * time.Second}
}

// TestDocument: docs/api/openapi.json is what is served.
func TestDocument(t *testing.T) {
	const path = "../docs/api/openapi.json"
	b := newBank(t)
	if *update {
		if err := os.WriteFile(path, b.Document(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(have, b.Document()) {
		t.Errorf("%s is not what is served (%v): go test ./portal -run TestDocument -update", path, err)
	}
	if r := b.send("GET", "/api/v1/openapi.json", ""); r.code != http.StatusOK || r.body != strings.TrimSpace(string(have)) || !strings.Contains(r.body, `"openapi": "3.1.0"`) {
		t.Errorf("served: %d", r.code)
	}
}

// operation is a route of the document.
type operation struct {
	method, path string
	security     []map[string][]string
}

// operations are all routes of the document, with something in the place of their parameters.
func operations(t *testing.T, document []byte) (out []operation) {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]struct {
			Security []map[string][]string
		}
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			path := strings.NewReplacer("{id}", "0123456789abcdef", "{name}", "payments", "{namespace}", "payments-prod", "{subject}", "sub-jane").Replace(path)
			out = append(out, operation{strings.ToUpper(method), path, op.Security})
		}
	}
	return out
}

// TestEveryRoute walks the document: without a credential, with a made-up one and with a stranger's nobody learns anything, and a token
// opens what it was made for and nothing else.
func TestEveryRoute(t *testing.T) {
	b := newBank(t)
	jane := b.in("jane")
	b.made(jane, readFindings)
	scopes := []string{readTenants, readFindings, readWaivers, pushRuns}
	tokens := map[string][]string{}
	for _, scope := range scopes {
		tokens[scope], _ = b.made(jane, scope)
	}
	all := operations(t, b.Document())
	if len(all) < 14 {
		t.Fatalf("%d routes", len(all))
	}
	for _, o := range all {
		body := ""
		if o.method == "POST" {
			body = `{}`
		}
		if len(o.security) == 0 {
			if o.path != "/api/v1/sessions" || o.method != "POST" {
				t.Errorf("%s %s is open", o.method, o.path)
			}
			continue
		}
		b.start() // so that the limits of failures do not answer in place of the route
		b.wants("without", 401, "sign-in", o.method, o.path, body)
		b.wants("with a cookie that is made up", 401, "sign-in", o.method, o.path, body, "Cookie", cookieName+"="+strings.Repeat("A", 43))
		b.wants("with a token that is made up", 401, "sign-in", o.method, o.path, body, "Authorization", "Bearer rf_"+strings.Repeat("A", 43))
		b.wants("with an ID token", 401, "sign-in", o.method, o.path, body, "Authorization", "Bearer jane")
		if r := b.send(o.method, o.path, body, b.in("eve")...); strings.Contains(r.body, "payments-") || strings.Contains(r.body, "cards") || strings.Contains(r.body, "jane") {
			t.Errorf("a stranger learns of %s %s: %d %s", o.method, o.path, r.code, r.body)
		}
		for _, scope := range scopes {
			may := slices.ContainsFunc(o.security, func(way map[string][]string) bool {
				want, ok := way[byToken]
				return ok && (len(want) == 0 || slices.Contains(want, scope))
			})
			if r := b.send(o.method, o.path, body, tokens[scope]...); may != (r.code == http.StatusOK) || !may && r.kind() != "scope" {
				t.Errorf("a token with %s at %s %s: %d %s", scope, o.method, o.path, r.code, r.body)
			}
		}
	}
}

// TestSight: what somebody sees follows from their groups, the Tenants and whose the Guard says that a namespace is.
func TestSight(t *testing.T) {
	b := newBank(t)
	b.joins("prod", "prod", false, "payments-prod-admins")
	b.joins("both", "both", false, "cards-readers", "payments-readers")
	for raw, want := range map[string]string{
		"jane": "payments-dev admin, payments-prod readOnly", "rob": "payments-dev readOnly, payments-prod readOnly", "prod": "payments-prod admin",
		"carl": "cards-dev admin", "eve": "", "sec": "", "both": "cards-dev readOnly, cards-prod readOnly, payments-dev readOnly, payments-prod readOnly",
		"ada": "cards-dev auditor, cards-prod auditor, payments-dev auditor, payments-prod auditor",
	} {
		var out struct{ Namespaces []roleView }
		r := b.wants(raw, 200, "", "GET", "/api/v1/namespaces", "", b.in(raw)...)
		if err := json.Unmarshal([]byte(r.body), &out); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range out.Namespaces {
			got = append(got, n.Namespace+" "+n.Role)
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s sees %s; want %s", raw, s, want)
		}
	}
	jane, eve := b.in("jane"), b.in("eve")
	b.wants("her own", 200, "", "GET", "/api/v1/tenants/payments", "", jane...)
	other := b.wants("another's", 404, "not-found", "GET", "/api/v1/tenants/cards", "", jane...)
	if none := b.wants("nobody's", 404, "not-found", "GET", "/api/v1/tenants/nobody", "", jane...); none.body != other.body {
		t.Errorf("what is there and what is not are told apart: %s %s", other.body, none.body)
	}

	// A Tenant that claims another's namespace does not have it: the Guard says whose it is.
	greedy := newTenant("greedy")
	greedy.Spec.Environments = []v1alpha1.Environment{{Name: "dev", Namespace: "payments-dev"}, {Name: "prod", Namespace: "shared"}}
	greedy.Spec.Groups.Admin = "strangers"
	b.set(func() { b.tenants = append(b.tenants, greedy) })
	if r := b.send("GET", "/api/v1/namespaces", "", eve...); strings.Contains(r.body, "payments") || strings.Contains(r.body, "shared") {
		t.Errorf("a greedy tenant has %s", r.body)
	}

	// A group that the Tenant no longer names counts at the next request.
	b.set(func() { b.tenants = []v1alpha1.Tenant{newTenant("cards")} })
	if r := b.send("GET", "/api/v1/namespaces", "", jane...); strings.Contains(r.body, "payments") {
		t.Errorf("jane still sees %s", r.body)
	}
	b.set(func() { b.blind = errors.New("the cache is not filled") })
	for _, path := range []string{"me", "tenants", "tenants/payments", "namespaces", "findings", "waivers"} {
		b.wants("without a cluster", 503, "undecided", "GET", "/api/v1/"+path, "", jane...)
	}
}

// TestFindings: the road is asked for nothing but what may be seen, and what it answers beyond is not passed on.
func TestFindings(t *testing.T) {
	b := newBank(t)
	for _, test := range []struct {
		raw, query, want string
		code             int
	}{
		{"jane", "", "payments-dev payments-prod", 200}, {"jane", "?tenant=payments&control=RF-WL-01&since=24h", "payments-dev payments-prod", 200},
		{"jane", "?namespace=payments-prod", "payments-prod", 200}, {"jane", "?tenant=cards", "", 404}, {"jane", "?namespace=cards-dev", "", 404},
		{"jane", "?tenant=payments&namespace=cards-dev", "", 404}, {"carl", "", "cards-dev", 200}, {"eve", "", "", 200}, {"ada", "", "payments-dev payments-prod cards-dev ", 200},
		{"ada", "?tenant=cards", "cards-dev", 200}, {"jane", "?since=-1h", "", 422}, {"jane", "?since=x", "", 422}, {"jane", "?tenants=payments", "", 422},
		{"jane", "?control=';--", "", 422}, {"jane", "?namespace=", "payments-dev payments-prod", 200},
	} {
		b.set(func() { b.asked = nil })
		r := b.wants(test.raw, test.code, "", "GET", "/api/v1/findings"+test.query, "", b.in(test.raw)...)
		var out struct {
			Findings []struct{ Subject struct{ Namespace string } }
		}
		_ = json.Unmarshal([]byte(r.body), &out)
		var got []string
		for _, f := range out.Findings {
			got = append(got, f.Subject.Namespace)
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%s %s: %q; want %q", test.raw, test.query, s, test.want)
		}
		for _, q := range b.asked {
			if test.raw != "ada" && (len(q.Namespaces) == 0 || slices.Contains(q.Namespaces, "cards-dev") != (test.raw == "carl")) {
				t.Errorf("%s %s: the road was asked for %q", test.raw, test.query, q.Namespaces)
			}
		}
	}
	r := b.wants("waivers", 200, "", "GET", "/api/v1/waivers", "", b.in("jane")...)
	if !strings.Contains(r.body, `"live"`) || !strings.Contains(r.body, `"expired"`) || strings.Contains(r.body, "cards") {
		t.Errorf("waivers: %s", r.body)
	}
}

// TestElevation: the person is passed on with what this session proved, a token never is, and without the record nothing is given out.
func TestElevation(t *testing.T) {
	b := newBank(t)
	b.elevate = func(who identity.Person, name string) (string, time.Time, error) {
		switch {
		case name != "payments-prod/night":
			return "", time.Time{}, ErrNotThere
		case !who.MFA:
			return "", time.Time{}, ErrForbidden
		}
		return "kube-token", b.now.Add(10 * time.Minute), nil
	}
	path := "/api/v1/elevations/payments-prod/night/token"
	if r := b.wants("with a factor", 200, "", "POST", path, "", b.in("jane")...); !strings.Contains(r.body, "kube-token") {
		t.Errorf("got %s", r.body)
	}
	b.wants("without", 403, "not-allowed", "POST", path, "", b.in("rob")...)
	b.wants("another", 404, "not-found", "POST", "/api/v1/elevations/payments-prod/day/token", "", b.in("jane")...)
	jane := b.in("jane")
	b.set(func() { b.lost = errors.New("the ledger is full") })
	if r := b.wants("unrecorded", 503, "not-recorded", "POST", path, "", jane...); strings.Contains(r.body, "kube-token") {
		t.Errorf("got %s", r.body)
	}
	b.set(func() { b.lost, b.cfg.Elevations = nil, nil })
	b.start()
	b.wants("no elevations", 404, "not-found", "POST", path, "", jane...)
}
