package report

import (
	"bufio"
	"io"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/finding"
)

// OpenReports writes Reports and ClusterReports of openreports.io/v1alpha1, ready for kubectl apply.
//
// There is one Report for each namespace and a ClusterReport for what lies in none, both in several parts where there is
// much: an object of a cluster may not be larger than 1.5 MiB. What was warned of is "warn", what is waived is "skip".
func OpenReports(w io.Writer, r *Report) error {
	return policyReports(w, r, reportKinds{"openreports.io/v1alpha1", "Report", "ClusterReport", true})
}

// PolicyReport writes the same as PolicyReports and ClusterPolicyReports of wgpolicyk8s.io/v1alpha2, which came before.
func PolicyReport(w io.Writer, r *Report) error {
	return policyReports(w, r, reportKinds{"wgpolicyk8s.io/v1alpha2", "PolicyReport", "ClusterPolicyReport", false})
}

// reportKinds are the names of one of the two forms, which differ in little else.
type reportKinds struct {
	apiVersion, namespaced, cluster string
	// source says whether a report names who made it; otherwise only its results do.
	source bool
}

// maxResults is how many results one object holds. Each is at most 6 KiB: a line of 1 KiB, paths of 4, and names.
const maxResults = 200

// ourSource is who made a result.
const ourSource = "ringfence"

// namespaceName is a legal name of a namespace. What lies in one with another name is told of in the cluster's report.
var namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func policyReports(w io.Writer, r *Report, kinds reportKinds) error {
	out := bufio.NewWriterSize(w, 64<<10)
	enc := yaml.NewEncoder(out)
	enc.SetIndent(2)
	results := map[string][]policyResult{}
	for _, fault := range r.Faults {
		results[""] = append(results[""], policyResult{
			Source: ourSource, Policy: "input", Result: "error", Message: Inert(fault.Message), Properties: placeOf(fault.Location),
		})
	}
	for _, f := range r.Findings {
		namespace := f.Subject.Namespace
		if !namespaceName.MatchString(namespace) {
			namespace = ""
		}
		results[namespace] = append(results[namespace], policyResultOf(f))
	}
	if len(results) == 0 {
		results[""] = nil // an empty file says nothing; an empty report says that nothing was found
	}
	names := make([]string, 0, len(results))
	for namespace := range results {
		names = append(names, namespace)
	}
	slices.Sort(names)
	for _, namespace := range names {
		parts := slices.Collect(slices.Chunk(results[namespace], maxResults))
		for i, part := range append(parts, nil)[:max(len(parts), 1)] {
			if err := enc.Encode(kinds.report(namespace, i, part)); err != nil {
				return err
			}
		}
	}
	if err := enc.Close(); err != nil {
		return err
	}
	return out.Flush()
}

// report is part i of what is said of a namespace.
func (k reportKinds) report(namespace string, i int, results []policyResult) policyReport {
	p := policyReport{APIVersion: k.apiVersion, Kind: k.namespaced, Metadata: policyMetadata{Name: "ringfence-check", Namespace: namespace}, Results: results}
	if namespace == "" {
		p.Kind = k.cluster
	}
	if i > 0 {
		p.Metadata.Name += "-" + strconv.Itoa(i+1)
	}
	if k.source {
		p.Source = ourSource
	}
	count := map[string]int{}
	for _, result := range results {
		count[result.Result]++
	}
	p.Summary = policySummary{count["pass"], count["fail"], count["warn"], count["error"], count["skip"]}
	return p
}

func policyResultOf(f *finding.Finding) policyResult {
	s := f.Subject
	result := policyResult{
		Source: ourSource, Policy: Inert(f.Control), Rule: Inert(f.Rule), Category: f.Source, Severity: string(f.Severity),
		Result: policyOutcome(f), Message: Inert(Told(f)),
		Resources:  []policyResource{{Inert(s.APIVersion), Inert(s.Kind), Inert(s.Namespace), Inert(s.Name)}},
		Properties: placeOf(f.Location),
	}
	result.Scored = result.Result == "fail" || result.Result == "pass"
	for _, p := range [][2]string{{"action", string(f.Action)}, {"path", Inert(f.Path)}, {"fingerprint", f.Fingerprint}} {
		if p[1] != "" {
			result.Properties[p[0]] = p[1]
		}
	}
	if f.Waiver != nil {
		result.Properties["waiver"] = Inert(f.Waiver.Name)
	}
	return result
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

// placeOf is a location as properties, which are all strings.
func placeOf(at finding.Location) map[string]string {
	place := map[string]string{}
	if at.File != "" {
		place["file"] = Inert(slashed(at.File))
	}
	if at.Line > 0 {
		place["line"], place["column"] = strconv.Itoa(at.Line), strconv.Itoa(at.Column)
	}
	return place
}

type policyReport struct {
	APIVersion string         `yaml:"apiVersion"`
	Kind       string         `yaml:"kind"`
	Metadata   policyMetadata `yaml:"metadata"`
	Source     string         `yaml:"source,omitempty"`
	Summary    policySummary  `yaml:"summary"`
	Results    []policyResult `yaml:"results"`
}

type policyMetadata struct {
	Name      string `yaml:"name"`
	Namespace string `yaml:"namespace,omitempty"`
}

type policySummary struct {
	Pass  int `yaml:"pass"`
	Fail  int `yaml:"fail"`
	Warn  int `yaml:"warn"`
	Error int `yaml:"error"`
	Skip  int `yaml:"skip"`
}

type policyResult struct {
	Source     string            `yaml:"source"`
	Policy     string            `yaml:"policy"`
	Rule       string            `yaml:"rule,omitempty"`
	Category   string            `yaml:"category,omitempty"`
	Severity   string            `yaml:"severity,omitempty"`
	Result     string            `yaml:"result"`
	Scored     bool              `yaml:"scored"`
	Message    string            `yaml:"message"`
	Resources  []policyResource  `yaml:"resources,omitempty"`
	Properties map[string]string `yaml:"properties,omitempty"`
}

type policyResource struct {
	APIVersion string `yaml:"apiVersion,omitempty"`
	Kind       string `yaml:"kind,omitempty"`
	Namespace  string `yaml:"namespace,omitempty"`
	Name       string `yaml:"name,omitempty"`
}
