package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/install/setup"
)

// observes are values of an installation that only looks: those of the one that follows, and the switch.
const observes = `observe: {enabled: true}
evidence: {storageClass: encrypted}
certManager: {enabled: true, issuer: {name: bank}}
audit: {source: self-managed, tokenSecret: audit}
api: {enabled: true, clients: [10.1.2.5/32]}
reports: {openReports: true}
extraArgs: [--no-scan]
`

// TestObserveOnly: with observe.enabled the chart brings a CronJob that looks, its account and the rights that `observe --rbac` prints, and
// nothing of the control plane, whatever the other values say.
func TestObserveOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(observes), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := runCommand(t, "install", "-o", "yaml", "--image", chartImage, "-f", file)
	if code != 0 {
		t.Fatalf("install -o yaml: exit %d %s", code, stderr)
	}
	all, err := setup.Read([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Namespace ringfence-system", "ServiceAccount ringfence-observe", "ClusterRole ringfence-observe", "ClusterRoleBinding ringfence-observe",
		"NetworkPolicy ringfence-observe", "CronJob ringfence-observe"}
	var got []string
	for _, o := range all {
		got = append(got, o.GetKind()+" "+o.GetName())
		switch o.GetKind() {
		case "ClusterRole":
			isPrinted(t, o)
		case "NetworkPolicy":
			if ingress, there, _ := unstructured.NestedSlice(o.Object, "spec", "ingress"); there {
				t.Errorf("the network policy lets in %v, want nobody", ingress)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects, in the order in which they are applied (-want +got):\n%s", diff)
	}
}

// isPrinted: a role has the rules that `observe --rbac` prints, and no other verb than list.
func isPrinted(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	code, out, stderr := runCommand(t, "observe", "--rbac")
	var printed, have rbacv1.ClusterRole
	text, err := yaml.Marshal(o.Object)
	if err != nil || code != 0 || yaml.UnmarshalStrict([]byte(out), &printed) != nil || yaml.UnmarshalStrict(text, &have) != nil {
		t.Fatalf("observe --rbac: exit %d %v %s\n%s", code, err, stderr, out)
	}
	if diff := cmp.Diff(printed.Rules, have.Rules); diff != "" || have.Name != printed.Name || len(have.Rules) < 5 {
		t.Errorf("ClusterRole %s of the chart is not what observe --rbac prints (-printed +chart):\n%s", have.Name, diff)
	}
	for _, rule := range have.Rules {
		if !slices.Equal(rule.Verbs, []string{"list"}) || slices.Contains(rule.Resources, "secrets") || strings.Contains(fmt.Sprint(rule), "*") {
			t.Errorf("the role grants %+v, want to list what is named, and no Secrets", rule)
		}
	}
}

// TestObservePlan: the plan says that nothing is made by Ringfence and nothing refused, and shows each right of the account that looks.
func TestObservePlan(t *testing.T) {
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(observes), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := runCommand(t, "install", "--kube-version", "1.34", "--image", chartImage, "-f", file)
	for _, want := range []string{"CronJob             ringfence-system/ringfence-observe  runs ringfence observe", "Made by Ringfence itself: nothing.", "nothing is refused",
		"Rights of ServiceAccount ringfence-system/ringfence-observe in the whole cluster:", "list on cronjobs.batch jobs.batch"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("install: exit %d %s, want %q in\n%s", code, stderr, want, out)
		}
	}
	for _, wrong := range []string{"ringfence-system/ringfence ", "What carries each control", "create", "update", "Deployment", "CustomResourceDefinition"} {
		if strings.Contains(out, wrong) {
			t.Errorf("the plan of an installation that only looks says %q:\n%s", wrong, out)
		}
	}
	code, out, stderr = runCommand(t, "install", "--kube-version", "1.34", "--image", chartImage, "-f", file, "-o", "json")
	var p setup.Plan
	if err := json.Unmarshal([]byte(out), &p); err != nil || code != 0 || !p.Observes || len(p.Objects) != 6 || p.Kept == nil || len(p.Kept)+len(p.Doors) != 0 || len(p.Rights) < 5 {
		t.Errorf("install -o json: exit %d %v %s, want six objects, rights, and nothing kept\n%s", code, err, stderr, out)
	}
}
