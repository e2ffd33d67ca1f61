package report

import (
	"io"
	"strings"
	"testing"

	"ringfence.dev/ringfence/finding"
)

// TestCluster: findings of a cluster are told with their object and without a place in a file, which they do not have.
func TestCluster(t *testing.T) {
	r := &Report{Cluster: "prod", KeepPassed: true}
	for _, s := range []finding.Subject{
		{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "b", Name: "web"},
		{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "a", Name: "web"},
		{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Name: "system:x/y"},
	} {
		f := finding.Finding{Control: "RF-WL-02", Title: "No host namespaces", Outcome: finding.Fail, Action: finding.Deny, Message: "RF-WL-02 found true", Found: "true", Path: "/spec/hostPID", Subject: s}
		g := f
		g.Path = "/spec/hostIPC"
		other := f
		other.Control = "RF-WL-01"
		r.Add(Object{Findings: []finding.Finding{f, g, other}})
	}
	r.Add(Object{Findings: []finding.Finding{{Control: "RF-WL-02", Outcome: finding.Pass, Subject: finding.Subject{Kind: "Pod", Namespace: "c", Name: "good"}}}})
	r.Finish()
	formats := map[string]func(io.Writer, *Report) error{}
	for _, f := range Formats() {
		formats[f.Name] = f.Write
	}
	text := written(t, formats["text"], r)
	var heads []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, "): refused") {
			heads = append(heads, strings.TrimSpace(line))
		}
	}
	want := "ClusterRole/system:x/y (rbac.authorization.k8s.io/v1): refused|a/Deployment/web (apps/v1): refused|b/Deployment/web (apps/v1): refused"
	if got := strings.Join(heads, "|"); got != want {
		t.Errorf("objects %s, want %s", got, want)
	}
	if strings.Contains(text, ":0") || strings.Contains(text, "-->") || !strings.HasSuffix(text, "4 objects in cluster prod: 3 refused, 1 passed; 9 findings\n") {
		t.Errorf("text: %s", text)
	}
	for name, wants := range map[string][]string{
		"json":   {`"location":null`},
		"sarif":  {`"uri":"kubernetes://a/Deployment/web"`, `"uri":"kubernetes:///ClusterRole/system:x%2Fy"`, `"fullyQualifiedName":"a/Deployment/web"`},
		"junit":  {`<testsuite name="cluster"`, `<testsuite name="namespace a"`, `<testsuite name="namespace c"`},
		"github": {"::error title=RF-WL-02 No host namespaces::a/Deployment/web: RF-WL-02 found true\n"},
	} {
		got := written(t, formats[name], r)
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("%s lacks %s: %s", name, want, got)
			}
		}
		if strings.Contains(got, ":0:0") {
			t.Errorf("%s tells a place: %s", name, got)
		}
	}
}
