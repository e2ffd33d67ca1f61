package portal

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/record"
)

var (
	errUndecided = errors.New("the directory does not answer")
	errRefused   = errors.New("another audience")
)

const issuer = "https://idp.bank.example"

// bank is a portal with people, tenants and findings, a clock that stands, and a way to ask.
type bank struct {
	t   testing.TB
	cfg Config
	*Portal
	url         string
	certificate *x509.Certificate

	mu       sync.Mutex // guards what follows
	now      time.Time
	people   map[string]identity.Person // by ID token
	platform *v1alpha1.Platform
	tenants  []v1alpha1.Tenant
	owned    map[string]Place
	blind    error
	findings []finding.Finding
	asked    []record.Query
	acts     []record.Accessed
	lost     error // of records
	elevate  func(identity.Person, string) (string, time.Time, error)
}

func (b *bank) Verify(ctx context.Context, raw string) (identity.Person, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch raw {
	case "undecided":
		return identity.Person{}, errors.Join(errors.New("groups of somebody"), errUndecided)
	case "slow":
		<-ctx.Done()
		return identity.Person{}, ctx.Err()
	}
	p, ok := b.people[raw]
	if !ok {
		return p, errRefused
	}
	return p, nil
}

func (b *bank) Platform(context.Context) (*v1alpha1.Platform, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.platform, b.blind
}

func (b *bank) Tenants(context.Context) ([]v1alpha1.Tenant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tenants, b.blind
}

func (b *bank) Owned(context.Context) (map[string]Place, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.owned, b.blind
}

func (b *bank) Waivers(_ context.Context, namespace string) (out []v1alpha1.Waiver, _ error) {
	for _, w := range []v1alpha1.Waiver{waiver("payments-dev", "live", "2026-12-01"), waiver("payments-prod", "old", "2026-11-01"), waiver("cards-dev", "cards-secret", "2026-12-01")} {
		if namespace == "" || w.Namespace == namespace {
			out = append(out, w)
		}
	}
	return out, b.blind
}

func (b *bank) Token(_ context.Context, who identity.Person, name string) (string, time.Time, error) {
	return b.elevate(who, name)
}

func waiver(namespace, name, expires string) v1alpha1.Waiver {
	w := v1alpha1.Waiver{Spec: v1alpha1.WaiverSpec{Control: "RF-WL-01", Expires: expires, Subjects: []v1alpha1.WaiverSubject{{APIGroup: "apps", Kind: "Deployment", Name: "api"}}},
		Status: v1alpha1.WaiverStatus{Approval: &v1alpha1.WaiverApproval{Approver: "oidc:erin"}}}
	w.Namespace, w.Name = namespace, name
	return w
}

func newTenant(name string) v1alpha1.Tenant {
	t := v1alpha1.Tenant{Spec: v1alpha1.TenantSpec{Owner: name + "@bank.example",
		Groups:       v1alpha1.TenantGroups{Admin: name + "-admins", ReadOnly: name + "-readers"},
		Environments: []v1alpha1.Environment{{Name: "dev"}, {Name: "prod", Production: true, Groups: &v1alpha1.EnvironmentGroups{Admin: name + "-prod-admins"}}}}}
	t.Name = name
	return t
}

// ask answers as the road of findings does, and more than it was asked for.
func (b *bank) ask(_ context.Context, _ time.Time, q record.Query) (record.Answer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, q)
	return record.Answer{Findings: b.findings, From: "store"}, nil
}

func (b *bank) record(_ context.Context, a record.Accessed) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost == nil {
		b.acts = append(b.acts, a)
	}
	return b.lost
}

// set changes something while nobody asks.
func (b *bank) set(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
}

// after lets time pass.
func (b *bank) after(d time.Duration) { b.set(func() { b.now = b.now.Add(d) }) }

// joins makes an ID token of a person in groups, with or without a second factor, of this moment.
func (b *bank) joins(raw, name string, mfa bool, groups ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.people[raw] = identity.Person{Issuer: issuer, Subject: "sub-" + name, Object: "oid-" + name, Name: "oidc:" + name, Groups: groups, MFA: mfa, SignedIn: b.now, Expires: b.now.Add(time.Hour)}
}

// found is a Fail in a namespace.
func found(namespace string) finding.Finding {
	return finding.Finding{Control: "RF-WL-01", Outcome: finding.Fail, Action: finding.Deny, Subject: finding.Subject{Kind: "Pod", Namespace: namespace, Name: "in-" + namespace},
		Observed: &finding.Observed{Time: time.Now().UTC(), User: "oidc:somebody"}}
}

