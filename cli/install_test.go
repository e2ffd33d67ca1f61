package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/install/setup"
	"ringfence.dev/ringfence/render"
)

// chartCases are values that a bank may choose, each with what must be in the flags.
var chartCases = []struct{ name, values, flag string }{
	{"self-managed", "audit: {source: self-managed, tlsSecret: doors, tokenSecret: audit, senders: [10.1.2.3/32]}\ndoors: {metricsTokenSecret: m, pushTokenSecret: p}\n", "--push-token-file="},
	{"eks and cert-manager", "audit: {source: eks, tokenSecret: audit, senders: [10.1.2.4/32]}\ncertManager: {enabled: true, issuer: {kind: Issuer, name: bank}}\napi: {enabled: true, clients: [10.1.2.5/32]}\n", "--webhook-ca="},
	{"the API and sinks", "api: {enabled: true, tlsSecret: api, clients: [10.1.2.5/32]}\nsinks: {secret: sinks}\n", "--sinks=/etc/ringfence/sinks/sinks.yaml"},
	{"without evidence, and all else", `evidence: {enabled: false}
replicas: 3
network: {apiServers: [10.1.2.3/32], egress: [{to: [{ipBlock: {cidr: 10.9.1.1/32}}], ports: [{port: 443}]}]}
image: {pullSecrets: [bank]}
tolerations: [{key: platform, operator: Exists}]
nodeSelector: {pool: platform}
extraArgs: [--no-scan]
labels: {cost-centre: "1"}
`, "--no-scan"},
	{"only to look", "observe: {enabled: true, schedule: \"@daily\", output: json}\nimage: {pullSecrets: [bank]}\ntolerations: [{key: platform, operator: Exists}]\n", "--output=json"},
}

// chartBase are the values that a bank must give for all of the catalogue to hold.
const chartBase = `evidence: {storageClass: encrypted}
network: {apiServers: [10.1.2.3/32]}
`

// chartGrants is a bank whose rules all deny. It grants Ringfence's pods what a team must ask for too: a class, a taint, two addresses.
const chartGrants = `apiVersion: ringfence.dev/v1alpha1
kind: Platform
metadata: {name: platform}
spec: {profile: strict, registries: [registry.bank.example], storage: {encryptedClasses: [encrypted]}}
---
apiVersion: ringfence.dev/v1alpha1
kind: Tenant
metadata: {name: payments}
spec:
  owner: platform@bank.example
  groups: {admin: platform-admins, readOnly: platform-readers}
  environments: [{name: dev}]
  grants: {priorityClasses: [ringfence], tolerations: [platform]}
  egress:
    - {cidr: 10.1.2.3/32, ports: [443, 6443]}
    - {cidr: 10.9.1.1/32, ports: [443]}
`

const chartImage = "registry.bank.example/ringfence@sha256:1111111111111111111111111111111111111111111111111111111111111111"

func runCommand(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, prose bytes.Buffer
	code = Main(t.Context(), args, Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now})
	return code, out.String(), prose.String()
}

// moved is the chart's objects in a tenant's namespace. The accounts that have rights in the whole cluster stay Ringfence's own.
func moved(yaml string) string {
	docs := strings.Split(yaml, "\n---\n")
	for i, doc := range docs {
		if !strings.Contains(doc, "\nkind: ClusterRoleBinding\n") {
			docs[i] = strings.ReplaceAll(doc, "namespace: ringfence-system", "namespace: payments-dev")
		}
	}
	return strings.Join(docs, "\n---\n")
}

