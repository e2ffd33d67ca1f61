package auditlog

import (
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
