package install

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/tenant"
)

// ours are the objects of a kind that Ringfence made.
func (b *bed) ours(t *testing.T, list client.ObjectList, in string) (all []client.Object) {
	t.Helper()
	if err := b.admin.List(t.Context(), list, client.InNamespace(in), client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}); err != nil {
		t.Fatal(err)
	}
	switch l := list.(type) {
	case *corev1.ResourceQuotaList:
		for i := range l.Items {
			all = append(all, &l.Items[i])
		}
	case *networkingv1.NetworkPolicyList:
		for i := range l.Items {
			all = append(all, &l.Items[i])
		}
	case *rbacv1.RoleBindingList:
		for i := range l.Items {
			all = append(all, &l.Items[i])
		}
	case *rbacv1.ClusterRoleList:
		for i := range l.Items {
			all = append(all, &l.Items[i])
		}
	case *rbacv1.ClusterRoleBindingList:
		for i := range l.Items {
			all = append(all, &l.Items[i])
		}
	default:
		t.Fatalf("%T", list)
	}
	return all
}

// puts: what somebody changes or takes away comes back.
func (b *bed) puts(t *testing.T) {
	t.Helper()
	at := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	objects := []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: at("ringfence-tenant-admin")},
		&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: at("ringfence-workloads-warn")}, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: at("ringfence-workloads-deny")},
		&admissionv1.MutatingAdmissionPolicy{ObjectMeta: at("ringfence-defaults")}, &admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: at("ringfence-defaults")},
		&v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.GuardName, Namespace: namespace}},
	}
	for _, list := range []client.ObjectList{&corev1.ResourceQuotaList{}, &networkingv1.NetworkPolicyList{}, &rbacv1.RoleBindingList{}} {
		objects = append(objects, b.ours(t, list, namespace)...)
	}
	edits := map[string]string{
		"*v1.ClusterRole": `{"rules":[]}`, "*v1.ValidatingAdmissionPolicy": `{"spec":{"failurePolicy":"Ignore"}}`, "*v1.ValidatingAdmissionPolicyBinding": `{"spec":{"validationActions":["Audit"]}}`,
		"*v1.MutatingAdmissionPolicy": `{"spec":{"failurePolicy":"Fail"}}`, "*v1.MutatingAdmissionPolicyBinding": `{"spec":{"matchResources":null}}`,
		"*v1alpha1.Guard": `{"spec":{"actions":{"RF-WL-02":"Audit"}}}`, "*v1.ResourceQuota": `{"spec":{"hard":{"pods":"1"}}}`, "*v1.NetworkPolicy": `{"spec":{"podSelector":{"matchLabels":{"a":"b"}}}}`,
		"*v1.RoleBinding": `{"subjects":[]}`,
	}
	for _, o := range objects {
		kind := fmt.Sprintf("%T", o)
		patch := client.RawPatch(types.MergePatchType, []byte(edits[kind]))
		if err := b.admin.Patch(t.Context(), o, patch); err != nil {
			t.Fatalf("edit %s %s: %v", kind, o.GetName(), err)
		}
		b.waits(t, o, "edited", func(now client.Object) bool { return now.GetResourceVersion() != o.GetResourceVersion() })
	}
	role := objects[0]
	was := role.GetUID()
	if err := b.admin.Delete(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	b.waits(t, role, "deleted", func(now client.Object) bool { return now.GetUID() != was })
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: at("waivers.ringfence.dev")}
	if err := b.admin.Patch(t.Context(), crd, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"names":{"shortNames":["wv"]}}}`))); err != nil {
		t.Fatal(err)
	}
	b.waits(t, crd, "edited", func(now client.Object) bool { return now.GetResourceVersion() != crd.GetResourceVersion() })
}

// waits waits until an object is as it was.
func (b *bed) waits(t *testing.T, o client.Object, what string, back func(client.Object) bool) {
	t.Helper()
	ringfencetest.Eventually(t, fmt.Sprintf("%T %s to be back, which was %s", o, o.GetName(), what), func() error {
		now := o.DeepCopyObject().(client.Object)
		if err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(o), now); err != nil {
			return err
		}
		if !back(now) {
			return fmt.Errorf("it is as it was made")
		}
		return nil
	})
}

// ends: a quarantine and an elevation go through their lives, and a tenant is given up.
func (b *bed) ends(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	mail := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "mail"}, Spec: v1alpha1.TenantSpec{Owner: "mail@bank.example", DeletionPolicy: "Delete",
		Groups: v1alpha1.TenantGroups{Admin: "mail-admins", ReadOnly: "mail-readers"}, Environments: []v1alpha1.Environment{{Name: "dev"}}}}
	ringfencetest.Eventually(t, "a tenant", func() error { return client.IgnoreAlreadyExists(b.admin.Create(ctx, mail)) })
	b.elevates(t)
	b.quarantines(t)
	ringfencetest.Eventually(t, "its namespace", func() error {
		return b.admin.Get(ctx, client.ObjectKey{Namespace: "mail-dev", Name: v1alpha1.GuardName}, &v1alpha1.Guard{})
	})
	if err := b.admin.Delete(ctx, mail); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the tenant to be gone", func() error {
		if err := b.admin.Get(ctx, client.ObjectKeyFromObject(mail), mail); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %v %+v", err, mail.Status)
		}
		return nil
	})
}

// elevates: somebody gets more rights with another person's word, and a token; it ends when they say so.
func (b *bed) elevates(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	bind := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "approvers"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: tenant.RoleElevationApprover},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "security"}}}
	if err := b.admin.Create(ctx, bind); err != nil {
		t.Fatal(err)
	}
	dave := ringfencetest.AsPerson(t, cluster.Config, ringfencetest.Person{Name: "dave", Groups: []string{"oidc:payments-admins"}, Object: "oid-dave", MFA: true})
	erin := ringfencetest.AsPerson(t, cluster.Config, ringfencetest.Person{Name: "erin", Groups: []string{"security"}, Object: "oid-erin", MFA: true})
	e := &v1alpha1.Elevation{ObjectMeta: metav1.ObjectMeta{Name: "night", Namespace: "payments-prod"}, Spec: v1alpha1.ElevationSpec{
		Requester: "dave", RequesterObject: "oid-dave", Reason: "payments hang", Ticket: "INC0012345", Lasts: metav1.Duration{Duration: 30 * time.Minute}}}
	ringfencetest.Eventually(t, "an elevation", func() error { return dave.Create(ctx, e.DeepCopy()) })
	approval := fmt.Appendf(nil, `{"status":{"approval":{"approver":"erin","approverObject":"oid-erin","approvedAt":%q}}}`, time.Now().UTC().Format(time.RFC3339))
	ringfencetest.Eventually(t, "its approval", func() error {
		return erin.SubResource("status").Patch(ctx, e.DeepCopy(), client.RawPatch(types.MergePatchType, approval))
	})
	b.phase(t, e, func() string { return string(e.Status.Phase) }, string(v1alpha1.ElevationActive))
	web := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(b.dir, "run/ringfence/ringfence.sock"))
	}}}
	ringfencetest.Eventually(t, "a token", func() error {
		answer, err := web.Post("http://ringfence/elevations/payments-prod/night/token", "", nil)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s %s", answer.Status, text)
		}
		return nil
	})
	stranger, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://ringfence/elevations/payments-prod/night/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger.Header.Set("Authorization", "Bearer "+b.token)
	if answer, err := web.Do(stranger); err != nil || answer.StatusCode != http.StatusNotFound {
		t.Errorf("a token asked for with Ringfence's own: %v %v, want 404", answer, err)
	}
	done := e.DeepCopy()
	done.Spec.Ended = &v1alpha1.ElevationEnd{By: "dave", At: metav1.Now()}
	if err := dave.Patch(ctx, done, client.MergeFrom(e)); err != nil {
		t.Fatal(err)
	}
	b.phase(t, e, func() string { return string(e.Status.Phase) }, string(v1alpha1.ElevationEnded))
}

// quarantines: a workload is cut off, and given back.
func (b *bed) quarantines(t *testing.T) {
	t.Helper()
	ringfencetest.Eventually(t, "a workload", func() error { return cluster.Install(t.Context(), "../../../samples/compliant.yaml") })
	ringfencetest.Eventually(t, "its pods", func() error {
		var pods corev1.PodList
		if err := b.admin.List(t.Context(), &pods, client.InNamespace(namespace)); err != nil || len(pods.Items) == 0 {
			return fmt.Errorf("no pods: %v", err)
		}
		return nil
	})
	code, out, stderr := ringfence(t, "quarantine", "deploy/api", "-n", namespace, "--kubeconfig", cluster.Kubeconfig, "--reason", "it speaks to strangers", "--ticket", "INC1")
	if code != 0 {
		t.Fatalf("quarantine: exit %d %s %s", code, out, stderr)
	}
	var all v1alpha1.QuarantineList
	if err := b.admin.List(t.Context(), &all, client.InNamespace(namespace)); err != nil || len(all.Items) != 1 {
		t.Fatalf("quarantines: %v %v", all.Items, err)
	}
	q := &all.Items[0]
	b.phase(t, q, func() string { return string(q.Status.Phase) }, string(v1alpha1.QuarantineActive))
	if code, out, stderr := ringfence(t, "uninstall", "--kubeconfig", cluster.Kubeconfig); code != 0 || !strings.Contains(out, "lift it first") {
		t.Errorf("uninstall during a quarantine: exit %d %s %s, want what must be ended first", code, out, stderr)
	}
	if code, out, stderr := ringfence(t, "quarantine", "lift", "deploy/api", "-n", namespace, "--kubeconfig", cluster.Kubeconfig, "--reason", "it is repaired"); code != 0 {
		t.Fatalf("lift: exit %d %s %s", code, out, stderr)
	}
	b.phase(t, q, func() string { return string(q.Status.Phase) }, string(v1alpha1.QuarantineEnded))
}

// phase waits until an object is in a phase.
func (b *bed) phase(t *testing.T, o client.Object, phase func() string, want string) {
	t.Helper()
	ringfencetest.Eventually(t, o.GetName()+" to be "+want, func() error {
		if err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		if got := phase(); got != want {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

// removes: uninstall says what will be unguarded, and leaves nothing but the namespaces, what runs there, and the ledger if it is to stay.
func (b *bed) removes(t *testing.T) {
	t.Helper()
	code, out, stderr := ringfence(t, "uninstall", "--kubeconfig", cluster.Kubeconfig)
	if code != 0 || !strings.Contains(out, "nothing is refused in") || !strings.Contains(out, namespace+" (payments)") || !strings.Contains(out, "Stays:") {
		t.Fatalf("uninstall: exit %d %s %s", code, out, stderr)
	}
	code, _, stderr = ringfence(t, "uninstall", "--kubeconfig", cluster.Kubeconfig, "--apply", "--timeout", "5s")
	if code != 1 || !strings.Contains(stderr, "still leads") {
		t.Errorf("uninstall beside a process that runs: exit %d %s, want 1 and which process it is", code, stderr)
	}
	b.stop(t, "ringfence-reviews", "ringfence")
	if code, out, stderr = ringfence(t, "uninstall", "--kubeconfig", cluster.Kubeconfig, "--apply", "--delete-evidence"); code != 0 {
		t.Fatalf("uninstall --apply: exit %d %s %s", code, out, stderr)
	}
	t.Logf("Ringfence says\n%s", b.complaints())
	left, err := leftovers(t, b.admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range left {
		t.Errorf("left: %s", l)
	}
	bad := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "after"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "nginx"}}}}
	ringfencetest.Eventually(t, "a pod in what nobody guards", func() error { return b.admin.Create(t.Context(), bad.DeepCopy(), client.DryRunAll) })
	if code, out, stderr = ringfence(t, "uninstall", "--kubeconfig", cluster.Kubeconfig, "--apply"); code != 0 {
		t.Errorf("uninstall again: exit %d %s %s", code, out, stderr)
	}
}
