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
		if f.Subject.Kind != "ClusterRole" {
			t.Errorf("%s %s: %s %s: %s", f.Subject.Kind, f.Subject.Name, f.Control, f.Outcome, f.Found)
		}
	}
}
