//go:build unix

package cli

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

// TestEvidenceDryRuns: a refusal of a dry run is one that would have been; it is told apart, counted apart, and says nothing of
// what became of an object.
func TestEvidenceDryRuns(t *testing.T) {
	dir := t.TempDir()
	key, err := ledger.NewKey(filepath.Join(dir, "key"), "ringfence.dev/ledger/test")
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ledger.Config{Dir: filepath.Join(dir, "ledger"), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for i, dry := range []bool{false, true, true, true} {
		o := &finding.Observed{Time: noon.Add(time.Duration(i) * time.Minute), User: "jane", Operation: "CREATE", Refused: i < 3, DryRun: dry}
		f := finding.Finding{Control: "RF-WL-05", Outcome: finding.Fail, Observed: o, Subject: finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "payments-dev", Name: "a"}}
		r, err := record.Refusal([]finding.Finding{f}, strings.Repeat("0", 64), []byte("key"), "webhook", o.Time)
		if err != nil {
			t.Fatal(err)
		}
		r.Cluster, r.Producer, r.Seq = "local", "audit", uint64(i)+1
		if _, err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args  []string
		code  int
		wants []string
	}{
		{[]string{"list"}, 0, []string{"native-refusal.v1  refused CREATE", "native-refusal.v1  dry run refused CREATE", "dry run let through CREATE"}},
		{[]string{"show", "1"}, 0, []string{`"dryRun": true`}},
		{[]string{"ask", "refused"}, 0, []string{"2 objects and people refused, 1 of them dry runs; 1 dry runs were warned of; 0 requests", "  would have refused Pod payments-dev/a",
			"2 times since", "a dry run, nothing would have been stored", "no later record of it"}},
		{[]string{"ask", "refused", "-o", "json"}, 0, []string{`"warnedDryRuns": 1`}},
		{[]string{"ask", "in-force", "RF-WL-05", "--at", "2026-11-21"}, 1, []string{"3 refused, 1 warned of, 3 of them dry runs"}},
	} {
		got := say(t, test.code, append(test.args, "--ledger", dir)...)
		for _, want := range test.wants {
			if !strings.Contains(got, want) {
				t.Errorf("%v says\n%s\nwant %s", test.args, got, want)
			}
		}
	}
}
