package attack

import (
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/attempt"
)

var update = flag.Bool("update", false, "write the counts of docs/attack-report.md anew")

const (
	report = "../../docs/attack-report.md"
	// enough is how many ways round the controls are tried at least.
	enough = 150
	// countsBegin and countsEnd are the lines of the report between which the counts stand.
	countsBegin, countsEnd = "<!-- counts: go test -run TestReport ./test/attack -update -->\n", "<!-- end of counts -->\n"
)

var sender = regexp.MustCompile(`(?m)^as: "?([a-z-]+)`)

// senders are all who send anything in a corpus.
func sendersOf(t *testing.T, tree fs.FS) (all []string) {
	t.Helper()
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(tree, name)
		for _, m := range sender.FindAllSubmatch(text, -1) {
			all = append(all, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// tally is what one folder of a corpus comes to.
type tally struct {
	attacks, requests, refused int
	controls                   []string
	open                       []string // ways that are let in and not closed
}

// count counts the folders of a corpus.
func count(t *testing.T, dir string) map[string]*tally {
	t.Helper()
	tree := os.DirFS(dir)
	all, err := attempt.Read(tree, sendersOf(t, tree)...)
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]*tally{}
	for _, s := range all {
		of := folders[filepath.Dir(s.File)]
		if of == nil {
			of = &tally{}
			folders[filepath.Dir(s.File)] = of
		}
		of.attacks++
		for _, step := range s.Steps {
			of.requests++
			if step.Want != attempt.LetIn {
				of.refused++
			}
			if strings.HasPrefix(step.Because, "OPEN") {
				of.open = append(of.open, fmt.Sprintf("`%s`: %s", s.File, strings.TrimPrefix(step.Because, "OPEN: ")))
			}
			for id := range strings.SplitSeq(step.Want, " or ") {
				if strings.HasPrefix(id, "RF-") {
					of.controls = append(of.controls, id)
				}
			}
		}
	}
	return folders
}

// counts are the tables of the report, and how many attacks there are.
func counts(t *testing.T) (string, int) {
	t.Helper()
	var b strings.Builder
	b.WriteString("| what is attacked | attacks | requests | must be refused | by controls |\n|---|---|---|---|---|\n")
	sum := &tally{}
	for _, corpus := range []struct{ dir, name string }{{"testdata/corpus", ""}, {"../e2e/isolation/testdata/attempts", "another tenant: "}} {
		folders := count(t, corpus.dir)
		names := make([]string, 0, len(folders))
		for name := range folders {
			names = append(names, name)
		}
		slices.SortFunc(names, cmp.Compare)
		for _, name := range names {
			f := folders[name]
			fmt.Fprintf(&b, "| %s%s | %d | %d | %d | %d |\n", corpus.name, name, f.attacks, f.requests, f.refused, distinct(f.controls))
			sum.attacks, sum.requests, sum.refused = sum.attacks+f.attacks, sum.requests+f.requests, sum.refused+f.refused
			sum.controls, sum.open = append(sum.controls, f.controls...), append(sum.open, f.open...)
		}
	}
	fmt.Fprintf(&b, "| **all** | **%d** | **%d** | **%d** | **%d** |\n\nLet in, known, and not closed: %d.\n", sum.attacks, sum.requests, sum.refused, distinct(sum.controls), len(sum.open))
	for _, o := range sum.open {
		fmt.Fprintf(&b, "\n- %s\n", o)
	}
	return b.String(), sum.attacks
}

func distinct(ids []string) int {
	slices.Sort(ids)
	return len(slices.Compact(ids))
}

// TestReport: the counts of the report are those of the corpora, there are enough attacks, and none has an answer that anything would satisfy.
func TestReport(t *testing.T) {
	want, attacks := counts(t)
	if attacks < enough {
		t.Errorf("%d attacks, want %d at least", attacks, enough)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), countsBegin)
	got, after, ok2 := strings.Cut(rest, countsEnd)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the lines %q and %q", report, countsBegin, countsEnd)
	}
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("%s has other counts than the corpora; fix: go test -run TestReport ./test/attack -update", report)
	}
	if err := os.WriteFile(report, []byte(before+countsBegin+want+countsEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
