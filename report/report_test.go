package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/finding"
)

func reason(s string) *string { return &s }

func object(name string, fs ...finding.Finding) Object {
	for i := range fs {
		fs[i].Subject = finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "dev", Name: name}
		fs[i].Location = finding.Location{File: "a.yaml", Line: i + 1, Column: 3}
		fs[i].Title, fs[i].Wanted, fs[i].Fix = "A rule", "something", "do it"
	}
	return Object{Findings: fs}
}

// run is a report of one object of each verdict.
func run(all bool) *Report {
	r := &Report{All: all, Quotes: map[finding.Location]Quote{{File: "a.yaml", Line: 1, Column: 3}: NewQuote("  a: b", 3)}}
	r.Add(object("refused",
		finding.Finding{Source: "catalogue", Control: "RF-WL-01", Outcome: finding.Fail, Action: finding.Deny, Found: "x", Path: "/a"},
		finding.Finding{Control: "RF-WL-01", Outcome: finding.Fail, Action: finding.Deny, Found: "y", Path: "/b"},
		finding.Finding{Control: "RF-WL-02", Outcome: finding.Fail, Action: finding.Warn, Found: "z", Path: "/c"},
		finding.Finding{Control: "RF-WL-03", Outcome: finding.Pass}))
	r.Add(object("warned",
		finding.Finding{Control: "RF-WL-01", Outcome: finding.Fail, Action: finding.Audit, Found: "x", Path: "/a"},
		finding.Finding{Control: "RF-WL-02", Outcome: finding.Fail, Action: finding.Deny, Found: "x", Path: "/a", Waiver: &finding.Waiver{Name: "w", Expires: "2027-01-01T00:00:00Z"}}))
	r.Add(object("undecided",
		finding.Finding{Control: "RF-WL-01", Outcome: finding.Errored, Reason: reason("no such key: \x1bx")},
		finding.Finding{Control: "RF-WL-02", Outcome: finding.Pass}))
	r.Add(object("passed",
		finding.Finding{Control: "RF-WL-01", Outcome: finding.Pass},
		finding.Finding{Control: "RF-WL-02", Outcome: finding.NotApplicable, Reason: reason("platform-not-supplied")},
		finding.Finding{Control: "RF-WL-03", Outcome: finding.NotApplicable}))
	r.Add(Object{})
	r.Summary.Files, r.Summary.Invalid, r.Summary.Exit = 1, 2, 2
	r.Finish()
	return r
}

func TestCounts(t *testing.T) {
	r := run(false)
	want := finding.Summary{Objects: 5, Files: 1, Pass: 3, Fail: 1, Warned: 2, Waived: 1, Errored: 1, Skipped: 1, Invalid: 2, Exit: 2}
	if diff := cmp.Diff(want, r.Summary); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Verdicts{Refused: 1, Undecided: 1, Warned: 1, Passed: 1, Unjudged: 1}, r.Verdicts); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
	if len(r.Findings) != 6 || len(run(true).Findings) != 11 {
		t.Errorf("%d findings, with all %d; want 6 and 11", len(r.Findings), len(run(true).Findings))
	}
	zero := &Report{}
	zero.Add(Object{Findings: []finding.Finding{{Control: "RF-WL-01"}}})
	if zero.Verdicts.Refused != 1 || zero.Summary.Errored != 1 {
		t.Errorf("a finding without an outcome counts as %+v %+v", zero.Verdicts, zero.Summary)
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	if err := Text(&b, run(true), false); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		"Pod refused in dev (a.yaml): refused\n\n  RF-WL-01 A rule (, refused)\n    --> a.yaml:1:3\n    1 |   a: b\n      |   ^\n    found:  x at /a\n    wanted: something\n    fix:    do it\n    more:   ringfence explain RF-WL-01\n",
		"RF-WL-02 A rule (, warning)", "RF-WL-01 A rule (, recorded only)", "RF-WL-02 A rule (, waived by w until 2027-01-01T00:00:00Z)",
		"RF-WL-01 A rule (, could not be decided)", "reason: no such key: �x",
		"RF-WL-02 A rule: not judged (platform-not-supplied)\n  RF-WL-03 A rule: does not speak of this kind\n",
		"Pod warned in dev (a.yaml): let through with warnings\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("text lacks %q:\n%s", want, got)
		}
	}
	if want := "\n5 objects in 1 file: 1 refused, 1 undecided, 1 let through with warnings, 1 passed, 1 not judged; 6 findings; 2 invalid inputs\n"; !strings.HasSuffix(got, want) {
		t.Errorf("text does not end in %q", want)
	}
	if strings.Contains(got, "\x1b") {
		t.Error("text without colour has escape codes")
	}
	b.Reset()
	if err := Text(&b, run(false), true); err != nil || !strings.Contains(b.String(), "\x1b[31;1mRF-WL-01\x1b[0m") {
		t.Errorf("text with colour (%v): %q", err, b.String())
	}
	b.Reset()
	if err := Text(&b, &Report{}, false); err != nil || b.String() != "no objects in no files; no findings\n" {
		t.Errorf("text of nothing: %q", b.String())
	}
}

