package report

import (
	"encoding/json"
	"strings"
	"testing"

	"ringfence.dev/ringfence/finding"
)

// TestBaseline shows what of a run is known to another.
func TestBaseline(t *testing.T) {
	fail := finding.Finding{Control: "RF-WL-01", Outcome: finding.Fail, Action: finding.Deny, Fingerprint: "a"}
	errored, waived := fail, fail
	errored.Outcome, waived.Waiver = finding.Errored, &finding.Waiver{Name: "w"}
	for _, test := range []struct {
		name        string
		before, now []finding.Finding
		fresh, gone int
	}{
		{"nothing", nil, nil, 0, 0},
		{"the same", []finding.Finding{fail}, []finding.Finding{fail}, 0, 0},
		{"two where one was", []finding.Finding{fail}, []finding.Finding{fail, fail}, 1, 0},
		{"one where two were", []finding.Finding{fail, fail}, []finding.Finding{fail}, 0, 1},
		{"fails, was undecided", []finding.Finding{errored}, []finding.Finding{fail}, 1, 1},
		{"fails, was waived", []finding.Finding{waived}, []finding.Finding{fail}, 1, 1},
		{"waived, failed", []finding.Finding{fail}, []finding.Finding{waived}, 0, 0},
		{"waived twice", []finding.Finding{waived}, []finding.Finding{waived}, 0, 0},
	} {
		before := &Report{}
		for _, f := range test.before {
			before.Add(Object{Findings: []finding.Finding{f}})
		}
		baseline, err := ReadBaseline(strings.NewReader(written(t, JSON, before)))
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		now := &Report{Baseline: baseline}
		for _, f := range test.now {
			now.Add(Object{Findings: []finding.Finding{f}})
		}
		if len(now.Findings) != test.fresh || baseline.Gone() != test.gone || baseline.Known() != len(test.now)-test.fresh {
			t.Errorf("%s: %d new, %d known, %d gone; want %d new, %d gone", test.name, len(now.Findings), baseline.Known(), baseline.Gone(), test.fresh, test.gone)
		}
		if now.Summary.Fail+now.Summary.Errored+now.Summary.Waived != test.fresh || now.Verdicts.Known != len(test.now)-test.fresh {
			t.Errorf("%s: counts %+v %+v", test.name, now.Summary, now.Verdicts)
		}
	}
}

// FuzzBaseline shows that no bytes make ReadBaseline panic, or take what it should refuse.
func FuzzBaseline(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `[]`, `{"schemaVersion": "ringfence.dev/findings/v1", "findings": []}`,
		`{"findings": [{"outcome": "Fail", "fingerprint": "a", "waiver": {}}], "schemaVersion": "ringfence.dev/findings/v1", "summary": {}}`,
		`{"findings": [], "findings": []}`, `{"baseline": {}}`, `{"schemaVersion": 1}`, strings.Repeat("[", 20000),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ReadBaseline(strings.NewReader(text))
		if err != nil {
			if b != nil || finding.Clean(err.Error()) != err.Error() {
				t.Errorf("error %q, baseline %v", err, b)
			}
			return
		}
		if !json.Valid([]byte(text)) || b.Known() != 0 {
			t.Errorf("%q is a baseline", text)
		}
	})
}
