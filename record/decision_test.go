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

// TestDecision holds the record of a decision to its schema: no name of a person, and one id a review.
func TestDecision(t *testing.T) {
	d := record.Decided{UID: "705ab4f5", Operation: "CREATE", User: "jane@bank.example", DryRun: true,
		Subject: finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "payments-dev", Name: "a"},
		Findings: []finding.Finding{
			{Control: "RF-WL-02", Outcome: finding.Errored, Action: finding.Warn},
			{Control: "RF-WL-01", Outcome: finding.Fail, Found: strings.Repeat("é", 900), Path: "/spec"},
			{Control: "RF-WL-03", Outcome: finding.Pass},
		}}
	r, err := record.Decision(d, strings.Repeat("0", 64), []byte("key"), time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	again, _ := record.Decision(d, strings.Repeat("0", 64), []byte("key"), time.Unix(1_800_000_009, 0))
	if again.ID != r.ID || bytes.Contains(r.Body, []byte("jane")) || bytes.Contains(r.Body, []byte("RF-WL-03")) {
		t.Errorf("id %s, then %s; body %s", r.ID, again.ID, r.Body)
	}
	r.Cluster, r.Producer, r.Seq = "local", "admission", 1
	if err := r.Validate(); err != nil {
		t.Error(err)
	}
	text, _ := record.KindSchema(r.Kind)
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.Body))
	if err != nil {
		t.Fatal(err)
	}
	if err := compileKind(t, r.Kind, text).Validate(body); err != nil {
		t.Error(err)
	}
	if _, err := record.Decision(record.Decided{}, "", nil, time.Now()); err == nil {
		t.Error("a decision about nothing = nil, want an error")
	}
}
