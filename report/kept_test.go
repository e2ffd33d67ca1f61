package report_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/report"
)

// TestKeep: a report that is kept lists the worst, counts all, says how many it leaves out, and is the same bytes for the same findings.
func TestKeep(t *testing.T) {
	var all []finding.Finding
	add := func(n int, severity finding.Severity, action finding.Action, outcome finding.Outcome) {
		for i := range n {
			name := string(severity) + "-" + string(action) + "-" + string(outcome) + "-" + string(rune('a'+i))
			all = append(all, finding.Finding{Control: "RF-WL-01", Rule: "RF-WL-01", Severity: severity, Action: action, Outcome: outcome,
				Subject: finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: name}})
		}
	}
	add(3, finding.Low, finding.Deny, finding.Fail)
	all[0].Message, all[1].Message, all[1].Subject = "found a at /spec", "found b at /spec", all[0].Subject // one place, two values
	add(2, finding.Critical, finding.Warn, finding.Fail)
	add(1, finding.Critical, finding.Deny, finding.Errored)
	add(2, finding.Critical, finding.Deny, finding.Fail)
	write := func(limit int) (string, int) {
		t.Helper()
		var out bytes.Buffer
		left, err := report.Keep(&out, report.OpenReportKinds(), "shop", all, limit)
		if err != nil {
			t.Fatal(err)
		}
		return out.String(), left
	}
	text, left := write(4)
	if left != 4 || strings.Count(text, "- source: ") != 4 || !strings.Contains(text, "summary: {pass: 0, fail: 5, warn: 2, error: 1, skip: 0}\n") {
		t.Errorf("%d left out of\n%s", left, text)
	}
	at := -1
	for _, want := range []string{"critical-Deny-Fail-a", "critical-Deny-Fail-b", "critical-Deny-Errored-a", "critical-Warn-Fail-a"} {
		now := strings.Index(text, want)
		if now <= at {
			t.Errorf("%s is at %d, want it after %d in\n%s", want, now, at, text)
		}
		at = now
	}
	whole, _ := write(100)
	slices.Reverse(all)
	if again, _ := write(4); again != text {
		t.Errorf("in another order the same findings are\n%s", again)
	}
	if again, _ := write(100); again != whole {
		t.Errorf("in another order all findings are\n%s\nnot\n%s", again, whole)
	}
	if text, left := write(100); left != 0 || strings.Count(text, "- source: ") != 8 {
		t.Errorf("with room for all, %d are left out of\n%s", left, text)
	}
	for range 40 {
		add(10, finding.High, finding.Deny, finding.Fail)
	}
	if text, left := write(100_000); left != len(all)-report.MaxKept || strings.Count(text, "- source: ") != report.MaxKept {
		t.Errorf("without a limit, %d of %d are left out", left, len(all))
	}
	if _, err := report.Keep(&bytes.Buffer{}, report.OpenReportKinds(), "Not A Name", all, 1); err == nil {
		t.Error("a report of what cannot be a namespace was written")
	}
}
