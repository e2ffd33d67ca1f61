package report

import (
	"encoding/xml"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
)

// element is any element of a document.
type element struct {
	XMLName    xml.Name
	Attributes []xml.Attr `xml:",any,attr"`
	Children   []element  `xml:",any"`
	Text       string     `xml:",chardata"`
}

// attribute is the value of an attribute, "" without one.
func (e element) attribute(name string) string {
	for _, a := range e.Attributes {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// demand is what JUnit.xsd wants of an element: its attributes, and its children in order.
type demand struct {
	attributes []string
	children   []string
}

// demands are those of JUnit.xsd, copied by hand; see testdata/README.md.
func demands() map[string]demand {
	return map[string]demand{
		"testsuites": {nil, []string{"testsuite"}},
		"testsuite": {[]string{"errors", "failures", "hostname", "id", "name", "package", "skipped", "tests", "time", "timestamp"},
			[]string{"properties", "testcase", "system-out", "system-err"}},
		"testcase": {[]string{"classname", "name", "time"}, []string{"skipped", "error", "failure"}},
		"failure":  {[]string{"message", "type"}, nil}, "error": {[]string{"message", "type"}, nil}, "skipped": {[]string{"message"}, nil},
		"properties": {}, "system-out": {}, "system-err": {},
	}
}

// TestJUnitForm holds every document to the demands, and its numbers to what it holds.
func TestJUnitForm(t *testing.T) {
	for name, r := range reports() {
		r.Time = time.Unix(1e9, 5)
		var doc element
		if err := xml.Unmarshal([]byte(written(t, JUnit, r)), &doc); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if doc.XMLName.Local != "testsuites" || len(doc.Children) == 0 {
			t.Errorf("%s: %s with %d suites", name, doc.XMLName.Local, len(doc.Children))
		}
		meets(t, name, doc)
		for i, suite := range doc.Children {
			count := map[string]int{}
			for _, c := range suite.Children {
				if c.XMLName.Local == "testcase" {
					count["tests"]++
					for _, verdict := range c.Children {
						count[verdict.XMLName.Local]++
					}
				}
			}
			for attribute, child := range map[string]string{"tests": "tests", "failures": "failure", "errors": "error", "skipped": "skipped"} {
				if got := suite.attribute(attribute); got != strconv.Itoa(count[child]) {
					t.Errorf("%s: suite %d: %s is %s, want %d", name, i, attribute, got, count[child])
				}
			}
			if suite.attribute("id") != strconv.Itoa(i) || suite.attribute("timestamp") != "2001-09-09T01:46:40" || suite.attribute("name") == "" {
				t.Errorf("%s: suite %d: %v", name, i, suite.Attributes)
			}
		}
	}
}

func meets(t *testing.T, name string, e element) {
	t.Helper()
	want, known := demands()[e.XMLName.Local]
	if !known {
		t.Errorf("%s: element %s", name, e.XMLName.Local)
	}
	var attributes []string
	for _, a := range e.Attributes {
		attributes = append(attributes, a.Name.Local)
	}
	if slices.Sort(attributes); !slices.Equal(attributes, want.attributes) {
		t.Errorf("%s: %s has %v, want %v", name, e.XMLName.Local, attributes, want.attributes)
	}
	at := 0
	for _, child := range e.Children {
		i := slices.Index(want.children, child.XMLName.Local)
		if i < at {
			t.Errorf("%s: %s in %s is out of place", name, child.XMLName.Local, e.XMLName.Local)
		}
		at = i
		meets(t, name, child)
	}
	if e.XMLName.Local == "testcase" && len(e.Children) > 1 {
		t.Errorf("%s: a test case with %d verdicts", name, len(e.Children))
	}
}

// TestJUnitSchema holds every document to testdata/junit.xsd, by libxml2.
func TestJUnitSchema(t *testing.T) {
	lint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("skipped: xmllint is not here (Debian package libxml2-utils)")
	}
	validate := func(text string) error {
		cmd := exec.Command(lint, "--noout", "--nonet", "--schema", "testdata/junit.xsd", "-")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	for name, r := range reports() {
		r.Time = time.Unix(1e9, 5)
		text := written(t, JUnit, r)
		if err := validate(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := validate(strings.Replace(text, `hostname="localhost"`, "", 1)); err == nil {
			t.Errorf("%s: a suite without a host is valid: this shows nothing", name)
		}
	}
}

// TestJUnitVerdicts shows what becomes of each outcome: nothing that was not right passes.
func TestJUnitVerdicts(t *testing.T) {
	fail := finding.Finding{Outcome: finding.Fail, Action: finding.Deny}
	warn, waived := fail, fail
	warn.Action, waived.Waiver = finding.Warn, &finding.Waiver{Name: "w"}
	for _, test := range []struct {
		f      finding.Finding
		strict bool
		want   string
	}{
		{fail, false, "failure"}, {warn, false, "skipped"}, {warn, true, "failure"}, {waived, true, "skipped"}, {finding.Finding{}, false, "error"},
		{finding.Finding{Outcome: finding.Errored, Action: finding.Audit}, false, "error"}, {finding.Finding{Outcome: finding.Fail, Action: finding.Audit}, true, "skipped"},
		{finding.Finding{Outcome: finding.NotApplicable}, false, "skipped"}, {finding.Finding{Outcome: finding.Pass}, true, ""},
	} {
		got := ""
		switch c := junitCaseOf([]finding.Finding{test.f}, test.strict); {
		case c.Failure != nil:
			got = "failure"
		case c.Error != nil:
			got = "error"
		case c.Skipped != nil:
			got = "skipped"
		}
		if got != test.want {
			t.Errorf("%s %s is %q, want %q", test.f.Action, test.f.Outcome, got, test.want)
		}
	}
}
