package report

import (
	"io"

	"ringfence.dev/ringfence/finding"
)

// Format is one way to write a report.
type Format struct {
	// Name is what the user calls it.
	Name string
	// About says in a few words who reads it.
	About string
	// Write writes all of a finished report. Its error is the writer's.
	Write func(io.Writer, *Report) error
}

// Formats lists every format, text first.
func Formats() []Format {
	return []Format{
		{"text", "for people", func(w io.Writer, r *Report) error { return Text(w, r, false) }},
		{"json", "for programs: " + finding.SchemaVersion, JSON},
		{"sarif", "SARIF 2.1.0, for code scanning", SARIF},
		{"junit", "JUnit XML, for the test page of a build service", JUnit},
		{"github", "annotations in a pull request, by commands that GitHub Actions reads", GitHub},
		{"openreports", "Report and ClusterReport of openreports.io/v1alpha1, as YAML", OpenReports},
		{"policyreport", "PolicyReport and ClusterPolicyReport of wgpolicyk8s.io/v1alpha2, as YAML", PolicyReport},
	}
}
