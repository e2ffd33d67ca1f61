package checkcluster

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cli"
)

// TestImagesByRule: an image that runs in several environments is judged by the rule of each, which the labels of the namespaces say; who cannot read
// them is told so, and nothing is guessed.
func TestImagesByRule(t *testing.T) {
	connect(t)
	const repository = "registry.bank.example/ruled/web"
	digest := "sha256:" + strings.Repeat("4", 64)
	for _, environment := range []string{"dev", "prod"} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ruled-" + environment, Labels: map[string]string{v1alpha1.LabelTenant: "ruled", v1alpha1.LabelEnvironment: environment}}}
		if err := admin.Create(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
		if err := admin.Create(t.Context(), exploitedPod(ns.Name, "web", repository+"@"+digest)); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	report, settings := filepath.Join(dir, "trivy.json"), filepath.Join(dir, "platform.yaml")
	platform := "apiVersion: ringfence.dev/v1alpha1\nkind: Platform\nmetadata: {name: platform}\nspec: {images: {rules: [{name: production, environments: [prod], scanners: [qualys]}]}}\n"
	for file, text := range map[string]string{report: scanned(repository, digest), settings: platform} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(kubeconfig string, want int, words string, args ...string) {
		t.Helper()
		var out, prose bytes.Buffer
		args = append(append([]string{"image"}, args...), report, "--platform", settings, "--kubeconfig", kubeconfig)
		if code := cli.Main(t.Context(), args, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now}); code != want {
			t.Errorf("ringfence %s: exit code %d, want %d:\n%s%s", strings.Join(args, " "), code, want, out.String(), prose.String())
		}
		if !strings.Contains(out.String()+prose.String(), words) {
			t.Errorf("ringfence %s: want %q in\n%s%s", strings.Join(args, " "), words, out.String(), prose.String())
		}
	}
	ask(cluster.Kubeconfig, 1, "deny by production", "preflight", "-n", "ruled-prod")
	ask(cluster.Kubeconfig, 0, "0 images of 1 pod", "preflight", "-n", "ruled-dev")
	ask(cluster.Kubeconfig, 0, "runs       deny by production: ruled-prod Pod/web, 1 pod\n", "show", digest, "--cluster")
	ask(cluster.Kubeconfig, 0, "runs       allow: ruled-dev Pod/web, 1 pod\n", "show", digest, "--cluster")
	ask(cluster.Kubeconfig, 0, "1 are already, 1 stay", "forecast", "--tenant", "ruled")
	rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}}
	ask(reader(t, "knows-no-namespace", rules), 2, "namespaces", "ls")
}