// TestChart: what `install -o yaml` writes is what the chart's folder renders to, and its pods satisfy the whole catalogue where every rule
// denies, in a namespace that is not exempt.
func TestChart(t *testing.T) {
	dir := t.TempDir()
	platform, base := filepath.Join(dir, "platform.yaml"), filepath.Join(dir, "base.yaml")
	if err := os.WriteFile(base, []byte(chartBase), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(platform, []byte(chartGrants), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range chartCases {
		t.Run(tc.name, func(t *testing.T) {
			values := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(values, []byte(tc.values), 0o600); err != nil {
				t.Fatal(err)
			}
			code, yaml, stderr := runCommand(t, "install", "-o", "yaml", "--image", chartImage, "-f", base, "-f", values)
			if code != 0 || !strings.Contains(yaml, tc.flag) {
				t.Fatalf("install -o yaml: exit %d %s, want %s in\n%s", code, stderr, tc.flag, yaml)
			}
			if want := rendered(t, base, values); yaml != want {
				t.Errorf("install -o yaml is not what charts/ringfence renders to:\n%s", cmp.Diff(want, yaml))
			}
			file := filepath.Join(t.TempDir(), "all.yaml")
			if err := os.WriteFile(file, []byte(moved(yaml)), 0o600); err != nil {
				t.Fatal(err)
			}
			judged(t, file, platform)
		})
	}
}

// rendered are the objects of the folder, as any other reader of it renders them.
func rendered(t *testing.T, files ...string) string {
	t.Helper()
	values, err := render.LoadValues(files)
	if err != nil {
		t.Fatal(err)
	}
	repository, digest, _ := strings.Cut(chartImage, "@")
	values = values.With(map[string]any{"namespace": map[string]any{"create": true}, "image": map[string]any{"repository": repository, "digest": digest}})
	chart, err := render.OpenChart("../charts/ringfence")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := chart.Render(t.Context(), values, "ringfence-system")
	if err != nil {
		t.Fatal(err)
	}
	var texts [][]byte
	for _, d := range docs {
		texts = append(texts, d.Text)
	}
	objects, err := setup.Read(texts...)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := setup.Write(&out, objects); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// judged holds the objects of a file to the catalogue: only the ClusterRole may fail, for what docs/install.md lists.
func judged(t *testing.T, file, platform string) {
	t.Helper()
	_, out, stderr := runCommand(t, "check", "-o", "json", "--platform", platform, file)
	var got struct {
		Findings []struct {
			Control, Outcome, Found string
			Subject                 struct{ Kind, Name string }
		}
		Summary struct{ Objects, Pass, Invalid int }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Summary.Pass < 50 || got.Summary.Invalid > 0 {
		t.Fatalf("check: %v %+v %s", err, got.Summary, stderr)
	}
	for _, f := range got.Findings {
		if f.Subject.Kind != "ClusterRole" || f.Subject.Name != setup.Account {
			t.Errorf("%s %s: %s %s: %s", f.Subject.Kind, f.Subject.Name, f.Control, f.Outcome, f.Found)
		}
	}
}

// TestChartNames: a name of a Secret, class or issuer may be digits alone, or a word that YAML takes for something else; it stays a name.
func TestChartNames(t *testing.T) {
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte(`evidence: {storageClass: "2024"}
image: {pullSecrets: ["007"]}
priorityClass: {name: "1e3"}
certManager: {enabled: true, issuer: {name: "12"}}
audit: {source: gke, tokenSecret: "true"}
sinks: {secret: "0x1"}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := runCommand(t, "install", "-o", "yaml", "--image", chartImage, "-f", values)
	if code != 0 {
		t.Fatalf("install -o yaml: exit %d %s", code, stderr)
	}
	into := map[string]func() any{
		"Deployment": func() any { return &appsv1.Deployment{} }, "PersistentVolumeClaim": func() any { return &corev1.PersistentVolumeClaim{} },
		"PriorityClass": func() any { return &schedulingv1.PriorityClass{} },
		"Certificate": func() any {
			return &struct {
				Spec struct{ IssuerRef struct{ Name string } }
			}{}
		},
	}
	read := 0
	for doc := range strings.SplitSeq(out, "---\n") {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatal(err)
		}
		if into[kind.Kind] == nil {
			continue
		}
		read++
		if err := yaml.Unmarshal([]byte(doc), into[kind.Kind]()); err != nil {
			t.Errorf("%s is not what the API server takes: %v\n%s", kind.Kind, err, doc)
		}
	}
	if read < 6 {
		t.Errorf("%d objects of these kinds, want two Deployments, two Certificates and one of each other", read)
	}
}

// TestChartRefuses: values that would open Ringfence's own namespace, hide objects from uninstall or give a right for nothing are refused.
func TestChartRefuses(t *testing.T) {
	for values, want := range map[string]string{
		"labels: {pod-security.kubernetes.io/enforce: privileged}": "labels: leave out pod-security.kubernetes.io/enforce",
		"labels: {app.kubernetes.io/part-of: platform}":            "labels: leave out app.kubernetes.io/part-of",
		"labels: {app.kubernetes.io/name: guard}":                  "labels: leave out app.kubernetes.io/name",
		"labels: {app.kubernetes.io/managed-by: ringfence}":        "labels: leave out app.kubernetes.io/managed-by",
		"labels: {ringfence.dev/tenant: payments}":                 "labels: leave out ringfence.dev/tenant",
		"labels: {cost-centre: no good}":                           "/labels",
		"observe: {enabled: true, schedule: hourly}":               "/observe/schedule",
		"observe: {enabled: true, args: [--secrets]}":              "args",
		"images: {trivyOperator: true}":                            "images.trivyOperator needs images.enabled",
		"priorityClass: {name: system-cluster-critical}":           "another name, or create: false",
	} {
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := runCommand(t, "install", "-o", "yaml", "--image", chartImage, "-f", file); code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d %s, want 2 and %q", values, code, stderr, want)
		}
	}
}
