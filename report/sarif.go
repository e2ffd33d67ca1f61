package report

import (
	"io"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"ringfence.dev/ringfence/finding"
)

// SARIF writes a log of the Static Analysis Results Interchange Format 2.1.0 with one run.
//
// The level says what a finding leads to (Deny error, Warn warning, Audit note), the rule's security-severity how much harm
// it can do. What could not be decided is an error and not a result of the kind "open", whose level readers hide. A
// waived finding is a suppressed result. The partial fingerprint is the finding's own.
func SARIF(w io.Writer, r *Report) error {
	s := &sarif{report: r, index: map[[2]string]int{}}
	for _, f := range r.Findings {
		s.rule(f)
	}
	out := newLines(w)
	out.put("{\n  \"$schema\": \"", sarifSchema, "\",\n  \"version\": \"2.1.0\",\n  \"runs\": [{\n    \"tool\": {\"driver\": {\"name\": \"Ringfence\", ")
	if r.Version != "" {
		out.put("\"version\": ")
		out.value(r.Version)
		out.put(", ")
	}
	out.put("\"rules\": [")
	for i, rule := range s.rules {
		out.item(i, rule)
	}
	out.put("\n    ]}},\n    \"invocations\": ")
	out.value([]sarifInvocation{s.invocation()})
	out.put(",\n    \"columnKind\": \"unicodeCodePoints\"")
	if b := r.Baseline; b != nil {
		out.put(",\n    \"properties\": ")
		out.value(map[string]any{"ringfence/baseline": map[string]int{"known": b.Known(), "gone": b.Gone()}})
	}
	out.put(",\n    \"results\": [")
	for i, f := range r.Findings {
		out.item(i, s.result(f))
	}
	out.put("\n    ]\n  }]\n}\n")
	return out.finish()
}

const sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

// sarif is the log being made.
type sarif struct {
	report *Report
	rules  []sarifRule
	index  map[[2]string]int // of rules, by source and control
}

func (s *sarif) invocation() sarifInvocation {
	sum := s.report.Summary
	out := sarifInvocation{ExecutionSuccessful: sum.Exit != finding.ExitUsage, ExitCode: sum.Exit}
	for _, fault := range s.report.Faults {
		n := sarifNotification{Level: "error", Message: sarifText{plain(fault.Message)}}
		if at := s.physical(fault.Location); at != nil {
			n.Locations = []sarifLocation{{Physical: at}}
		}
		out.Notifications = append(out.Notifications, n)
	}
	return out
}

func (s *sarif) result(f *finding.Finding) sarifResult {
	out := sarifResult{
		RuleID: finding.Clean(f.Control), RuleIndex: s.rule(f), Level: sarifLevel(levelOf(f)), Message: sarifText{plain(Told(f))},
		Locations: []sarifLocation{{Physical: s.place(f), Logical: []sarifLogical{{
			Name: finding.Clean(f.Subject.Name), FullName: finding.Clean(f.Subject.String()), Kind: "resource",
		}}}},
		Suppressions: []sarifSuppression{}, // of all results or of none: an empty list means that this one is not suppressed
		Properties: map[string]any{
			"ringfence/outcome": f.Outcome, "ringfence/action": f.Action, "ringfence/severity": f.Severity, "ringfence/path": finding.Clean(f.Path),
		},
	}
	switch f.Outcome {
	case finding.Pass:
		out.Kind = "pass"
	case finding.NotApplicable:
		out.Kind = "notApplicable"
	}
	if f.Fingerprint != "" {
		out.Fingerprints = map[string]string{"ringfenceFingerprint/v1": f.Fingerprint}
	}
	if s.report.Baseline != nil {
		out.BaselineState = "new" // what was known is not here
	}
	if f.Waiver != nil {
		out.Suppressions = append(out.Suppressions, sarifSuppression{"external", "accepted", finding.Clean(waived(f.Waiver))})
	}
	return out
}

