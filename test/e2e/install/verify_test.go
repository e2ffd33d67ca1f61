package install

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cluster/probe"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// verifies: the nodes of this cluster run no containers, and verify-cluster says so: rights and images are proven, the network is not. A right
// that was given shows, and nothing of the probes stays.
func (b *bed) verifies(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	cards := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "cards"}, Spec: v1alpha1.TenantSpec{Owner: "cards@bank.example",
		Groups: v1alpha1.TenantGroups{Admin: "cards-admins", ReadOnly: "cards-readers"}, Environments: []v1alpha1.Environment{{Name: "dev"}, {Name: "prod", Production: true}}}}
	if err := b.admin.Create(ctx, cards); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "its namespace", func() error {
		return b.admin.Get(ctx, client.ObjectKey{Namespace: "cards-prod", Name: v1alpha1.GuardName}, &v1alpha1.Guard{})
	})
	for probe, state := range b.verification(t, 3) {
		if state != "not proven here" {
			t.Errorf("%s is %q before it was tried", probe, state)
		}
	}
	try := []string{"--apply", "--image", "registry.bank.example/ringfence@sha256:" + strings.Repeat("1", 64), "--namespace", namespace, "--other", "cards-prod", "--timeout", "5s"}
	want := map[string]string{"exec": "proven", "foreign-image": "proven"}
	holds := func(got map[string]string) {
		t.Helper()
		for name, state := range got {
			if w := want[name]; w != "" && w != state || w == "" && state != string(probe.NotProven) {
				t.Errorf("%s is %q, want %q", name, state, w)
			}
		}
	}
	holds(b.verification(t, 3, try...))
	holds(b.verification(t, 3))
	b.shows(t)
	right := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "cards-prod", Name: "enter"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods/exec"}, Verbs: []string{"create"}}}}
	bound := &rbacv1.RoleBinding{ObjectMeta: right.ObjectMeta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "enter"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "oidc:cards-admins"}}}
	for _, o := range []client.Object{right, bound} {
		if err := b.admin.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	want["exec"] = "broken"
	holds(b.verification(t, 1, try...))
	var left corev1.PodList
	if err := b.admin.List(ctx, &left, client.MatchingLabels{"app.kubernetes.io/name": "ringfence-probe"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range left.Items {
		if p.DeletionTimestamp == nil {
			t.Errorf("pod %s of %s is left", p.Name, p.Namespace)
		}
	}
}

// verification is the state of each row.
func (b *bed) verification(t *testing.T, want int, args ...string) map[string]string {
	t.Helper()
	code, out, stderr := ringfence(t, append([]string{"verify-cluster", "--kubeconfig", cluster.Kubeconfig, "-o", "json"}, args...)...)
	var report probe.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != want || len(report.Rows) < 7 {
		t.Fatalf("verify-cluster %v: exit %d, want %d; %v\n%s\n%s", args, code, want, err, out, stderr)
	}
	states := map[string]string{}
	for _, r := range report.Rows {
		states[r.Probe] = string(r.State)
	}
	t.Logf("verify-cluster %v: %v", args, states)
	return states
}

// shows: whoever looks at controls, at outcomes or into the ledger sees what this cluster has not shown.
func (b *bed) shows(t *testing.T) {
	t.Helper()
	here := func(out, id string) string {
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, id+" ") {
				return line
			}
		}
		return ""
	}
	code, out, stderr := ringfence(t, "control", "list", "--cluster", "--kubeconfig", cluster.Kubeconfig)
	if code != 0 || !strings.Contains(here(out, "RF-NW-07"), "not proven here: metadata") || !strings.Contains(here(out, "RF-WL-22"), " proven ") ||
		strings.Contains(here(out, "RF-WL-01"), "proven") || !strings.Contains(stderr, "2 of 7 things") {
		t.Errorf("control list --cluster: exit %d %s\n%s, want what is not proven here", code, stderr, out)
	}
	run := filepath.Join(b.dir, "run/ringfence")
	ringfencetest.Eventually(t, "the run of verify-cluster in ledger and outcomes", func() error {
		code, out, stderr := ringfence(t, "outcomes", "--dir", run)
		if code != 0 || !strings.Contains(out, "not proven here, what only nodes and network can show: pull, network, egress, metadata, cross-tenant (") {
			return fmt.Errorf("outcomes: exit %d %s %s", code, out, stderr)
		}
		now := time.Now().UTC().Format(time.RFC3339)
		for id, want := range map[string]string{"RF-NW-07": "not proven here: pods of a tenant do not reach the cloud's metadata", "RF-WL-22": "proven: a tenant's people cannot enter"} {
			if code, out, stderr := ringfence(t, "evidence", "ask", "in-force", id, "--at", now, "--dir", run); code == 2 || !strings.Contains(out, "  "+want) {
				return fmt.Errorf("in-force %s: exit %d %s %s", id, code, out, stderr)
			}
		}
		return nil
	})
}
