package auditlog

import (
	"bytes"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

func TestActOf(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	event := func(user, stage string) Event {
		return Event{AuditID: "1", Stage: stage, Verb: "get", RequestURI: "/api/v1/namespaces/payments-prod/pods/api/exec?command=sh&command=-c&command=a%0Ab&stdin=true",
			User: User{Username: user}, ObjectRef: &ObjectRef{Resource: "pods", Subresource: "exec", Namespace: "payments-prod", Name: "api", APIVersion: "v1"},
			ResponseStatus: &ResponseStatus{Code: 101}, RequestReceivedTimestamp: at, StageTimestamp: at}
	}
	const account = "system:serviceaccount:payments-prod:elevation-inc-1"
	for _, user := range []string{"", "oidc:dave", "system:serviceaccount:payments-prod:api", "elevation-inc-1", "system:serviceaccount:elevation-x:api", "oidc:system:serviceaccount:a:elevation-b"} {
		if a, ok := ActOf(event(user, "ResponseComplete")); ok {
			t.Errorf("%q: %v", user, a)
		}
	}
	if _, ok := ActOf(event(account, "RequestReceived")); ok {
		t.Error("a request that has not been answered is an act")
	}
	a, ok := ActOf(event(account, "ResponseComplete"))
	if !ok || a.Account != account || a.Code != 101 || a.Program != "sh" || !a.Time.Equal(at) {
		t.Errorf("ActOf = %+v, %v", a, ok)
	}
	if got := a.String(); !strings.HasPrefix(got, "2026-11-22T10:00:00Z  let through  get pods/exec api in payments-prod: sh") {
		t.Errorf("String = %s", got)
	}
	path := event(account, "ResponseComplete")
	path.ObjectRef, path.RequestURI = nil, "/healthz?"+strings.Repeat("a", 10)
	if a, ok := ActOf(path); !ok || a.Path != "/healthz" || a.Resource != "" {
		t.Errorf("a path: %+v, %v", a, ok)
	}
}

// FuzzActOf: whatever an account of an elevation asked for, as whatever audit event, what is told of it is clean and bounded, and what
// anybody else asked for is not told.
func FuzzActOf(f *testing.F) {
	files, err := os.ReadDir("testdata/events")
	if err != nil {
		f.Fatal(err)
	}
	const account = "system:serviceaccount:payments-prod:elevation-inc-1"
	for _, file := range files {
		f.Add(read(f, file.Name()), account, "/api/v1/namespaces/payments-prod/pods/api/exec?command=sh")
	}
	f.Add([]byte("{}"), "system:serviceaccount::elevation-", "?command=%zz&command=\x1b[2J;a")
	f.Fuzz(func(t *testing.T, body []byte, user, uri string) {
		tell := func(e Event) {
			a, ok := ActOf(e)
			if !ok {
				if a.Account != "" {
					t.Errorf("no act, and %+v", a)
				}
				return
			}
			if !strings.HasPrefix(e.User.Username, accountPrefix) || e.Stage != "ResponseComplete" && e.Stage != "Panic" {
				t.Errorf("%q at %q is told: %+v", e.User.Username, e.Stage, a)
			}
			for _, s := range []string{a.Account, a.Verb, a.APIGroup, a.Resource, a.Subresource, a.Namespace, a.Name, a.Program, a.AuditID} {
				if s != clean(s, maxName) {
					t.Errorf("%q is not clean", s)
				}
			}
			if a.Path != clean(a.Path, maxMessage) || strings.ContainsAny(a.String(), "\n\r\x1b") {
				t.Errorf("%q of %q", a.String(), a.Path)
			}
		}
		_ = Decode(bytes.NewReader(body), func(e Event, err error) {
			if err != nil {
				return
			}
			tell(e)
			e.User.Username, e.RequestURI = user, uri // as an elevation asks, which few of the bytes would say
			tell(e)
			if e.ObjectRef != nil {
				e.ObjectRef.Subresource = "exec"
			}
			tell(e)
		})
		tell(Event{Stage: "ResponseComplete", User: User{Username: user}, RequestURI: uri, ObjectRef: &ObjectRef{Resource: "pods", Subresource: "exec", Name: url.QueryEscape(uri)}})
	})
}
