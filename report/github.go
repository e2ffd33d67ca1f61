package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"ringfence.dev/ringfence/finding"
)

// GitHub writes a workflow command of GitHub Actions for each finding, which shows as an annotation at its line, and the
// summary as a line of its own. What is refused or undecided is an error, what is warned of a warning, what is recorded or
// waived a notice; what passed is not there. GitHub shows ten of each level for each step.
func GitHub(w io.Writer, r *Report) error {
	out := bufio.NewWriter(w)
	for _, fault := range r.Faults {
		title := "input cannot be used"
		if fault.Location.File == "" {
			title = "not everything was judged"
		}
		annotate(out, "error", fault.Location, title, fault.Message)
	}
	for _, f := range r.Findings {
		if f.Outcome != finding.Pass && f.Outcome != finding.NotApplicable {
			text := Told(f)
			if f.Location.File == "" { // nothing else names the object
				text = f.Subject.String() + ": " + text
			}
			annotate(out, githubLevel(f), f.Location, f.Control+" "+f.Title, text)
		}
	}
	fmt.Fprintln(out, Summary(r)) // of our own words and numbers
	return out.Flush()
}

func githubLevel(f *finding.Finding) string {
	switch levelOf(f) {
	case levelNote:
		return "notice"
	case levelWarning:
		return "warning"
	default:
		return "error"
	}
}

func annotate(out *bufio.Writer, level string, at finding.Location, title, message string) {
	var place string
	if at.File != "" {
		place = "file=" + property(slashed(at.File)) + ","
		if at.InFile() {
			place += fmt.Sprintf("line=%d,col=%d,", at.Line, at.Column)
		}
	}
	fmt.Fprintf(out, "::%s %stitle=%s::%s\n", level, place, property(title), data(message))
}

// data escapes the text of a workflow command, and property a value before it, as GitHub's own toolkit does. Control
// characters are replaced first: what is left to escape is "%" and what ends a property.
func data(s string) string {
	return strings.ReplaceAll(Inert(s), "%", "%25")
}

var propertyEscapes = strings.NewReplacer("%", "%25", ":", "%3A", ",", "%2C")

func property(s string) string { return propertyEscapes.Replace(Inert(s)) }
