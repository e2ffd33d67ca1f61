package report

import (
	"encoding/json"
	"slices"
	"testing"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// sarifLog is what these tests read of a log.
type sarifLog struct {
	Runs []struct {
		Tool struct {
			Driver struct {
				Version string
				Rules   []sarifRule
			}
		}
		Results []sarifResult
	}
}

func readSARIF(t *testing.T, r *Report) (log sarifLog) {
	t.Helper()
	if err := json.Unmarshal([]byte(written(t, SARIF, r)), &log); err != nil {
		t.Fatal(err)
	}
	return log
}

func TestSARIFResults(t *testing.T) {
	r := run(true)
	r.Version = "v1.2.3"
	log := readSARIF(t, r)
	levels := map[string]int{}
	for i, result := range log.Runs[0].Results {
		f := r.Findings[i]
		levels[result.Kind+" "+result.Level]++
		if rule := log.Runs[0].Tool.Driver.Rules[result.RuleIndex]; rule.ID != result.RuleID || rule.ID != f.Control {
			t.Errorf("result %d is of the rule %s, has the index of %s, want %s", i, result.RuleID, rule.ID, f.Control)
		}
		if (len(result.Suppressions) == 1) != (f.Waiver != nil) || result.Suppressions == nil {
			t.Errorf("result %d: suppressions %v, waiver %v", i, result.Suppressions, f.Waiver)
		}
	}
	want := map[string]int{" error": 3, " warning": 1, " note": 2, "pass none": 3, "notApplicable none": 2}
	for key, n := range want {
		if levels[key] != n {
			t.Errorf("%d results are %q, want %d; all: %v", levels[key], key, n, levels)
		}
	}
	if log.Runs[0].Tool.Driver.Version != "v1.2.3" {
		t.Errorf("version %q", log.Runs[0].Tool.Driver.Version)
	}
}

// TestSARIFFiles shows what a file is called: relative to the root where it lies below it.
func TestSARIFFiles(t *testing.T) {
	for file, want := range map[string]sarifArtifact{
		"a/b.yaml":            {"a/b.yaml", "%SRCROOT%"},
		"/src/repo/a b.yaml":  {"a%20b.yaml", "%SRCROOT%"},
		"/src/repo2/a.yaml":   {"file:///src/repo2/a.yaml", ""},
		"c:x.yaml":            {"./c:x.yaml", "%SRCROOT%"},
		"100%.yaml":           {"100%25.yaml", "%SRCROOT%"},
		"https://evil.test/x": {"./https://evil.test/x", "%SRCROOT%"},
		"<stdin>":             {"%3Cstdin%3E", "%SRCROOT%"},
		"../x.yaml":           {"../x.yaml", "%SRCROOT%"},
		"a\n\xff#?.yaml":      {"a%0A%FF%23%3F.yaml", "%SRCROOT%"},
	} {
		s := &sarif{report: &Report{Root: "/src/repo"}}
		if got := s.artifact(file); got != want {
			t.Errorf("artifact(%q) = %v, want %v", file, got, want)
		}
	}
	if got := (&sarif{report: &Report{}}).artifact("/a.yaml").URI; got != "file:///a.yaml" {
		t.Errorf("without a root: %s", got)
	}
	if got := (&sarif{report: &Report{}}).physical(finding.Location{}); got != nil {
		t.Errorf("no file: %v", got)
	}
}

// TestSARIFFingerprint shows that a result keeps its fingerprint where lines move and files get other names, and that no
// other result has it.
func TestSARIFFingerprint(t *testing.T) {
	subject := finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "dev", Name: "a"}
	fingerprint := func(file string, line int, path string) map[string]string {
		r := &Report{}
		r.Add(Object{Findings: []finding.Finding{{Control: "RF-WL-01", Outcome: finding.Fail, Subject: subject, Path: path,
			Location: finding.Location{File: file, Line: line, Column: 1}, Fingerprint: finding.Fingerprint("RF-WL-01", subject, path)}}})
		return readSARIF(t, r).Runs[0].Results[0].Fingerprints
	}
	first, moved, other := fingerprint("a.yaml", 1, "/spec/a"), fingerprint("b/c.yaml", 99, "/spec/a"), fingerprint("a.yaml", 1, "/spec/b")
	const key = "ringfenceFingerprint/v1"
	if first[key] == "" || first[key] != moved[key] || first[key] == other[key] {
		t.Errorf("fingerprints %v, moved %v, of another %v", first, moved, other)
	}
}

// TestSARIFRules shows that a rule has the catalogue's words, and that a policy of others does not borrow them.
func TestSARIFRules(t *testing.T) {
	r := &Report{Controls: []control.Control{{ID: "RF-WL-01", Dir: "pod/no-x", Title: "No x", Why: "x is [bad](worse)", Wanted: "y", Fix: "do_y", Default: finding.Warn,
		Severity: finding.Critical, Sources: []control.Source{{Document: "D", Section: "1"}, {Document: "E", Section: "2", URL: "https://e.example/2"}}}}}
	for _, source := range []string{"catalogue", "vap"} {
		r.Add(Object{Findings: []finding.Finding{{Source: source, Control: "RF-WL-01", Outcome: finding.Fail}}})
	}
	rules := readSARIF(t, r).Runs[0].Tool.Driver.Rules
	if len(rules) != 2 {
		t.Fatalf("%d rules, want 2", len(rules))
	}
	ours, theirs := rules[0], rules[1]
	if ours.Name != "no-x" || ours.Short.Text != "No x" || ours.Full.Text != "x is [bad] (worse)" || ours.Default.Level != "warning" || ours.HelpURI != "https://e.example/2" {
		t.Errorf("rule %+v", ours)
	}
	const page = "# RF-WL-01 No x\n\n**Wanted:** y\n\n**Fix:** do\\_y\n\n**Why:** x is \\[bad\\](worse)\n\n**More:** `ringfence explain RF-WL-01`\n\nSources:\n\n- D, 1\n- E, 2 (<https://e.example/2>)\n"
	if ours.Help.Markdown != page {
		t.Errorf("help %q, want %q", ours.Help.Markdown, page)
	}
	if ours.Property["security-severity"] != "9.5" || theirs.HelpURI != "" || theirs.Help.Markdown != "" || slices.Contains([]string{theirs.Short.Text, theirs.Full.Text}, "No x") {
		t.Errorf("properties %v; rule of others %+v", ours.Property, theirs)
	}
}
