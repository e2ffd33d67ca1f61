package checkcluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cli"
)

// TestImagesWaived: preflight says of what is refused which workload has waivers for every control that refuses it, while they last.
func TestImagesWaived(t *testing.T) {
	connect(t)
	if err := cluster.InstallCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	const ns = "waived-images"
	if err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); err != nil {
		t.Fatal(err)
	}
	const repository = "registry.bank.example/waived/web"
	digest := "sha256:" + strings.Repeat("8", 64)
	if err := admin.Create(t.Context(), exploitedPod(ns, "web", repository+"@"+digest)); err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "trivy.json")
	text := strings.Replace(scanned(repository, digest, "CVE-2021-99999"), time.Now().UTC().Format("2006-01"), "2026-01", 1) // scanned months ago too
	if err := os.WriteFile(report, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	preflight := func(kubeconfig string, want int) string {
		t.Helper()
		var out, prose bytes.Buffer
		args := []string{"image", "preflight", report, "--kubeconfig", kubeconfig, "-n", ns}
		if code := cli.Main(t.Context(), args, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now}); code != want {
			t.Errorf("exit code %d, want %d:\n%s%s", code, want, out.String(), prose.String())
		}
		return out.String() + prose.String()
	}
	guard := &v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: v1alpha1.GuardName}}
	waive := func(subject, expires string, controls ...string) {
		t.Helper()
		all := v1alpha1.SubjectWaivers{}
		for _, id := range controls {
			all[id] = v1alpha1.GuardWaiver{Name: "by-" + strings.ToLower(id), Expires: expires, Ticket: "CHG-1", Approver: "jane@bank.example"}
		}
		before := guard.DeepCopy()
		guard.Spec.Waivers = map[string]v1alpha1.SubjectWaivers{subject: all}
		if err := admin.Patch(t.Context(), guard, client.MergeFromWithOptions(before)); err != nil {
			t.Fatal(err)
		}
	}
	if err := admin.Create(t.Context(), guard); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Second).Format(time.RFC3339)
	preflight(cluster.Kubeconfig, 1)
	waive("Pod/web", later, "RF-IM-03")
	if out := preflight(cluster.Kubeconfig, 1); strings.Contains(out, "; waived: ") {
		t.Errorf("one waiver of two that it wants is told as if it were enough:\n%s", out)
	}
	waive("Pod/web", later, "RF-IM-03", "RF-IM-04")
	want := fmt.Sprintf("%s Pod/web, 1 pod; waived: RF-IM-03 by by-rf-im-03 until %s, RF-IM-04 by by-rf-im-04 until %s\n", ns, later, later)
	if out := preflight(cluster.Kubeconfig, 0); !strings.Contains(out, want) {
		t.Errorf("want %sin\n%s", want, out)
	}
	// Who lists pods and may not read Guards is told so, and that nothing is known to be waived.
	rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}}
	if out := preflight(reader(t, "counts-pods", rules), 1); !strings.Contains(out, "which waivers are in force is not known: ") {
		t.Errorf("without rights to Guards:\n%s", out)
	}
	waive("Pod/web", time.Now().Add(-time.Minute).UTC().Format(time.RFC3339), "RF-IM-03", "RF-IM-04")
	preflight(cluster.Kubeconfig, 1)
	waive("Deployment.apps/web", later, "RF-IM-03", "RF-IM-04")
	preflight(cluster.Kubeconfig, 1)
}