// place is where a finding is: in its file, or what names its object in a cluster, as readers want an artifact.
func (s *sarif) place(f *finding.Finding) *sarifPhysical {
	if f.Location.File == "" {
		return &sarifPhysical{Artifact: sarifArtifact{URI: objectURI(f.Subject)}}
	}
	return s.physical(f.Location)
}

// objectURI names an object of a cluster: kubernetes://namespace/Kind/name, without a namespace where it lies in none or in
// one whose name is not legal.
func objectURI(s finding.Subject) string {
	namespace := s.Namespace
	if !namespaceName.MatchString(namespace) {
		namespace = ""
	}
	return "kubernetes://" + namespace + "/" + url.PathEscape(finding.Clean(s.Kind)) + "/" + url.PathEscape(finding.Clean(s.Name))
}

// physical is a place in a file, nil where there is none.
func (s *sarif) physical(at finding.Location) *sarifPhysical {
	if at.File == "" {
		return nil
	}
	out := &sarifPhysical{Artifact: s.artifact(at.File)}
	if at.InFile() {
		out.Region = &sarifRegion{at.Line, max(at.Column, 1)}
	}
	return out
}

// artifact names a file as a URI: relative to the root of the sources where it lies below it, absolute elsewhere.
func (s *sarif) artifact(file string) sarifArtifact {
	if filepath.IsAbs(file) {
		rel, err := filepath.Rel(s.report.Root, file)
		if s.report.Root == "" || err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			return sarifArtifact{URI: (&url.URL{Scheme: "file", Path: slashed(file)}).String()}
		}
		file = rel
	}
	return sarifArtifact{URI: (&url.URL{Path: slashed(file)}).String(), Base: "%SRCROOT%"}
}

// sarifLevel is the word for a level.
func sarifLevel(l level) string { return [...]string{"none", "note", "warning", "error"}[l] }

// placeholder is what a reader of SARIF would fill in.
var placeholder = regexp.MustCompile(`\{(\d+)\}`)

// plain is text that says what it says: no {0} that a reader would fill in, and no [text](target) that it would make a link.
func plain(s string) string {
	s = placeholder.ReplaceAllString(finding.Clean(s), "{{$1}}")
	return strings.ReplaceAll(s, "](", "] (")
}

type sarifInvocation struct {
	ExecutionSuccessful bool                `json:"executionSuccessful"`
	ExitCode            int                 `json:"exitCode"`
	Notifications       []sarifNotification `json:"toolExecutionNotifications,omitempty"`
}

type sarifNotification struct {
	Level     string          `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations,omitempty"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID        string             `json:"ruleId"`
	RuleIndex     int                `json:"ruleIndex"`
	Kind          string             `json:"kind,omitempty"`
	Level         string             `json:"level"`
	Message       sarifText          `json:"message"`
	Locations     []sarifLocation    `json:"locations"`
	Fingerprints  map[string]string  `json:"partialFingerprints,omitempty"`
	BaselineState string             `json:"baselineState,omitempty"`
	Suppressions  []sarifSuppression `json:"suppressions"`
	Properties    map[string]any     `json:"properties"`
}

type sarifLocation struct {
	Physical *sarifPhysical `json:"physicalLocation,omitempty"`
	Logical  []sarifLogical `json:"logicalLocations,omitempty"`
}

type sarifPhysical struct {
	Artifact sarifArtifact `json:"artifactLocation"`
	Region   *sarifRegion  `json:"region,omitempty"`
}

type sarifArtifact struct {
	URI  string `json:"uri"`
	Base string `json:"uriBaseId,omitempty"`
}

type sarifRegion struct {
	Line   int `json:"startLine"`
	Column int `json:"startColumn"`
}

type sarifLogical struct {
	Name     string `json:"name"`
	FullName string `json:"fullyQualifiedName"`
	Kind     string `json:"kind"`
}

type sarifSuppression struct {
	Kind          string `json:"kind"`
	Status        string `json:"status"`
	Justification string `json:"justification"`
}
