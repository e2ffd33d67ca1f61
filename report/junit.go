package report

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"

	"ringfence.dev/ringfence/finding"
)

// JUnit writes a document of the form that Ant made and build services read: a test suite for each file, or each namespace
// of a cluster, in it a test case for each control that says something of an object, and one for each object with nothing
// but passes.
//
// A failure is what fails the run, an error what could not be decided or read. What is warned of, recorded or waived is
// skipped: the form knows no warning, and it must not look like a pass. Nothing was timed.
func JUnit(w io.Writer, r *Report) error {
	out := bufio.NewWriterSize(w, 64<<10)
	_, _ = out.WriteString(xml.Header + "<testsuites>\n") // Flush returns the first error
	id := 0
	for suite := range junitSuites(r) {
		suite.ID, suite.Package, suite.Host = id, "ringfence", "localhost"
		suite.Time = r.Time.UTC().Format("2006-01-02T15:04:05")
		text, err := xml.MarshalIndent(suite, "  ", "  ")
		if err != nil {
			return fmt.Errorf("write suite %s: %w", suite.Name, err)
		}
		_, _ = out.Write(quiet(text))
		_ = out.WriteByte('\n')
		id++
	}
	_, _ = out.WriteString("</testsuites>\n")
	return out.Flush()
}

// quiet is XML that means the same and orders no build service about: only text and values hold "##".
func quiet(text []byte) []byte {
	if !bytes.Contains(text, []byte("##")) {
		return text
	}
	return order.ReplaceAllFunc(text, func(o []byte) []byte { return append([]byte("&#35;"), o[1:]...) })
}

// junitSuites are the suites in the order of file names, and one before them for inputs that could not be used. A suite at
// a time is in memory.
func junitSuites(r *Report) iter.Seq[*junitSuite] {
	return func(yield func(*junitSuite) bool) {
		found, right := map[string][]*finding.Finding{}, map[string][]passedObject{}
		files := map[string]bool{}
		for _, f := range r.Findings {
			name := suiteName(f.Location.File, f.Subject)
			files[name] = true
			found[name] = append(found[name], f)
		}
		for _, p := range r.passed {
			name := suiteName(p.file, p.subject)
			files[name] = true
			right[name] = append(right[name], p)
		}
		// A document without a test counts as a failure in some places.
		if (len(r.Faults) > 0 || len(files) == 0) && !yield(junitInputs(r.Faults)) {
			return
		}
		for _, file := range slices.Sorted(maps.Keys(files)) {
			if !yield(junitFile(file, found[file], right[file], r.FailOnWarn)) {
				return
			}
		}
	}
}

// suiteName is the file, or of an object in a cluster what it lies in.
func suiteName(file string, s finding.Subject) string {
	switch {
	case file != "":
		return file
	case s.Namespace != "":
		return "namespace " + s.Namespace
	default:
		return "cluster"
	}
}

// junitFile is the suite of one file.
func junitFile(file string, found []*finding.Finding, right []passedObject, failOnWarn bool) *junitSuite {
	suite := &junitSuite{Name: token(file)}
	for _, object := range byObject(found) {
		slices.SortStableFunc(object, func(a, b finding.Finding) int {
			return cmp.Or(strings.Compare(a.Source, b.Source), strings.Compare(a.Control, b.Control))
		})
		for len(object) > 0 {
			n := slices.IndexFunc(object, func(f finding.Finding) bool { return f.Control != object[0].Control || f.Source != object[0].Source })
			if n < 0 {
				n = len(object)
			}
			suite.add(junitCaseOf(object[:n], failOnWarn))
			object = object[n:]
		}
	}
	for _, p := range right {
		suite.add(junitCase{Name: "all of " + plural(p.passes, "control"), Class: token(p.subject.String())})
	}
	return suite
}

// junitInputs is the suite of the inputs that could not be used, or of there being none.
func junitInputs(faults []Fault) *junitSuite {
	suite := &junitSuite{Name: "inputs"}
	for _, fault := range faults {
		c := junitCase{Name: "can be used", Class: token(fault.Location.File), Error: &junitFault{"Invalid", finding.Clean(fault.Message), ""}}
		switch {
		case fault.Location.File == "":
			c.Name, c.Class = "was judged whole", "ringfence.check"
		case fault.Location.Line > 0:
			c.Error.Text = finding.Clean(fault.Location.String())
		}
		suite.add(c)
	}
	if len(faults) == 0 {
		suite.add(junitCase{Name: "can be used", Class: "ringfence.check"})
	}
	return suite
}

// junitCaseOf is one control's word on one object, at however many places.
func junitCaseOf(fs []finding.Finding, failOnWarn bool) junitCase {
	f := &fs[0]
	c := junitCase{Name: token(f.Control + " " + f.Title), Class: token(f.Subject.String())}
	var text []string
	for i := range fs {
		at := fs[i].Location.String()
		if fs[i].Location.File == "" {
			at = fs[i].Subject.String()
		}
		text = append(text, finding.Clean(at+": "+Told(&fs[i])))
	}
	fault := &junitFault{string(f.Action), finding.Clean(Told(f)), strings.Join(text, "\n")}
	switch {
	case f.Outcome == finding.Pass:
	case f.Outcome == finding.NotApplicable:
		reason := "does not speak of this kind"
		if f.Reason != nil {
			reason = *f.Reason
		}
		c.Skipped = &junitSkipped{"not judged: " + finding.Clean(reason)}
	case f.Outcome != finding.Fail:
		fault.Type = "Undecided"
		c.Error = fault
	case f.Blocks() || failOnWarn && f.Action == finding.Warn && f.Waiver == nil:
		c.Failure = fault
	case f.Waiver != nil:
		c.Skipped = &junitSkipped{fault.Message} // which says so
	default:
		c.Skipped = &junitSkipped{strings.ToLower(string(f.Action)) + " only: " + fault.Message}
	}
	return c
}

// token is a name as XML schemas have it: without space around it, and never empty.
func token(s string) string {
	if s = strings.Join(strings.Fields(finding.Clean(s)), " "); s == "" {
		return "unnamed"
	}
	return s
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Package  string      `xml:"package,attr"`
	ID       int         `xml:"id,attr"`
	Time     string      `xml:"timestamp,attr"`
	Host     string      `xml:"hostname,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Seconds  int         `xml:"time,attr"`
	Empty    struct{}    `xml:"properties"`
	Cases    []junitCase `xml:"testcase"`
	Out      struct{}    `xml:"system-out"`
	Err      struct{}    `xml:"system-err"`
}

func (s *junitSuite) add(c junitCase) {
	s.Cases = append(s.Cases, c)
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Seconds int           `xml:"time,attr"`
	Skipped *junitSkipped `xml:"skipped"`
	Error   *junitFault   `xml:"error"`
	Failure *junitFault   `xml:"failure"`
}

type junitSkipped struct {
	Message string `xml:"message,attr"`
}

type junitFault struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}
