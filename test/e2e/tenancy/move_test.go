package tenancy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
	"ringfence.dev/ringfence/tenant/desk"
)

// TestMove: two people, the second with a second factor, give an environment to another tenant. What is in it stays as it is, people of
// the one tenant lose their rights and those of the other gain them, and nobody does it alone or otherwise.
func TestMove(t *testing.T) {
	mfa, platform := []string{"true"}, []string{"oidc:platform"}
	anna := somebody{"oidc:anna", platform, map[string][]string{"ringfence.dev/oid": {"o1"}, "ringfence.dev/mfa": mfa}}
	annaToo := somebody{"oidc:anna-adm", platform, map[string][]string{"ringfence.dev/oid": {"o1"}, "ringfence.dev/mfa": mfa}}
	benWithout := somebody{"oidc:ben", platform, map[string][]string{"ringfence.dev/oid": {"o2"}}}
	ben := somebody{"oidc:ben", platform, map[string][]string{"ringfence.dev/oid": {"o2"}, "ringfence.dev/mfa": mfa}}
	onboard(t, "giver", func(o *v1alpha1.Tenant) {
		o.Spec.Egress = []v1alpha1.EgressRule{{FQDN: "db.giver.bank.example", Ports: []v1alpha1.Port{5432}}}
		o.Spec.Pipelines = []v1alpha1.Pipeline{
			{Name: "both", Environments: []string{"dev", "prod"}, OIDC: &v1alpha1.PipelineOIDC{Issuer: "https://ci.bank.example", Subject: "repo:giver:both"}},
			{Name: "release", Environments: []string{"prod"}, OIDC: &v1alpha1.PipelineOIDC{Issuer: "https://ci.bank.example", Subject: "repo:giver:prod"}}}
	})
	onboard(t, "taker", nil)
	before := deployment("giver-prod", "app")
	if err := admin.Create(t.Context(), before); err != nil {
		t.Fatal(err)
	}

	move := []string{"tenant", "move", "giver", "prod", "--to", "taker", "--as", "ledger"}
	for _, words := range []string{"group giver-admin (admin)", "pipeline release", "1 Deployment", "egress to db.giver.bank.example:5432", "group taker-admin (admin)", "nothing was changed"} {
		anna.expect(t, 0, words, move...)
	}
	anna.expect(t, 1, "has an environment prod", "tenant", "move", "giver", "prod", "--to", "taker")
	anna.expect(t, 1, "no such environment", "tenant", "move", "giver", "test", "--to", "taker")
	anna.expect(t, 1, "the same tenant", "tenant", "move", "giver", "prod", "--to", "giver")
	anna.expect(t, 2, "no --reason", append(move, "--confirm")...)
	ben.expect(t, 1, "nobody asked", "tenant", "move", "giver", "--approve")
	nobodyKnows := somebody{"cert:anna", platform, map[string][]string{"ringfence.dev/mfa": mfa}}
	ask := append(move, "--confirm", "--reason", "the team moved", "--ticket", "CHG2")
	nobodyKnows.expect(t, 0, "nothing moves yet", ask...)
	approvedPast(t, anna, "where nobody knows who asked")
	anna.expect(t, 0, "moves", "tenant", "move", "giver", "--stop")
	anna.expect(t, 0, "nothing moves yet", ask...)
	approvedPast(t, nobodyKnows, "where nobody knows who approves")
	anna.expect(t, 1, "another person", "tenant", "move", "giver", "--approve")
	annaToo.expect(t, 1, "another person", "tenant", "move", "giver", "--approve")
	nobodyKnows.expect(t, 1, "must know both people", "tenant", "move", "giver", "--approve")
	benWithout.expect(t, 1, "second factor", "tenant", "move", "giver", "--approve")
	if n := len(get(t, "", "taker", &v1alpha1.Tenant{}).Spec.Environments); n != 2 {
		t.Errorf("a refused approval left taker with %d environments, want 2", n)
	}
	for what, change := range map[string]func(*v1alpha1.Move){
		"asks for another":         func(m *v1alpha1.Move) { m.Ticket = "CHG3" },
		"approves for another":     func(m *v1alpha1.Move) { m.Approver = "oidc:ben" },
		"approves something else":  func(m *v1alpha1.Move) { m.Approver, m.To = "oidc:ben", "giver" },
		"approves another's place": func(m *v1alpha1.Move) { m.Approver, m.Namespace = "oidc:ben", "giver-dev" },
	} {
		o := get(t, "", "giver", &v1alpha1.Tenant{})
		if change(o.Spec.Move); !apierrors.IsForbidden(admin.Update(t.Context(), o, client.DryRunAll)) {
			t.Errorf("system:masters %s and is let", what)
		}
	}
	if err := as(t, "oidc:giver-admin").List(t.Context(), &corev1.PodList{}, client.InNamespace("giver-prod")); err != nil {
		t.Errorf("rights end before anybody approved: %v", err)
	}

	ben.expect(t, 0, "approved by", "tenant", "move", "giver", "--approve")
	moved(t, before)
	ready(t, "giver")
	if o := get(t, "", "giver", &v1alpha1.Tenant{}); len(o.Spec.Environments) != 1 || len(o.Spec.Pipelines) != 1 || o.Spec.Move.Approver != "oidc:ben" || o.Spec.Move.Requester != "oidc:anna" {
		t.Errorf("giver is left with %+v", o.Spec)
	}
	if ns := get(t, "", "giver-prod", &corev1.Namespace{}); ns.Labels[v1alpha1.LabelEnvironment] != "ledger" || ns.Annotations[tenant.AnnotationCreatedBy] == "giver" {
		t.Errorf("the namespace says %v %v", ns.Labels, ns.Annotations)
	}
	anna.expect(t, 1, "undone by a move the other way", "tenant", "move", "giver", "--stop")

	// The old tenant goes, and takes nothing of it along; the new one gives it up, and an empty namespace that came to it is not deleted.
	if err := admin.Delete(t.Context(), &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "giver"}}); err != nil {
		t.Fatal(err)
	}
	goneOrGoing(t, "giver-dev")
	moved(t, before)
}

