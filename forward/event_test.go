package forward_test

import (
	"encoding/json"
	"strings"
	"testing"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/record"
)

// TestDryRun: whoever reads an event sees that nothing would have been stored.
func TestDryRun(t *testing.T) {
	for body, dry := range map[string]bool{
		`{"refused":true,"dryRun":true,"notPassed":[{"control":"RF-WL-05","outcome":"Fail","action":"Deny"}]}`: true,
		`{"refused":true,"dryRun":true,"notPassed":[]}`:                                                        true,
		`{"refused":true,"notPassed":[{"control":"RF-WL-05","outcome":"Fail","action":"Deny"}]}`:               false,
	} {
		all, err := forward.Events(record.Record{ID: "a", Kind: "native-refusal.v1", Body: json.RawMessage(body)}, nil)
		if err != nil || len(all) != 1 || all[0].DryRun != dry || strings.HasPrefix(all[0].Message, "dry run: ") != dry {
			t.Errorf("%s: %+v, %v; want one event, a dry run: %t", body, all, err, dry)
		}
	}
}
