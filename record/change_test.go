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

// TestMadeRecords: what is made of changes and gaps keeps to its kind's schema, names nobody, and has the same id again.
func TestMadeRecords(t *testing.T) {
	at := time.Unix(1_800_000_000, 5).UTC()
	s := finding.Subject{APIVersion: "ringfence.dev/v1alpha1", Kind: "Tenant", Name: "payments"}
	o := finding.Observed{Time: at, User: "jane@bank.example", ImpersonatedUser: "joe@bank.example", Operation: "UPDATE", AuditID: "chosen"}
	for name, build := range map[string]func() (record.Record, error){
		"change": func() (record.Record, error) { return record.Change(s, o, nil, []byte("key")) },
		"contents": func() (record.Record, error) {
			return record.Change(s, o, &record.Contents{Before: strings.Repeat("0", 64), After: strings.Repeat("1", 64), More: 3, Fields: []record.Field{
				{Path: "/spec/owner", From: new("joe@bank.example"), To: new("jane@bank.example"), Personal: true}, {Path: "/spec/profile", To: new("strict")}}}, []byte("key"))
		},
		"first seen": func() (record.Record, error) {
			return record.Change(s, o, &record.Contents{After: strings.Repeat("1", 64), FirstSeen: true}, []byte("key"))
		},
		"unchanged": func() (record.Record, error) {
			return record.Change(s, o, &record.Contents{Before: strings.Repeat("1", 64), After: strings.Repeat("1", 64)}, []byte("key"))
		},
		"posture": func() (record.Record, error) {
			r, _, err := record.Posture(state(3, 16), "start", at)
			return r, err
		},
		"empty posture": func() (record.Record, error) {
			r, _, err := record.Posture(record.PostureState{Catalogue: strings.Repeat("1", 64)}, "alive", at)
			return r, err
		},
		"catalogue": func() (record.Record, error) {
			return record.CatalogueChange(strings.Repeat("0", 64), strings.Repeat("1", 64), at)
		},
		"new catalogue": func() (record.Record, error) { return record.CatalogueChange("", strings.Repeat("1", 64), at) },
		"remediation": func() (record.Record, error) {
			return record.Remediation(finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "a", Name: "b"}, "RF-WL-21", "evicted", "too long", "INC1", at, at)
		},
		"gap": func() (record.Record, error) { return record.PolicyGap(s, "missing", at, at.Add(time.Second)) },
	} {
		r, err := build()
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := build(); again.ID != r.ID || bytes.Contains(r.Body, []byte("bank.example")) {
			t.Errorf("%s: ids %s and %s, body %s; want one id and no name", name, r.ID, again.ID, r.Body)
		}
		r.Cluster, r.Producer, r.Seq = "local", "audit", 1
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
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
	a, _ := record.Change(s, o, nil, []byte("key"))
	o.User = "mallory@bank.example"
	if b, _ := record.Change(s, o, nil, []byte("key")); a.ID == b.ID {
		t.Error("two people's changes have one id")
	}
}
