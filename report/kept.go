package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"ringfence.dev/ringfence/finding"
)

// KeptName is the name of a report that is kept in a cluster, one in each namespace and one of what lies in none.
const KeptName = "ringfence-scan"

// MaxKept is how many findings a report in a cluster lists at most.
const MaxKept = maxResults

// Keep writes one report of what is open in a namespace, "" for what lies in none, to be kept in a cluster. It lists the worst of the findings, limit of them and MaxKept at
// most, and its summary counts all. Equal findings in any order make the same bytes. It returns how many are left out.
func Keep(w io.Writer, kinds ReportKinds, namespace string, findings []finding.Finding, limit int) (left int, err error) {
	if namespace != "" && !namespaceName.MatchString(namespace) {
		return 0, fmt.Errorf("write a policy report: found namespace %s; want a name as Kubernetes has them", finding.Value(namespace))
	}
	findings = slices.Clone(findings)
	slices.SortFunc(findings, worse)
	all := make([]policyResult, len(findings))
	for i := range findings {
		all[i] = policyResult{finding: &findings[i]}
	}
	listed := all[:min(len(all), limit, MaxKept)]
	p := &policyPage{Writer: bufio.NewWriterSize(w, 64<<10), kinds: kinds}
	p.object(KeptName, namespace, listed, all)
	return len(all) - len(listed), p.Flush()
}

// worse puts the worse of two findings first: by severity, then what is refused, and equal ones in an order of their own.
func worse(a, b finding.Finding) int {
	place := func(of string, in ...string) int {
		if at := slices.Index(in, of); at >= 0 {
			return at
		}
		return len(in)
	}
	severity := func(f finding.Finding) int {
		return place(string(f.Severity), string(finding.Critical), string(finding.High), string(finding.Medium), string(finding.Low))
	}
	outcome := func(f finding.Finding) int { return place(policyOutcome(&f), "fail", "error", "warn") }
	return cmp.Or(cmp.Compare(severity(a), severity(b)), cmp.Compare(outcome(a), outcome(b)), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Subject.Kind, b.Subject.Kind),
		strings.Compare(a.Subject.Name, b.Subject.Name), strings.Compare(a.Subject.APIVersion, b.Subject.APIVersion), strings.Compare(a.Path, b.Path),
		strings.Compare(a.Control, b.Control), strings.Compare(a.Fingerprint, b.Fingerprint), strings.Compare(Told(&a), Told(&b)))
}
