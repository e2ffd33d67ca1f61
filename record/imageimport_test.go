package record_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/record"
)

// TestImageImport: a step is one record however often it is told, nobody's name is in it, and long lists are cut and counted.
func TestImageImport(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	step := record.ImportedImage{Step: "imported", Namespace: "payments-dev", Name: "redis-7", UID: "u", Source: "docker.io/library/redis:7", Destination: "registry.bank.example/ext/redis:7",
		Digest: "sha256:" + strings.Repeat("a", 64), Ticket: "CHG1", Signature: "sha256:" + strings.Repeat("b", 64), By: "nina", RequestedBy: "nina", ApprovedBy: "erin"}
	for n := range 60 {
		step.Findings = append(step.Findings, fmt.Sprint("finding ", n))
	}
	first, err := record.ImageImport(step, []byte("key"), at)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := record.ImageImport(step, []byte("key"), at.Add(time.Hour)); err != nil || again.ID != first.ID {
		t.Errorf("the same step has two ids (%v)", err)
	}
	refused := record.ImportedImage{Step: "refused", Source: step.Source, Destination: step.Destination, Digest: step.Digest, Why: "no scan"}
	second, err := record.ImageImport(refused, nil, at)
	if err != nil {
		t.Fatal(err)
	}
	if later, err := record.ImageImport(refused, nil, at.Add(time.Second)); err != nil || later.ID == second.ID {
		t.Errorf("two refusals have one id (%v)", err)
	}
	schema, _ := record.KindSchema("image-import.v1")
	for _, r := range []record.Record{first, second} {
		var body any
		if err := json.Unmarshal(r.Body, &body); err != nil {
			t.Fatal(err)
		}
		if err := compileKind(t, "image-import.v1", schema).Validate(body); err != nil {
			t.Error(err)
		}
	}
	if text := string(first.Body); strings.Contains(text, "nina") || strings.Contains(text, "erin") || !strings.Contains(text, `"more":10`) {
		t.Errorf("body %s", text)
	}
	if _, err := record.ImageImport(record.ImportedImage{Step: "imported"}, nil, at); !errors.Is(err, record.ErrInvalid) {
		t.Errorf("an import without a digest: %v", err)
	}
}