// approvedPast approves giver's move as somebody, past the command, and wants the API server to refuse that.
func approvedPast(t *testing.T, who somebody, what string) {
	t.Helper()
	config := rest.CopyConfig(cluster.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: who.name, Groups: append([]string{"system:authenticated"}, who.groups...), Extra: who.extra}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	seen := get(t, "", "giver", &v1alpha1.Tenant{})
	o := seen.DeepCopy()
	o.Spec.Move.Approver = who.name
	if err := c.Patch(t.Context(), o, client.MergeFrom(seen), client.DryRunAll); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "must know both") {
		t.Errorf("%s: %s approves a move: %v", what, who.name, err)
	}
}

// TestMoveAsSeen: a move is asked for while the tenant asks for what the plan saw, and not past a change of somebody else's.
func TestMoveAsSeen(t *testing.T) {
	onboard(t, "seen", nil)
	onboard(t, "sees", nil)
	anna := somebody{"oidc:anna", []string{"oidc:platform"}, nil}
	d, err := desk.Open(anna.kubeconfig(t), "", "test", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	plan := func() *desk.Move {
		m, err := d.PlanMove(t.Context(), "seen", v1alpha1.Move{Environment: "prod", To: "sees", As: "ledger", Reason: "the team moved", Ticket: "CHG1"})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	early := plan()
	edit(t, "seen", func(o *v1alpha1.Tenant) {
		o.Spec.Environments = append(o.Spec.Environments, v1alpha1.Environment{Name: "uat"})
	})
	if _, err := d.AskMove(t.Context(), early); !errors.Is(err, desk.ErrRefused) {
		t.Errorf("a move is asked for that was planned before the tenant changed: %v", err)
	}
	ready(t, "seen")
	now := plan()
	o := get(t, "", "seen", &v1alpha1.Tenant{})
	o.Status.Namespaces += " "
	if err := admin.Status().Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if asked, err := d.AskMove(t.Context(), now); err != nil || len(asked.Spec.Environments) != 3 || asked.Spec.Move.Requester != "oidc:anna" {
		t.Errorf("only its status moved: %v", err)
	}
}

// moved waits until giver-prod is taker's, and looks whether what is in it is as it was.
func moved(t *testing.T, before client.Object) {
	t.Helper()
	eventually(t, func() error {
		if g := get(t, "giver-prod", "guard", &v1alpha1.Guard{}); g.Spec.Tenant != "taker" || g.Spec.Environment != "ledger" || !g.Spec.Production || len(g.Spec.Egress) > 0 {
			return fmt.Errorf("the Guard is of tenant %q, environment %q, egress %v", g.Spec.Tenant, g.Spec.Environment, g.Spec.Egress)
		}
		for _, group := range []string{"oidc:taker-admin", "oidc:taker-ro"} {
			if err := as(t, group).List(t.Context(), &corev1.PodList{}, client.InNamespace("giver-prod")); err != nil {
				return fmt.Errorf("%s: %w", group, err)
			}
		}
		return as(t, "oidc:taker-admin").Get(t.Context(), client.ObjectKey{Name: "giver-prod"}, &corev1.Namespace{})
	})
	for _, group := range []string{"oidc:giver-admin", "oidc:giver-ro"} {
		if err := as(t, group).List(t.Context(), &corev1.PodList{}, client.InNamespace("giver-prod")); !apierrors.IsForbidden(err) {
			t.Errorf("%s still looks: %v", group, err)
		}
	}
	var bindings rbacv1.RoleBindingList
	if err := admin.List(t.Context(), &bindings, client.InNamespace("giver-prod")); err != nil {
		t.Fatal(err)
	}
	for _, b := range bindings.Items {
		if b.Name == "ringfence-pipeline-release" || b.Name == "ringfence-pipeline-both" {
			t.Errorf("%s is still bound", b.Name)
		}
	}
	if now := get(t, "giver-prod", "app", deployment("", "")); now.UID != before.GetUID() || now.Generation != 1 {
		t.Errorf("the Deployment is another: %s, generation %d", now.UID, now.Generation)
	}
}
