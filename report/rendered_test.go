package report

import (
	"bytes"
	"strings"
	"testing"

	"ringfence.dev/ringfence/finding"
)

// TestRendered: a line of what was rendered is told, and never given as a line of the template.
func TestRendered(t *testing.T) {
	f := finding.Finding{
		Control: "RF-WL-01", Title: "No privileged containers", Outcome: finding.Fail, Action: finding.Deny, Message: "RF-WL-01 found true",
		Subject:  finding.Subject{APIVersion: "v1", Kind: "Pod", Name: "a"},
		Location: finding.Location{File: "chart/templates/pod.yaml", Line: 4711, Column: 3, Rendered: "helm with prod.yaml"},
	}
	for name, misplaced := range map[string]string{"github": "line=4711", "sarif": `"startLine":4711`} {
		r := &Report{}
		r.Add(Object{Findings: []finding.Finding{f}})
		r.Finish()
		var out bytes.Buffer
		for _, format := range Formats() {
			if format.Name != name {
				continue
			}
			if err := format.Write(&out, r); err != nil {
				t.Fatal(err)
			}
		}
		if text := out.String(); strings.Contains(text, misplaced) || !strings.Contains(text, "line 4711 as rendered by helm with prod.yaml") || !strings.Contains(text, "chart/templates/pod.yaml") {
			t.Errorf("%s: %s", name, text)
		}
	}
}
