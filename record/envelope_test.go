package record_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/record"
)

func TestValidate(t *testing.T) {
	good := record.Record{ID: "audit:7f3e", Cluster: "local", Producer: "audit", Seq: 1, Time: noon, Kind: "native-refusal.v1",
		CatalogueDigest: "sha256:" + strings.Repeat("0a", 32), Body: json.RawMessage(`{"user":"a"}`)}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for field, spoil := range map[string]func(*record.Record){
		"id":              func(r *record.Record) { r.ID = "a/../b" },
		"cluster":         func(r *record.Record) { r.Cluster = "Prod" },
		"producer":        func(r *record.Record) { r.Producer = "" },
		"seq":             func(r *record.Record) { r.Seq = 0 },
		"time":            func(r *record.Record) { r.Time = noon.In(time.FixedZone("CET", 3600)) },
		"kind":            func(r *record.Record) { r.Kind = "native-refusal.v1\n" },
		"catalogueDigest": func(r *record.Record) { r.CatalogueDigest = "sha256:1" },
		"body":            func(r *record.Record) { r.Body = json.RawMessage(`[]`) },
	} {
		bad := good
		spoil(&bad)
		if err := bad.Validate(); !errors.Is(err, record.ErrInvalid) || !strings.Contains(err.Error(), " "+field+" is ") {
			t.Errorf("a record with a wrong %s: %v", field, err)
		}
	}
}
