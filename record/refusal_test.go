package record_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// TestRefusal holds the record of a refusal to its schema, and its id to the event: the same delivered twice, another for any
// other request, whatever auditID a client chose.
func TestRefusal(t *testing.T) {
	event := func(change func(*finding.Observed, *finding.Subject)) []finding.Finding {
		o := &finding.Observed{Time: time.Unix(1_800_000_000, 0).UTC(), User: "jane@bank.example", Operation: "CREATE", Refused: true, AuditID: "chosen", Door: "apiserver"}
		s := finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "payments-dev", Name: "a"}
		change(o, &s)
		return []finding.Finding{
			{Control: "z", Outcome: finding.Errored, Subject: s, Observed: o},
			{Control: "", Rule: "ringfence-workloads", Outcome: finding.Fail, Action: finding.Warn, Found: strings.Repeat("é", 900), Path: "/spec", Subject: s, Observed: o},
		}
	}
	ids := map[string]string{}
	for name, change := range map[string]func(*finding.Observed, *finding.Subject){
		"as it is":       func(*finding.Observed, *finding.Subject) {},
		"another time":   func(o *finding.Observed, _ *finding.Subject) { o.Time = o.Time.Add(time.Microsecond) },
		"another object": func(_ *finding.Observed, s *finding.Subject) { s.Name = "b" },
		"a dry run":      func(o *finding.Observed, _ *finding.Subject) { o.Time, o.DryRun = o.Time.Add(time.Second), true },
		"another user":   func(o *finding.Observed, _ *finding.Subject) { o.ImpersonatedUser = "joe@bank.example" },
	} {
		r, err := record.Refusal(event(change), strings.Repeat("0", 64), []byte("key"), "webhook", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		again, _ := record.Refusal(event(change), strings.Repeat("0", 64), []byte("key"), "webhook", time.Now().Add(time.Hour))
		if again.ID != r.ID || ids[r.ID] != "" {
			t.Errorf("%s: the id is %s, then %s, and that of %q", name, r.ID, again.ID, ids[r.ID])
		}
		ids[r.ID] = name
		if bytes.Contains(r.Body, []byte("bank.example")) {
			t.Errorf("%s: the body holds a name: %s", name, r.Body)
		}
		if dry := bytes.Contains(r.Body, []byte(`"dryRun":true`)); dry != (name == "a dry run") {
			t.Errorf("%s: the body is %s", name, r.Body)
		}
		r.Cluster, r.Producer, r.Seq = "local", "audit", 1
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
		text, _ := record.KindSchema(r.Kind)
		body, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.Body))
		if err != nil {
			t.Fatal(err)
		}
		if err := compileKind(t, r.Kind, text).Validate(body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := record.Refusal(nil, "", nil, "", time.Now()); err == nil {
		t.Error("Refusal of nothing = nil, want an error")
	}
}

// TestRefusalWaived: what a waiver let in says so, in the form of its kind.
func TestRefusalWaived(t *testing.T) {
	f := finding.Finding{Control: "RF-WL-01", Outcome: finding.Fail, Action: finding.Deny, Waiver: &finding.Waiver{Name: "legacy", Expires: "2026-12-01T00:00:00Z"},
		Subject:  finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "a", Name: "p"},
		Observed: &finding.Observed{AuditID: "1", Operation: "CREATE", User: "u", Time: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)}}
	r, err := record.Refusal([]finding.Finding{f}, strings.Repeat("0", 64), []byte("0123456789abcdef0123456789abcdef"), "webhook", time.Now())
	if err != nil || !strings.Contains(string(r.Body), `"waiver":"legacy"`) {
		t.Fatalf("%s, %v", r.Body, err)
	}
}