func newBank(t testing.TB) *bank {
	t.Helper()
	b := &bank{t: t, now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), people: map[string]identity.Person{},
		platform: &v1alpha1.Platform{Spec: v1alpha1.PlatformSpec{Identity: v1alpha1.IdentityRules{Auditors: []string{"audit"}, Administrators: []string{"security"}, MFA: "mfa"}}},
		tenants:  []v1alpha1.Tenant{newTenant("payments"), newTenant("cards")},
		owned: map[string]Place{"payments-dev": {"payments", "dev", false}, "payments-prod": {"payments", "prod", true},
			"cards-dev": {"cards", "dev", false}, "cards-prod": {"cards", "prod", true}, "shared": {}},
		findings: []finding.Finding{found("payments-dev"), found("payments-prod"), found("cards-dev"), found("")},
		elevate:  func(identity.Person, string) (string, time.Time, error) { return "", time.Time{}, ErrNotThere }}
	b.joins("jane", "jane", true, "payments-admins", "payments-readers")
	b.joins("rob", "rob", false, "payments-readers")
	b.joins("carl", "carl", true, "cards-admins")
	b.joins("ada", "ada", true, "audit")
	b.joins("sec", "sec", true, "security")
	b.joins("eve", "eve", true, "strangers", "")
	b.cfg = Config{Dir: t.TempDir(), Verifier: b, Undecided: errUndecided, Estate: b, Findings: b.ask, Elevations: b, Record: b.record,
		Now: func() time.Time { b.mu.Lock(); defer b.mu.Unlock(); return b.now }, Log: slog.New(slog.DiscardHandler)}
	b.start()
	return b
}

// start opens the portal, anew where there was one.
func (b *bank) start() {
	b.t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.Portal.ServeHTTP(w, r) }))
	b.t.Cleanup(s.Close)
	b.url, b.certificate, b.cfg.URL = s.URL, s.Certificate(), s.URL
	var err error
	if b.Portal, err = New(b.cfg); err != nil {
		b.t.Fatal(err)
	}
}

// reply is an answer as the tests look at it.
type reply struct {
	code   int
	header http.Header
	body   string
	cookie string
}

// kind is the problem's type.
func (r reply) kind() string {
	var p struct{ Type, Title, Detail string }
	_ = json.Unmarshal([]byte(r.body), &p)
	return strings.TrimPrefix(p.Type, problemBase)
}

// send asks with headers, in pairs.
func (b *bank) send(method, path, body string, headers ...string) reply {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Content-Type" {
			r.Header.Del(headers[i])
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	return b.do(r)
}

func (b *bank) do(r *http.Request) reply {
	b.t.Helper()
	client := &http.Client{Transport: insecure(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	got, err := client.Do(r)
	if err != nil {
		b.t.Error(err)
		return reply{}
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	out := reply{code: got.StatusCode, header: got.Header, body: string(bytes.TrimSpace(text))}
	for _, c := range got.Cookies() {
		if c.Name == cookieName {
			out.cookie = c.Value
		}
	}
	if out.code >= 400 && got.Header.Get("Content-Type") != "application/problem+json" {
		b.t.Errorf("%s %s: %d of type %s; want a problem: %s", r.Method, r.URL, out.code, got.Header.Get("Content-Type"), text)
	}
	return out
}

// in signs somebody in and is the header of the session.
func (b *bank) in(raw string) []string {
	b.t.Helper()
	r := b.send("POST", "/api/v1/sessions", `{"idToken":"`+raw+`"}`)
	if r.code != http.StatusCreated || r.cookie == "" {
		b.t.Fatalf("sign in as %s: %d %s", raw, r.code, r.body)
	}
	return []string{"Cookie", cookieName + "=" + r.cookie}
}

// made makes a token of a session's person and is its header and id.
func (b *bank) made(session []string, scopes ...string) (header []string, id string) {
	b.t.Helper()
	body, err := json.Marshal(map[string]any{"name": "ci", "scopes": scopes, "expires": b.cfg.Now().Add(24 * time.Hour)})
	if err != nil {
		b.t.Fatal(err)
	}
	r := b.send("POST", "/api/v1/tokens", string(body), session...)
	var out struct {
		Token string
		Info  struct{ ID string }
	}
	if err := json.Unmarshal([]byte(r.body), &out); err != nil || r.code != http.StatusCreated || !strings.HasPrefix(out.Token, tokenPrefix) {
		b.t.Fatalf("make a token: %d %s", r.code, r.body)
	}
	return []string{"Authorization", "Bearer " + out.Token}, out.Info.ID
}

// wants asks and compares status and, of a problem, its type.
func (b *bank) wants(what string, code int, kind, method, path, body string, headers ...string) reply {
	b.t.Helper()
	r := b.send(method, path, body, headers...)
	if r.code != code || kind != "" && r.kind() != kind {
		b.t.Errorf("%s: %s %s: %d %s; want %d %s", what, method, path, r.code, r.body, code, kind)
	}
	return r
}
