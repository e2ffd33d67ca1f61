package isolation

import (
	"os"
	"testing"

	"ringfence.dev/ringfence/internal/attempt"
)

// attempts makes every attempt of testdata/attempts and compares each answer with the one it must get.
func (b *bed) attempts(t *testing.T) {
	var who []string
	for name := range b.senders {
		who = append(who, name)
	}
	all, err := attempt.Read(os.DirFS("testdata/attempts"), who...)
	if err != nil {
		t.Fatal(err)
	}
	ready, err := attempt.Read(os.DirFS("testdata/ready"), who...)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range attempt.Make(t.Context(), ready, b.senders, 1) {
		if row.Fault != nil {
			t.Fatalf("wait for the rules: %v", row.Fault)
		}
	}
	rows := attempt.Make(t.Context(), all, b.senders, atOnce)
	for _, row := range rows {
		if row.Fault != nil {
			t.Errorf("%s: %v", row.File, row.Fault)
		}
	}
	t.Logf("%d attempts of %d requests: %s", len(all), len(rows), attempt.Tally(rows))
}
