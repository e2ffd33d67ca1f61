package report

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/finding"
)

// Text writes the report for people: the findings of each object together, with the line of the file that each points
// at, then one line of summary.
func Text(w io.Writer, r *Report, colour bool) error {
	t := &text{Writer: bufio.NewWriter(w), colour: colour}
	for _, object := range byObject(r.Findings) {
		t.object(object, r.Quotes)
	}
	t.printf("%s\n", Summary(r))
	return t.Flush()
}

// byObject gathers findings by file and subject, in the order of each one's first finding.
func byObject(fs []*finding.Finding) [][]finding.Finding {
	type key struct {
		source  string
		subject finding.Subject
	}
	index := map[key]int{}
	var groups [][]finding.Finding
	for _, f := range fs {
		k := key{f.Location.Source(), f.Subject}
		i, known := index[k]
		if !known {
			i = len(groups)
			index[k], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], *f)
	}
	return groups
}

// text is the page being written. Its write errors surface in Flush.
type text struct {
	*bufio.Writer
	colour bool
}

// The colours, as ANSI escape codes.
const (
	bold   = "1"
	red    = "31;1"
	yellow = "33"
	faint  = "2"
)

func (t *text) paint(code, s string) string {
	if !t.colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (t *text) printf(format string, args ...any) { fmt.Fprintf(t, format, args...) }

func (t *text) object(fs []finding.Finding, quotes map[finding.Location]Quote) {
	s, v := fs[0].Subject, verdict(fs)
	name := Inert(s.Kind + " " + s.Name)
	if s.Name == "" {
		name = Inert(s.Kind) + " without a name"
	}
	if s.Namespace != "" {
		name += " in " + Inert(s.Namespace)
	}
	code := bold
	switch v {
	case refused, undecided:
		code = red
	case warned:
		code = yellow
	}
	from := fs[0].Location.Source()
	if from == "" { // of a cluster
		name, from = Inert(s.String()), s.APIVersion
	}
	t.printf("%s (%s): %s\n", t.paint(bold, name), Inert(from), t.paint(code, v))
	short := false
	for i, f := range fs {
		switch f.Outcome {
		case finding.Pass, finding.NotApplicable:
			short = true
			t.printf("\n  %s %s: %s", Inert(f.Control), Inert(f.Title), outcome(f))
		default:
			if short {
				t.printf("\n")
			}
			short = false
			if i == 0 || !together(fs[i-1], f) {
				t.head(f, quotes)
			}
			t.found(f)
			if i == len(fs)-1 || !together(f, fs[i+1]) {
				t.advice(f)
			}
		}
	}
	if short {
		t.printf("\n")
	}
	t.printf("\n")
}

// outcome is what a control says where there is nothing to quote.
func outcome(f finding.Finding) string {
	if f.Outcome == finding.Pass {
		return passed
	}
	if f.Reason == nil {
		return "does not speak of this kind"
	}
	return unjudged + " (" + Inert(*f.Reason) + ")"
}

// together reports whether two findings are told as one: of one control at one place of the file, as several missing
// fields of one parent are.
func together(a, b finding.Finding) bool {
	return a.Control == b.Control && a.Wanted == b.Wanted && a.Location == b.Location && a.Outcome == b.Outcome && a.Action == b.Action && a.Waiver == b.Waiver &&
		(a.Outcome != finding.Fail || why(a) == why(b))
}

// why is a finding's reason, "" where it has none.
func why(f finding.Finding) string {
	if f.Reason == nil {
		return ""
	}
	return *f.Reason
}

// head says which control speaks and shows the line it speaks of.
func (t *text) head(f finding.Finding, quotes map[finding.Location]Quote) {
	code, does := red, "refused"
	switch {
	case f.Waiver != nil:
		code, does = yellow, "waived by "+Inert(f.Waiver.Name)+" until "+Inert(f.Waiver.Expires)
	case f.Outcome != finding.Fail:
		does = "could not be decided"
	case !f.Blocks():
		code, does = yellow, map[finding.Action]string{finding.Warn: "warning", finding.Audit: "recorded only"}[f.Action]
	}
	t.printf("\n  %s %s (%s, %s)\n", t.paint(code, Inert(f.Control)), t.paint(bold, Inert(f.Title)), f.Severity, does)
	if f.Location.File != "" {
		t.printf("    %s %s\n", t.paint(faint, "-->"), Inert(f.Location.String()))
	}
	if q, ok := quotes[f.Location]; ok {
		margin := strconv.Itoa(f.Location.Line)
		t.printf("    %s %s %s\n", margin, t.paint(faint, "|"), Inert(q.Text))
		t.printf("    %s %s %s%s\n", strings.Repeat(" ", len(margin)), t.paint(faint, "|"), strings.Repeat(" ", q.Column-1), t.paint(code, "^"))
	}
}

// found says what is there, or why that could not be said.
func (t *text) found(f finding.Finding) {
	if f.Outcome != finding.Fail {
		if f.Reason != nil {
			t.printf("    reason: %s\n", Inert(*f.Reason))
		}
		return
	}
	at := ""
	if f.Path != "" {
		at = " at " + Inert(f.Path)
	}
	t.printf("    found:  %s%s\n", Inert(finding.Value(f.Found)), at)
}

// advice says what is wanted and where to read on. Policies of others have neither a fix nor an explanation.
func (t *text) advice(f finding.Finding) {
	for _, line := range [][2]string{{"wanted: ", f.Wanted}, {"fix:    ", f.Fix}} {
		if line[1] != "" {
			t.printf("    %s%s\n", line[0], Inert(line[1]))
		}
	}
	if f.Outcome == finding.Fail && f.Reason != nil {
		t.printf("    left:   %s\n", Inert(*f.Reason))
	}
	if f.Change != nil {
		t.printf("    action: %s\n", Inert(*f.Change))
	}
	if f.Source != "vap" && f.Source != "kyverno" {
		t.printf("    more:   ringfence explain %s\n", f.Control)
	}
}

// Summary is the run on one line: 3 objects in 2 files: 2 refused, 1 passed; 5 findings.
func Summary(r *Report) string {
	var verdicts []string
	for _, v := range []struct {
		n    int
		name string
	}{
		{r.Verdicts.Refused, refused}, {r.Verdicts.Undecided, undecided}, {r.Verdicts.Warned, warned},
		{r.Verdicts.Known, known}, {r.Verdicts.Passed, passed}, {r.Verdicts.Unjudged, unjudged},
	} {
		if v.n > 0 {
			verdicts = append(verdicts, fmt.Sprintf("%d %s", v.n, v.name))
		}
	}
	line := plural(r.Summary.Objects, "object") + " in " + plural(r.Summary.Files, "file")
	if r.Cluster != "" {
		line = plural(r.Summary.Objects, "object") + " in cluster " + Inert(finding.Value(r.Cluster))
	}
	if len(verdicts) > 0 {
		line += ": " + strings.Join(verdicts, ", ")
	}
	findings := 0
	for _, f := range r.Findings {
		if f.Outcome != finding.Pass && f.Outcome != finding.NotApplicable {
			findings++
		}
	}
	line += "; " + plural(findings, "finding")
	if r.Baseline != nil {
		line += fmt.Sprintf("; baseline: %d known left out, %d gone", r.Baseline.Known(), r.Baseline.Gone())
	}
	if r.Summary.Invalid > 0 {
		line += "; " + plural(r.Summary.Invalid, "invalid input")
	}
	if r.Interrupted {
		line += "; interrupted, the rest was not judged"
	}
	return line
}

func plural(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun + "s"
	case 1:
		return "1 " + noun
	default:
		return strconv.Itoa(n) + " " + noun + "s"
	}
}
