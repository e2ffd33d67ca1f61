package report

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/finding"
)

// OpenReports writes Reports and ClusterReports of openreports.io/v1alpha1, ready for kubectl apply.
//
// There is one Report for each namespace and a ClusterReport for what lies in none, both in several parts where there is
// much: an object of a cluster may not be larger than 1.5 MiB. What was warned of is "warn", what is waived is "skip".
func OpenReports(w io.Writer, r *Report) error {
	return policyReports(w, r, OpenReportKinds())
}

// PolicyReport writes the same as PolicyReports and ClusterPolicyReports of wgpolicyk8s.io/v1alpha2, which came before.
func PolicyReport(w io.Writer, r *Report) error {
	return policyReports(w, r, PolicyReportKinds())
}

// ReportKinds are the names of one of the two forms of policy reports, which differ in little else.
type ReportKinds struct {
	// APIVersion is that of both kinds: Namespaced of reports that lie in a namespace, Cluster of those that lie in none.
	APIVersion, Namespaced, Cluster string
	// source says whether a report names who made it; otherwise only its results do.
	source bool
}

// OpenReportKinds are those of OpenReports.
func OpenReportKinds() ReportKinds {
	return ReportKinds{"openreports.io/v1alpha1", "Report", "ClusterReport", true}
}

// PolicyReportKinds are those that came before.
func PolicyReportKinds() ReportKinds {
	return ReportKinds{"wgpolicyk8s.io/v1alpha2", "PolicyReport", "ClusterPolicyReport", false}
}

// maxResults is how many results one object holds. Each is at most 6 KiB: a line of 1 KiB, paths of 4, and names.
const maxResults = 200

// ourSource is who made a result.
const ourSource = "ringfence"

// namespaceName is a legal name of a namespace. What lies in one with another name is told of in the cluster's report.
var namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func policyReports(w io.Writer, r *Report, kinds ReportKinds) error {
	p := &policyPage{Writer: bufio.NewWriterSize(w, 64<<10), kinds: kinds}
	results := map[string][]policyResult{}
	for i := range r.Faults {
		results[""] = append(results[""], policyResult{fault: &r.Faults[i]})
	}
	for _, f := range r.Findings {
		namespace := f.Subject.Namespace
		if !namespaceName.MatchString(namespace) {
			namespace = ""
		}
		results[namespace] = append(results[namespace], policyResult{finding: f})
	}
	if len(results) == 0 {
		results[""] = nil // an empty file says nothing; an empty report says that nothing was found
	}
	for _, namespace := range slices.Sorted(maps.Keys(results)) {
		parts := slices.Collect(slices.Chunk(results[namespace], maxResults))
		for i, part := range append(parts, nil)[:max(len(parts), 1)] {
			p.report(namespace, i, part)
		}
	}
	return p.Flush()
}

// policyResult is one result: a finding, or an input that could not be used.
type policyResult struct {
	finding *finding.Finding
	fault   *Fault
}

func (p policyResult) outcome() string {
	if p.fault != nil {
		return "error"
	}
	return policyOutcome(p.finding)
}

// policyPage is the YAML being written. Its write errors surface in Flush.
type policyPage struct {
	*bufio.Writer
	kinds   ReportKinds
	reports int
}

func (p *policyPage) printf(format string, args ...any) { fmt.Fprintf(p, format, args...) }

// field writes one field where it is not empty. Every text is quoted: YAML then makes nothing of it.
func (p *policyPage) field(indent, key, text string) {
	if text = quoted(text); text != `""` {
		p.printf("%s%s: %s\n", indent, key, text)
	}
}

// quotation is what text in double quotes needs, as YAML and JSON both read it. U+FFFE and U+FFFF may not be in YAML.
var quotation = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\uFFFE", "\uFFFD", "\uFFFF", "\uFFFD")

func quoted(s string) string { return `"` + quotation.Replace(Inert(s)) + `"` }

// report writes part i of what is said of a namespace.
func (p *policyPage) report(namespace string, i int, results []policyResult) {
	name := "ringfence-check"
	if i > 0 {
		name += "-" + strconv.Itoa(i+1)
	}
	p.object(name, namespace, results, results)
}

// object writes one report, which lists some of the results and counts all.
func (p *policyPage) object(name, namespace string, results, all []policyResult) {
	kind := p.kinds.Namespaced
	if namespace == "" {
		kind = p.kinds.Cluster
	}
	if p.reports++; p.reports > 1 {
		p.printf("---\n")
	}
	p.printf("apiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n", p.kinds.APIVersion, kind, name)
	p.field("  ", "namespace", namespace)
	if p.kinds.source {
		p.printf("source: %s\n", ourSource)
	}
	count := map[string]int{}
	for _, result := range all {
		count[result.outcome()]++
	}
	p.printf("summary: {pass: %d, fail: %d, warn: %d, error: %d, skip: %d}\n", count["pass"], count["fail"], count["warn"], count["error"], count["skip"])
	if len(results) == 0 {
		p.printf("results: []\n")
		return
	}
	p.printf("results:\n")
	for _, result := range results {
		if result.fault != nil {
			p.fault(result.fault)
		} else {
			p.finding(result.finding)
		}
	}
}

func (p *policyPage) fault(f *Fault) {
	p.printf("  - source: %s\n    policy: input\n    result: error\n    scored: false\n", ourSource)
	p.field("    ", "message", f.Message)
	if f.Location.File != "" {
		p.printf("    properties:\n")
		p.place(f.Location)
	}
}

func (p *policyPage) finding(f *finding.Finding) {
	const in, deep = "    ", "      "
	outcome, s := policyOutcome(f), f.Subject
	p.printf("  - source: %s\n    policy: %s\n", ourSource, quoted(f.Control)) // which must be there
	p.field(in, "rule", f.Rule)
	p.field(in, "category", f.Source)
	p.field(in, "severity", string(f.Severity))
	p.printf("    result: %s\n    scored: %t\n", outcome, outcome == "fail" || outcome == "pass")
	p.field(in, "message", Told(f))
	p.printf("    resources:\n      - kind: %s\n", quoted(s.Kind))
	p.field("        ", "apiVersion", s.APIVersion)
	p.field("        ", "namespace", s.Namespace)
	p.field("        ", "name", s.Name)
	p.printf("    properties:\n      action: %s\n", quoted(string(f.Action)))
	p.place(f.Location)
	p.field(deep, "path", f.Path)
	p.field(deep, "fingerprint", f.Fingerprint)
	if f.Waiver != nil {
		p.field(deep, "waiver", f.Waiver.Name)
	}
}

// place writes a location as properties, which are all strings.
func (p *policyPage) place(at finding.Location) {
	const deep = "      "
	p.field(deep, "file", slashed(at.File))
	p.field(deep, "rendered", at.Rendered)
	if at.Line > 0 {
		p.field(deep, "line", strconv.Itoa(at.Line))
		p.field(deep, "column", strconv.Itoa(at.Column))
	}
}

func policyOutcome(f *finding.Finding) string {
	switch {
	case f.Outcome == finding.Pass:
		return "pass"
	case f.Outcome == finding.NotApplicable || f.Waiver != nil:
		return "skip"
	case f.Outcome != finding.Fail:
		return "error"
	case f.Blocks():
		return "fail"
	default:
		return "warn"
	}
}
