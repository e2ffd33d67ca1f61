package tenancy

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/tenant"
)

// somebody is a user with groups, and with what the API server knows of the sign-in.
type somebody struct {
	name   string
	groups []string
	extra  map[string][]string
}

// runs is a command of Ringfence with a kubeconfig that speaks as somebody.
func (s somebody) runs(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, prose bytes.Buffer
	code = cli.Main(t.Context(), append(args, "--kubeconfig", s.kubeconfig(t)), cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now})
	return code, out.String(), prose.String()
}

// kubeconfig is a file that speaks as somebody.
func (s somebody) kubeconfig(t *testing.T) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range config.AuthInfos {
		who.Impersonate, who.ImpersonateGroups, who.ImpersonateUserExtra = s.name, append([]string{"system:authenticated"}, s.groups...), s.extra
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

func (s somebody) expect(t *testing.T, want int, words string, args ...string) string {
	t.Helper()
	code, out, prose := s.runs(t, args...)
	if code != want || !strings.Contains(out+prose, words) {
		t.Errorf("%s: ringfence %s: exit code %d, want %d and %q: %s%s", s.name, strings.Join(args, " "), code, want, words, out, prose)
	}
	return out
}

// TestPeopleFindTheirNamespaces: members of a tenant list its namespaces and nobody else's, readers too, and read no other Tenant.
func TestPeopleFindTheirNamespaces(t *testing.T) {
	onboard(t, "find", func(t *v1alpha1.Tenant) {
		t.Spec.Environments[1].Groups = &v1alpha1.EnvironmentGroups{Admin: "find-ops"}
	})
	onboard(t, "find-x", nil)
	anna := somebody{name: "oidc:anna", groups: []string{"oidc:find-ro"}}
	for _, tc := range []struct {
		who  somebody
		want string
	}{
		{anna, "find-dev\nfind-prod\n"},
		{somebody{name: "oidc:ada", groups: []string{"oidc:find-admin"}}, "find-dev\n"},
		{somebody{name: "oidc:ops", groups: []string{"oidc:find-ops"}}, "find-prod\n"},
		{somebody{name: "oidc:ben", groups: []string{"oidc:find-x-ro"}}, "find-x-dev\nfind-x-prod\n"},
		{somebody{name: "oidc:both", groups: []string{"oidc:find-x-ro", "oidc:find-ops"}}, "find-prod\nfind-x-dev\nfind-x-prod\n"},
		{somebody{name: "oidc:stranger"}, ""},
		{somebody{name: "oidc:find-ro"}, ""},
	} {
		if got := tc.who.expect(t, 0, "", "tenant", "namespaces", "-o", "name"); got != tc.want {
			t.Errorf("%s finds %q, want %q", tc.who.name, got, tc.want)
		}
	}
	anna.expect(t, 0, "find-prod  find    prod         true", "tenant", "namespaces")
	if out := anna.expect(t, 0, "find ", "tenant", "list"); strings.Contains(out, "find-x") {
		t.Errorf("a member of find lists %s", out)
	}
	anna.expect(t, 0, "admin find-admin", "tenant", "show", "find")
	anna.expect(t, 1, "forbidden", "tenant", "show", "find-x")
	anna.expect(t, 1, "forbidden", "tenant", "cordon", "find", "--reason", "why not", "--ticket", "T1")

	reader := as(t, "oidc:find-ro")
	for what, err := range map[string]error{
		"list namespaces":        reader.List(t.Context(), &corev1.NamespaceList{}),
		"list tenants":           reader.List(t.Context(), &v1alpha1.TenantList{}),
		"get another namespace":  reader.Get(t.Context(), client.ObjectKey{Name: "find-x-dev"}, &corev1.Namespace{}),
		"get kube-system":        reader.Get(t.Context(), client.ObjectKey{Name: "kube-system"}, &corev1.Namespace{}),
		"get the Platform":       reader.Get(t.Context(), client.ObjectKey{Name: "platform"}, &v1alpha1.Platform{}),
		"change a ClusterRole":   reader.Delete(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: tenant.SightPrefix + "find"}}),
		"label its own Tenant":   reader.Patch(t.Context(), newTenant("find", nil), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`))),
		"a secret in production": reader.List(t.Context(), &corev1.SecretList{}, client.InNamespace("find-prod")),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("a reader may %s: %v", what, err)
		}
	}

	// What is deleted comes back, and goes with the environment and with the tenant.
	platform := as(t, "oidc:platform")
	role := get(t, "", tenant.SightPrefix+"find", &rbacv1.ClusterRole{})
	if err := platform.Delete(t.Context(), role.DeepCopy()); !apierrors.IsForbidden(err) {
		t.Errorf("a platform engineer deletes the role: %v", err)
	}
	if err := admin.Delete(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		return admin.Get(t.Context(), client.ObjectKey{Name: tenant.SightPrefix + "find"}, &rbacv1.ClusterRole{})
	})
	if err := admin.Delete(t.Context(), newTenant("find", nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		var left rbacv1.ClusterRoleBindingList
		if err := admin.List(t.Context(), &left, client.MatchingLabels{v1alpha1.LabelTenant: "find"}); err != nil || len(left.Items) > 0 {
			return fmt.Errorf("%d bindings of the tenant that is gone, %w", len(left.Items), err)
		}
		return nil
	})
	if got := anna.expect(t, 0, "", "tenant", "namespaces", "-o", "name"); got != "" {
		t.Errorf("of a tenant that is gone %q is found", got)
	}
}

// TestRelabelledNamespace: a namespace is not moved to another tenant by its label, and where somebody with all rights does it, its
// tenant is told and the other's people get nothing.
func TestRelabelledNamespace(t *testing.T) {
	onboard(t, "robbed", nil)
	onboard(t, "robber", nil)
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"ringfence.dev/tenant":"robber"}}}`))
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "robbed-prod"}}
	if err := as(t, "oidc:platform").Patch(t.Context(), ns.DeepCopy(), patch); !apierrors.IsForbidden(err) {
		t.Errorf("a platform engineer moves a namespace by its label: %v", err)
	}
	if err := admin.Patch(t.Context(), ns, patch); err != nil {
		t.Fatal(err)
	}
	awaitReason(t, "robbed", tenant.ReasonRefused)
	if c := as(t, "oidc:robber-admin"); !apierrors.IsForbidden(c.List(t.Context(), &corev1.PodList{}, client.InNamespace("robbed-prod"))) {
		t.Error("admins of the other tenant look into it")
	}
	back := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"ringfence.dev/tenant":"robbed"}}}`))
	if err := admin.Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "robbed-prod"}}, back); err != nil {
		t.Fatal(err)
	}
	ready(t, "robbed")
}

// TestTotalQuota: the API server holds the whole, share by share.
func TestTotalQuota(t *testing.T) {
	onboard(t, "whole", func(t *v1alpha1.Tenant) {
		t.Spec.TotalQuota = map[string]resource.Quantity{"pods": resource.MustParse("5")}
		t.Spec.Environments[1].Quota = map[string]resource.Quantity{"pods": resource.MustParse("4")}
	})
	hard := func(namespace string) string {
		q := get(t, namespace, "ringfence", &corev1.ResourceQuota{}).Spec.Hard["pods"]
		return q.String()
	}
	if dev, prod := hard("whole-dev"), hard("whole-prod"); dev != "1" || prod != "4" {
		t.Errorf("dev has %s and prod %s, want 1 and 4", dev, prod)
	}
	edit(t, "whole", func(t *v1alpha1.Tenant) {
		t.Spec.Environments[1].Quota = map[string]resource.Quantity{"pods": resource.MustParse("2")}
	})
	eventually(t, func() error {
		if dev, prod := hard("whole-dev"), hard("whole-prod"); dev != "3" || prod != "2" {
			return fmt.Errorf("dev has %s and prod %s, want 3 and 2", dev, prod)
		}
		return nil
	})
	edit(t, "whole", func(t *v1alpha1.Tenant) { t.Spec.Quota = map[string]resource.Quantity{"pods": resource.MustParse("4")} })
	awaitReason(t, "whole", tenant.ReasonMistaken)
	edit(t, "whole", func(t *v1alpha1.Tenant) { t.Spec.Quota, t.Spec.TotalQuota = nil, nil })
	ready(t, "whole")
	o := newTenant("nonsense", func(t *v1alpha1.Tenant) { t.Spec.Quota = nil })
	o.Spec.TotalQuota = map[string]resource.Quantity{"cpus": resource.MustParse("4")}
	if err := admin.Create(t.Context(), o); err == nil || !strings.Contains(err.Error(), "spec.totalQuota") {
		t.Errorf("a total of cpus: %v", err)
	}
}

// TestPipelines: a pipeline deploys where it may and nowhere else, and reads no Secret; a cordon stops it, and everybody.
func TestPipelines(t *testing.T) {
	onboard(t, "piped", func(t *v1alpha1.Tenant) {
		t.Spec.Pipelines = []v1alpha1.Pipeline{
			{Name: "ci", Environments: []string{"dev"}, OIDC: &v1alpha1.PipelineOIDC{Issuer: "https://ci.bank.example", Subject: "repo:piped"}},
			{Name: "runner", Environments: []string{"prod"}, ServiceAccount: &v1alpha1.PipelineAccount{Namespace: "ci", Name: "runner"}},
		}
	})
	deploys := func(user, namespace string) error {
		o := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "api"}, Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: pod(namespace, "x").Spec},
		}}
		return impersonating(t, user).Create(t.Context(), o, client.DryRunAll)
	}
	const ci, runner = "https://ci.bank.example#repo:piped", "system:serviceaccount:ci:runner"
	for _, tc := range []struct {
		user, namespace string
		may             bool
	}{
		{ci, "piped-dev", true}, {ci, "piped-prod", false}, {runner, "piped-prod", true}, {runner, "piped-dev", false},
		{"https://ci.bank.example#repo:piped2", "piped-dev", false}, {"oidc:repo:piped", "piped-dev", false},
	} {
		if err := deploys(tc.user, tc.namespace); (err == nil) != tc.may {
			t.Errorf("%s deploys to %s: %v, want %t", tc.user, tc.namespace, err, tc.may)
		}
	}
	if err := impersonating(t, ci).List(t.Context(), &corev1.SecretList{}, client.InNamespace("piped-dev")); !apierrors.IsForbidden(err) {
		t.Errorf("a pipeline lists Secrets: %v", err)
	}

	engineer := somebody{name: "oidc:dave", groups: []string{"oidc:platform"}}
	engineer.expect(t, 2, "no --reason", "tenant", "cordon", "piped")
	engineer.expect(t, 0, "is cordoned", "tenant", "cordon", "piped", "--reason", "review", "--ticket", "INC1")
	awaitReason(t, "piped", tenant.ReasonCordoned)
	eventually(t, func() error { // the quota counts what is there before it says no
		if err := deploys("oidc:dave", "piped-dev"); !apierrors.IsForbidden(err) {
			return fmt.Errorf("a stranger deploys: %v", err)
		}
		o := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "piped-dev", Name: "api"}, Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: pod("", "x").Spec},
		}}
		if err := as(t, "oidc:platform").Create(t.Context(), o, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "quota") {
			return fmt.Errorf("who may do all deploys into a cordoned tenant: %v", err)
		}
		return nil
	})
	if err := deploys(ci, "piped-dev"); !apierrors.IsForbidden(err) {
		t.Errorf("a pipeline deploys into a cordoned tenant: %v", err)
	}
	if err := admin.Create(t.Context(), pod("piped-dev", "again"), client.DryRunAll); err != nil {
		t.Errorf("pods of what runs are not made anew: %v", err)
	}
	engineer.expect(t, 0, "Cordoned", "tenant", "show", "piped")
	engineer.expect(t, 0, "is not cordoned", "tenant", "uncordon", "piped")
	ready(t, "piped")
	if err := deploys(ci, "piped-dev"); err != nil {
		t.Errorf("after the cordon: %v", err)
	}
}

// TestOffboard: two people, the second with a second factor, end a tenant; nobody does it alone, under another's name or by an account of
// the same person.
func TestOffboard(t *testing.T) {
	onboard(t, "leaving", nil)
	mfa, platform := []string{"true"}, []string{"oidc:platform"}
	anna := somebody{"oidc:anna", platform, map[string][]string{"ringfence.dev/oid": {"o1"}, "ringfence.dev/mfa": mfa}}
	annaToo := somebody{"oidc:anna-adm", platform, map[string][]string{"ringfence.dev/oid": {"o1"}, "ringfence.dev/mfa": mfa}}
	benWithout := somebody{"oidc:ben", platform, map[string][]string{"ringfence.dev/oid": {"o2"}}}
	ben := somebody{"oidc:ben", platform, map[string][]string{"ringfence.dev/oid": {"o2"}, "ringfence.dev/mfa": mfa}}

	ask := []string{"tenant", "offboard", "leaving", "--confirm", "--evidence", "-", "--keep", "24h", "--reason", "sold", "--ticket", "CHG1"}
	anna.expect(t, 0, "nothing was changed", "tenant", "offboard", "leaving")
	anna.expect(t, 0, "leaving-prod: nothing", "tenant", "offboard", "leaving")
	anna.expect(t, 2, "no --evidence", "tenant", "offboard", "leaving", "--confirm", "--reason", "sold", "--ticket", "CHG1")
	anna.expect(t, 2, "nothing was changed", "tenant", "offboard", "leaving", "--confirm", "--evidence", filepath.Join(t.TempDir(), "e.zip"), "--dir", t.TempDir(), "--reason", "sold", "--ticket", "CHG1")
	ben.expect(t, 1, "nobody asked", "tenant", "offboard", "leaving", "--approve")
	// A client certificate of anna's, of whose person nobody knows anything, is no other person than she.
	certificate := somebody{"cert:anna", platform, nil}
	certificate.expect(t, 0, "nobody lost anything", ask...)
	anna.expect(t, 1, "must know both", "tenant", "offboard", "leaving", "--approve")
	anna.expect(t, 0, "goes on", "tenant", "offboard", "leaving", "--stop")
	anna.expect(t, 0, "nobody lost anything", ask...)
	certificate.extra = map[string][]string{"ringfence.dev/mfa": mfa}
	certificate.expect(t, 1, "must know both", "tenant", "offboard", "leaving", "--approve")
	anna.expect(t, 1, "another person", "tenant", "offboard", "leaving", "--approve")
	annaToo.expect(t, 1, "another person", "tenant", "offboard", "leaving", "--approve")
	benWithout.expect(t, 1, "second factor", "tenant", "offboard", "leaving", "--approve")

	write := func(change func(*v1alpha1.Offboarding)) error {
		o := get(t, "", "leaving", &v1alpha1.Tenant{})
		if o.Spec.Offboarding == nil {
			o.Spec.Offboarding = &v1alpha1.Offboarding{Reason: "sold", Ticket: "CHG1", Keep: metav1.Duration{Duration: time.Hour}, Requester: "oidc:anna"}
		}
		change(o.Spec.Offboarding)
		return admin.Update(t.Context(), o, client.DryRunAll)
	}
	for what, change := range map[string]func(*v1alpha1.Offboarding){
		"asks for another":               func(o *v1alpha1.Offboarding) { o.Ticket = "CHG2" },
		"approves for another":           func(o *v1alpha1.Offboarding) { o.Approver = "oidc:ben" },
		"approves something else":        func(o *v1alpha1.Offboarding) { o.Approver, o.Keep.Duration = "oidc:ben", time.Hour },
		"asks and approves at the start": func(o *v1alpha1.Offboarding) { o.Requester, o.Approver = "oidc:x", "oidc:ben" },
	} {
		if err := write(change); !apierrors.IsForbidden(err) {
			t.Errorf("system:masters %s: %v", what, err)
		}
	}
	if err := as(t, "oidc:leaving-admin").List(t.Context(), &corev1.PodList{}, client.InNamespace("leaving-dev")); err != nil {
		t.Errorf("rights end before anybody approved: %v", err)
	}

	ben.expect(t, 0, "approved by", "tenant", "offboard", "leaving", "--approve")
	awaitReason(t, "leaving", tenant.ReasonOffboarding)
	for _, group := range []string{"oidc:leaving-admin", "oidc:leaving-ro"} {
		if err := as(t, group).List(t.Context(), &corev1.PodList{}, client.InNamespace("leaving-dev")); !apierrors.IsForbidden(err) {
			t.Errorf("%s still looks: %v", group, err)
		}
	}
	get(t, "leaving-dev", "guard", &v1alpha1.Guard{})
	if err := write(func(o *v1alpha1.Offboarding) { o.Keep.Duration = time.Hour }); !apierrors.IsForbidden(err) {
		t.Errorf("the time is shortened after the approval: %v", err)
	}
	o := get(t, "", "leaving", &v1alpha1.Tenant{})
	if s := o.Status.Offboarding; s == nil || s.Deletes.Sub(s.AccessRemoved.Time) != 24*time.Hour {
		t.Fatalf("status %+v", s)
	}
	anna.expect(t, 0, "goes on", "tenant", "offboard", "leaving", "--stop")
	ready(t, "leaving")

	// The time is over: what was asked for an hour ago, of an hour.
	anna.expect(t, 0, "nobody lost anything", "tenant", "offboard", "leaving", "--confirm", "--evidence", "-", "--keep", "1h", "--reason", "sold", "--ticket", "CHG1")
	ben.expect(t, 0, "approved by", "tenant", "offboard", "leaving", "--approve")
	awaitReason(t, "leaving", tenant.ReasonOffboarding)
	o = get(t, "", "leaving", &v1alpha1.Tenant{})
	o.Status.Offboarding.AccessRemoved = metav1.NewTime(time.Now().Add(-2 * time.Hour))
	o.Status.Offboarding.Deletes = metav1.NewTime(time.Now().Add(-time.Hour))
	if err := admin.Status().Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		ns := &corev1.Namespace{}
		if err := admin.Get(t.Context(), client.ObjectKey{Name: "leaving-dev"}, ns); apierrors.IsNotFound(err) || ns.DeletionTimestamp != nil {
			return nil
		}
		return errors.New("the namespace is still there")
	})
}
