package record_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// TestScanFindings: many changes become records that the ledger takes and that keep to their schema, each change in one of them.
func TestScanFindings(t *testing.T) {
	text, ok := record.KindSchema("scan-finding.v1")
	if !ok {
		t.Fatal("no such kind")
	}
	schema := compileKind(t, "scan-finding.v1", text)
	var all []record.ScanChange
	for i := range 900 {
		all = append(all, record.ScanChange{What: "opened", Subject: finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "ns", Name: fmt.Sprint("p", i)},
			Control: "example-control", Outcome: finding.Fail, Value: strings.Repeat("\u0007<", i), Path: strings.Repeat("/ü", i)})
	}
	at, seen, ids := time.Date(2026, 5, 1, 0, 0, 0, 7, time.UTC), 0, map[string]bool{}
	for left := all; len(left) > 0; {
		r, n, err := record.ScanFindings(left, strings.Repeat("a", 64), at)
		if err != nil || n < 1 || ids[r.ID] || len(r.Body) > 62_000 {
			t.Fatalf("%d of %d, %d bytes, id twice %v: %v", n, len(left), len(r.Body), ids[r.ID], err)
		}
		again, _, _ := record.ScanFindings(left, strings.Repeat("a", 64), at)
		if again.ID != r.ID {
			t.Error("the same changes have two ids")
		}
		body, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.Body))
		if err == nil {
			err = schema.Validate(body)
		}
		if err != nil {
			t.Fatal(err)
		}
		var b struct {
			Changes []struct{ Subject finding.Subject }
		}
		if err := json.Unmarshal(r.Body, &b); err != nil || len(b.Changes) != n || b.Changes[0].Subject.Name != fmt.Sprint("p", seen) {
			t.Fatalf("the body has %d changes from %v on, want %d from p%d: %v", len(b.Changes), b.Changes[0].Subject, n, seen, err)
		}
		seen, ids[r.ID], left = seen+n, true, left[n:]
	}
	if seen != len(all) || len(ids) < 2 {
		t.Errorf("%d changes in %d records", seen, len(ids))
	}
	if _, _, err := record.ScanFindings(nil, "", at); err == nil {
		t.Error("a record of nothing")
	}
}
