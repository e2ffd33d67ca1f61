package checkcluster

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
)

// role is the ClusterRole that the documentation gives.
func role(t *testing.T) *rbacv1.ClusterRole {
	t.Helper()
	text, err := os.ReadFile("../../../docs/sources.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```yaml\n(apiVersion: rbac.*?)```").FindSubmatch(text)
	var r rbacv1.ClusterRole
	if m == nil || yaml.UnmarshalStrict(m[1], &r) != nil {
		t.Fatal("docs/sources.md holds no ClusterRole")
	}
	return &r
}

// TestDocumentedRole shows that the role in the documentation lists every kind that is judged, and grants nothing else.
func TestDocumentedRole(t *testing.T) {
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"ringfence.dev/platforms": true, "ringfence.dev/tenants": true, "ringfence.dev/waivers": true}
	workloads, others := cat.Kinds()
	for _, k := range append(workloads, others...) {
		want[k.APIGroup+"/"+k.Resource] = true
	}
	for _, rule := range role(t).Rules {
		if !slices.Equal(rule.Verbs, []string{"list"}) || len(rule.APIGroups) != 1 {
			t.Errorf("rule %v, want one group and the verb list", rule)
		}
		for _, resource := range rule.Resources {
			name := rule.APIGroups[0] + "/" + resource
			if !want[name] {
				t.Errorf("%s is granted, and nothing lists it", name)
			}
			delete(want, name)
		}
	}
	if len(want) > 0 {
		t.Errorf("the role lacks %v", want)
	}
}

// reader is the kubeconfig of a new ServiceAccount with rules.
func reader(t *testing.T, name string, rules []rbacv1.PolicyRule) string {
	t.Helper()
	connect(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	for _, o := range []client.Object{
		account,
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: "default"}}},
	} {
		if err := admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	request := &authenticationv1.TokenRequest{}
	if err := admin.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	proxy := forward(t, &rest.Config{Host: cluster.Config.Host, BearerToken: request.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: cluster.Config.CAData, CAFile: cluster.Config.CAFile}}, nil)
	return proxy
}

// TestRights shows that the documented role suffices, and that a right that is missing is named while the rest is judged.
func TestRights(t *testing.T) {
	create(t, "rights", fmt.Sprintf(bad, "web", 0))
	full := role(t).Rules
	if r := check(t.Context(), reader(t, "reader", full), "--only", "RF-WL-02,RF-SE-03,RF-ID-04,RF-GV-02"); r.code != 1 || strings.Contains(r.stderr, "403") {
		t.Errorf("with the documented role: exit code %d: %s", r.code, r.stderr)
	}
	if r := check(t.Context(), reader(t, "whole", full)); r.code != 1 || strings.Contains(r.stderr, "403") {
		t.Errorf("with the documented role: exit code %d: %s", r.code, r.stderr)
	}
	lesser := []rbacv1.PolicyRule{}
	for _, rule := range full {
		rule.Resources = slices.DeleteFunc(slices.Clone(rule.Resources), func(name string) bool { return name == "secrets" })
		lesser = append(lesser, rule)
	}
	r := check(t.Context(), reader(t, "lesser", lesser), "-n", "rights", "-o", "json")
	if got := subjects(r.findings(t)); r.code != 2 || !slices.Contains(got, "Deployment/web") {
		t.Errorf("without a right: exit code %d, findings about %q; want 2, and the deployment", r.code, got)
	}
	for _, want := range []string{"list secrets: the API server answers 403 Forbidden: secrets is forbidden", "grant the verb list"} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("standard error lacks %q: %s", want, r.stderr)
		}
	}
}

// TestSettings shows that Platform and Tenants are the cluster's own where it has them, and those of files where they are given.
func TestSettings(t *testing.T) {
	create(t, "payments-dev", strings.ReplaceAll(fmt.Sprintf(bad, "web", 0), "image: nginx", "image: registry.bank.example/web"))
	args := []string{"-n", "payments-dev", "--only", "RF-IM-01", "-o", "json"}
	r := check(t.Context(), cluster.Kubeconfig, args...)
	if r.code != 0 || !strings.Contains(r.stderr, "has no Platform") || !strings.Contains(r.stderr, "RF-IM-01 was not judged") {
		t.Errorf("without Ringfence: exit code %d: %s", r.code, r.stderr)
	}
	if err := cluster.InstallCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"platform.yaml", "tenant.yaml"} {
		if err := cluster.Install(t.Context(), filepath.Join("..", "..", "..", "samples", file)); err != nil {
			t.Fatal(err)
		}
	}
	// What passes as a file passes as the object that the server made of it.
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "samples", "compliant.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	apply(t, "payments-dev", string(text))
	r = check(t.Context(), cluster.Kubeconfig, "-n", "payments-dev", "-o", "json")
	for _, f := range r.findings(t) {
		if f.Subject.Name != "web" && f.Subject.Name != "default" {
			t.Errorf("a compliant object has the finding %s", f.Message)
		}
	}
	r = check(t.Context(), cluster.Kubeconfig, append(args, "--all")...)
	if r.code != 0 || !strings.Contains(r.stderr, "settings: Platform and Tenants (1) of cluster ") || len(r.findings(t)) == 0 {
		t.Errorf("with a Platform: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	file := filepath.Join(t.TempDir(), "platform.yaml")
	other := "apiVersion: ringfence.dev/v1alpha1\nkind: Platform\nmetadata: {name: platform}\nspec: {profile: strict, registries: [other.bank.example]}\n"
	if err := os.WriteFile(file, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	r = check(t.Context(), cluster.Kubeconfig, append(args, "--platform", file)...)
	if r.code != 1 || !strings.Contains(r.stderr, "those of the cluster do not count") {
		t.Errorf("with --platform: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}

	// Who may not read the Platform may read the Guard of the namespace, as a tenant's people may.
	apply(t, "payments-dev", "apiVersion: ringfence.dev/v1alpha1\nkind: Guard\nmetadata: {name: guard}\nspec: {registries: [guarded.bank.example], actions: {RF-IM-01: Warn}}")
	rules := []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"pods", "deployments", "replicasets", "guards"}, Verbs: []string{"list"}}}
	r = check(t.Context(), reader(t, "developer", rules), args...)
	for _, f := range r.findings(t) {
		if f.Subject.Name == "web" && f.Action != finding.Warn {
			t.Errorf("the Guard does not count: %s", f.Message)
		}
	}
	if len(r.findings(t)) == 0 || !strings.Contains(r.stderr, "settings: the Guard of namespace payments-dev; Platform and Tenants cannot be read") || strings.Contains(r.stderr, "list platforms") {
		t.Errorf("with a Guard: %s%s", r.stdout, r.stderr)
	}
	r = check(t.Context(), reader(t, "outsider", rules[:1]), "--only", "RF-IM-01")
	if r.code != 2 || !strings.Contains(r.stderr, "settings: list platforms.ringfence.dev: the API server answers 403") {
		t.Errorf("without the right to read the Platform: exit code %d: %s", r.code, r.stderr)
	}
}
