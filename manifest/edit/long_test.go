package edit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/fix"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/manifest/edit"
)

// TestLongLine edits many objects that stand on one line, as programs write JSON, in time that grows with the text alone.
func TestLongLine(t *testing.T) {
	const pods = 2000
	var b strings.Builder
	b.WriteString(`{"apiVersion":"v1","kind":"List","items":[`)
	for i := range pods {
		fmt.Fprintf(&b, `%s{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a%d","annotations":{"a":"%s"}},"spec":{"hostNetwork":true,"containers":[{"name":"ü","image":"x"}]}}`,
			strings.Repeat(",", min(i, 1)), i, strings.Repeat("x", 1000))
	}
	b.WriteString("]}")
	for doc, err := range manifest.Split(strings.NewReader(b.String()), "f.json") {
		if err != nil {
			t.Fatal(err)
		}
		var asks []edit.Ask
		for o, err := range doc.Objects() {
			if err != nil {
				t.Fatal(err)
			}
			asks = append(asks, edit.Ask{Object: o, Changes: []fix.Change{
				{Pointer: "/spec/hostNetwork", Value: false},
				{Pointer: "/spec/containers/0/securityContext/privileged", Value: false},
			}})
		}
		start := time.Now()
		splices, refused, err := edit.Objects(doc, asks)
		if err != nil || len(refused) > 0 || len(splices) < 2*pods {
			t.Fatalf("%d splices, %d refused: %v", len(splices), len(refused), err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%d objects on one line took %v", pods, took)
		}
	}
}
