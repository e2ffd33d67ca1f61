package forward_test

import (
	"encoding/json"
	"strings"
	"testing"

	"ringfence.dev/ringfence/finding"
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

// TestCanary: a run in which something was let in, or refused, against the rules is an alert for each such object; one in which all held alarms nobody.
func TestCanary(t *testing.T) {
	const let, good, silent = `{"namespace":"pay-prod","control":"RF-WL-02","kind":"Deployment","outcome":"let-in","detail":"the API server would have stored it"}`,
		`{"namespace":"pay-dev","kind":"Deployment","outcome":"refused-good","detail":"denied request"}`, `{"namespace":"pay-dev","control":"RF-WL-01","kind":"Pod","outcome":"not-asked","detail":"no answer in time"}`
	for body, want := range map[string][]finding.Severity{
		`{"why":"hourly","held":70,"letIn":0,"refusedGood":0,"notAsked":1,"faults":[` + silent + `]}`:                          {""},
		`{"why":"change","held":60,"letIn":1,"refusedGood":1,"notAsked":1,"faults":[` + let + `,` + good + `,` + silent + `]}`: {finding.Critical, finding.High},
		`{"letIn":3,"faults":[]}`: {finding.Critical},
		`{"letIn":"many"}`:        {finding.Critical},
	} {
		all, err := forward.Events(record.Record{ID: "a", Kind: "canary.v1", Body: json.RawMessage(body)}, nil)
		if err != nil || len(all) != len(want) {
			t.Fatalf("%s: %d events, %v; want %d", body, len(all), err, len(want))
		}
		for i, e := range all {
			if e.Severity != want[i] || (e.Class == forward.Detection) != (want[i] != "") {
				t.Errorf("%s: event %d is of class %d and severity %q; want an alert of severity %q", body, i, e.Class, e.Severity, want[i])
			}
		}
		if len(want) == 2 && (all[0].Message != "RF-WL-02 An object was let in that must be refused: the API server would have stored it" || all[0].Finding.Subject.Namespace != "pay-prod" || all[0].ID == all[1].ID) {
			t.Errorf("%+v", all)
		}
	}
}