// TestJSON holds the form to its promise: every key, always; null, never absent; an empty list, never null.
func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := JSON(&b, run(true)); err != nil {
		t.Fatal(err)
	}
	var got struct {
		SchemaVersion string
		Findings      []map[string]any
		Summary       map[string]any
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.SchemaVersion != finding.SchemaVersion || len(got.Findings) != 11 || got.Summary["exit"] != 2.0 || !bytes.HasSuffix(b.Bytes(), []byte("}\n")) {
		t.Errorf("JSON = %s", b.Bytes())
	}
	text, err := json.Marshal(finding.Finding{})
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(text, &keys); err != nil {
		t.Fatal(err)
	}
	for _, f := range got.Findings {
		for key := range keys {
			if _, there := f[key]; !there {
				t.Errorf("a finding lacks the key %s", key)
			}
		}
		if len(f) != len(keys) {
			t.Errorf("a finding has %d keys, want %d", len(f), len(keys))
		}
		if (f["found"] == nil) != (f["outcome"] != "Fail") {
			t.Errorf("found is %v where the outcome is %v", f["found"], f["outcome"])
		}
	}
	b.Reset()
	if err := JSON(&b, &Report{}); err != nil || !strings.Contains(b.String(), `"findings": [],`) {
		t.Errorf("JSON of nothing (%v): %s", err, b.String())
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestWriteErrors(t *testing.T) {
	if JSON(full{}, run(true)) == nil || Text(full{}, run(true), false) == nil {
		t.Error("a writer that fails is not reported")
	}
}

func TestNewQuote(t *testing.T) {
	long := strings.Repeat("é", 500) + "X" + strings.Repeat("é", 500)
	for _, test := range []struct {
		line   string
		column int
		want   string
	}{
		{"  a: b", 3, "a"}, {"\ta: b", 2, "a"}, {long, 501, "X"}, {"X" + long, 1, "X"}, {long + "X", 1002, "X"}, {"\x1b[X", 3, "X"},
	} {
		q := NewQuote(test.line, test.column)
		runes := []rune(q.Text)
		if len(runes) > maxQuote || q.Column < 1 || q.Column > len(runes) || string(runes[q.Column-1]) != test.want || slices.Contains(runes, '\x1b') {
			t.Errorf("NewQuote(%.20q, %d) = %q, column %d", test.line, test.column, q.Text, q.Column)
		}
	}
	for _, column := range []int{-1, 0, 7, 1 << 30} {
		if q := NewQuote("ab", column); q.Column < 1 || q.Column > 3 {
			t.Errorf("NewQuote beyond the line has column %d", q.Column)
		}
	}
}
