package record_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// TestQuarantine: every step keeps to the schema, the same step has the same id, and what is too large is left out and named.
func TestQuarantine(t *testing.T) {
	at, key := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC), []byte("key")
	schema, _ := record.KindSchema("quarantine.v1")
	compiled := compileKind(t, "quarantine.v1", schema)
	step := func(what, by, object string, events int) record.Record {
		q := record.Quarantined{Step: what, Namespace: "payments-prod", Name: "q", UID: "u", Kind: "Deployment", Workload: "api", Ticket: "INC1",
			Reason: strings.Repeat("x\n", 500), Expires: "2026-11-22T10:00:00Z", By: by}
		if object != "" {
			q.Kept = &record.KeptObject{Subject: finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "payments-prod", Name: object}, UID: object,
				Object: json.RawMessage(`{"kind":"Pod","spec":"` + strings.Repeat("y", events) + `"}`), Events: json.RawMessage(`[{"reason":"` + strings.Repeat("z", 40_000) + `"}]`), Whole: record.Sealed(key, object)}
		}
		r, err := record.Quarantine(q, key, at)
		if err != nil {
			t.Fatal(err)
		}
		var body any
		if err := json.Unmarshal(r.Body, &body); err != nil {
			t.Fatal(err)
		}
		if err := compiled.Validate(body); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if len(r.Body) > 63_000 {
			t.Errorf("%s: a body of %d bytes", what, len(r.Body))
		}
		return r
	}
	ids := map[string]bool{}
	for _, what := range []string{"opened", "confirmed", "lifted", "expired", "deleted"} {
		r := step(what, "oidc:erin", "", 0)
		ids[r.ID] = true
		if strings.Contains(string(r.Body), "erin") {
			t.Errorf("%s names a person: %s", what, r.Body)
		}
	}
	a, b := step("kept", "", "a", 10), step("kept", "", "b", 30_000)
	c := step("kept", "", "c", 70_000)
	ids[a.ID], ids[b.ID], ids[c.ID] = true, true, true
	if len(ids) != 8 || step("kept", "", "a", 20).ID != a.ID {
		t.Errorf("ids: %v", ids)
	}
	for r, want := range map[*record.Record][3]bool{&a: {true, true, false}, &b: {true, false, true}, &c: {false, false, true}} {
		var body map[string]any
		if err := json.Unmarshal(r.Body, &body); err != nil {
			t.Fatal(err)
		}
		if got := [3]bool{body["kept"] != nil, body["events"] != nil, body["missing"] != nil}; got != want {
			t.Errorf("kept, events, missing: %v, want %v", got, want)
		}
	}
	if _, err := record.Quarantine(record.Quarantined{Step: "opened"}, key, at); err == nil {
		t.Error("a quarantine without uid was recorded")
	}
}
