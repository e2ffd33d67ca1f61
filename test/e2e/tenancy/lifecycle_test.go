package tenancy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
)

func without(name string) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) {
		var kept []v1alpha1.Environment
		for _, e := range t.Spec.Environments {
			if e.Name != name {
				kept = append(kept, e)
			}
		}
		t.Spec.Environments = kept
		if kept == nil {
			t.Spec.Environments = []v1alpha1.Environment{}
		}
	}
}

func phase(t *testing.T, name, namespace string) (v1alpha1.EnvironmentPhase, string) {
	t.Helper()
	for _, e := range get(t, "", name, &v1alpha1.Tenant{}).Status.Environments {
		if e.Namespace == namespace {
			return e.Phase, e.Message
		}
	}
	return "", ""
}

// goneOrGoing waits until a namespace is away, or its deletion has begun: the end itself takes the namespace controller seconds.
func goneOrGoing(t *testing.T, name string) {
	t.Helper()
	eventually(t, func() error {
		var ns corev1.Namespace
		err := admin.Get(t.Context(), client.ObjectKey{Name: name}, &ns)
		if apierrors.IsNotFound(err) || err == nil && ns.DeletionTimestamp != nil {
			return nil
		}
		return fmt.Errorf("namespace %s lives (%v)", name, err)
	})
}

func TestCordonAndBack(t *testing.T) {
	onboard(t, "cordon", func(t *v1alpha1.Tenant) {
		t.Spec.Controls = map[string]v1alpha1.Action{"RF-WL-15": v1alpha1.Deny}
	})
	if err := admin.Create(t.Context(), deployment("cordon-prod", "app")); err != nil {
		t.Fatal(err)
	}
	edit(t, "cordon", without("prod"))
	awaitReason(t, "cordon", tenant.ReasonCordoned)
	if p, message := phase(t, "cordon", "cordon-prod"); p != v1alpha1.EnvironmentCordoned || !strings.Contains(message, "deletionPolicy") {
		t.Errorf("phase %s %q, want Cordoned and what to do", p, message)
	}
	var rights rbacv1.RoleBindingList
	if err := admin.List(t.Context(), &rights, client.InNamespace("cordon-prod")); err != nil || len(rights.Items) != 0 {
		t.Errorf("rights in a cordoned namespace: %d, %v, want none", len(rights.Items), err)
	}
	if err := as(t, "oidc:cordon-admin").List(t.Context(), &corev1.PodList{}, client.InNamespace("cordon-prod")); !apierrors.IsForbidden(err) {
		t.Errorf("the team lists pods there: %v, want Forbidden", err)
	}
	if g := get(t, "cordon-prod", "guard", &v1alpha1.Guard{}); !g.Spec.Production || g.Spec.Actions["RF-WL-15"] != v1alpha1.Deny {
		t.Errorf("the Guard of a cordoned namespace: %+v", g.Spec)
	}
	get(t, "cordon-prod", "ringfence-baseline", &networkingv1.NetworkPolicy{})
	get(t, "cordon-prod", "app", deployment("", ""))

	edit(t, "cordon", func(t *v1alpha1.Tenant) {
		t.Spec.Environments = append(t.Spec.Environments, v1alpha1.Environment{Name: "prod", Production: true})
	})
	ready(t, "cordon")
	if l := get(t, "", "cordon-prod", &corev1.Namespace{}).Labels; l[v1alpha1.LabelCordoned] != "" {
		t.Errorf("brought back and still cordoned: %v", l)
	}
	if err := as(t, "oidc:cordon-admin").List(t.Context(), &corev1.PodList{}, client.InNamespace("cordon-prod")); err != nil {
		t.Errorf("brought back, and the team lists pods: %v", err)
	}

	// Deleting the tenant cordons as well, and it stays to say so until the namespace is empty.
	if err := admin.Delete(t.Context(), &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "cordon"}}); err != nil {
		t.Fatal(err)
	}
	goneOrGoing(t, "cordon-dev") // empty, made by Ringfence
	awaitReason(t, "cordon", tenant.ReasonCordoned)
	if ns := get(t, "", "cordon-prod", &corev1.Namespace{}); ns.DeletionTimestamp != nil {
		t.Fatal("a namespace with workloads is being deleted")
	}
	if err := admin.DeleteAllOf(t.Context(), deployment("", ""), client.InNamespace("cordon-prod"), client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Fatal(err)
	}
	goneOrGoing(t, "cordon-prod")
	took := eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKey{Name: "cordon"}, &v1alpha1.Tenant{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the tenant is still there: %v", err)
		}
		return nil
	})
	t.Logf("the tenant was gone %v after its last workload", took.Round(100*time.Millisecond))
}

// TestDeleteWithJobsRunning: Jobs put a finalizer on their pods, whose removal is an update that native policies judge, so
// that the Guard must outlive them.
func TestDeleteWithJobsRunning(t *testing.T) {
	onboard(t, "delete", func(t *v1alpha1.Tenant) { t.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	spec := pod("", "").Spec
	spec.RestartPolicy = corev1.RestartPolicyNever
	spec.TerminationGracePeriodSeconds = new(int64)
	parallel := int32(3)
	for i := range 3 {
		job := &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Namespace: "delete-dev", Name: fmt.Sprintf("job%d", i)},
			Spec:       batchv1.JobSpec{Parallelism: &parallel, Completions: &parallel, Template: corev1.PodTemplateSpec{Spec: spec}},
		}
		if err := admin.Create(t.Context(), job); err != nil {
			t.Fatal(err)
		}
	}
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "delete-dev", Name: "held", Finalizers: []string{"example.com/hold"}}}
	if err := admin.Create(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		var pods corev1.PodList
		if err := admin.List(t.Context(), &pods, client.InNamespace("delete-dev")); err != nil || len(pods.Items) < 9 {
			return fmt.Errorf("%d pods, %v", len(pods.Items), err)
		}
		if len(pods.Items[0].Finalizers) == 0 {
			return fmt.Errorf("a Job's pod without finalizer")
		}
		return nil
	})
	edit(t, "delete", without("dev"))
	began := time.Now()
	goneOrGoing(t, "delete-dev")
	eventually(t, func() error { // the pods go first
		var pods corev1.PodList
		if err := admin.List(t.Context(), &pods, client.InNamespace("delete-dev")); err != nil || len(pods.Items) > 0 {
			return fmt.Errorf("%d pods, %v", len(pods.Items), err)
		}
		return nil
	})
	eventually(t, func() error { // then the rest, and the Guard waits for what has a finalizer
		if get(t, "delete-dev", "held", &corev1.ConfigMap{}).DeletionTimestamp == nil || get(t, "delete-dev", "guard", &v1alpha1.Guard{}).DeletionTimestamp == nil {
			return fmt.Errorf("the namespace controller has not come to the ConfigMap and the Guard")
		}
		return nil
	})
	time.Sleep(1500 * time.Millisecond) // longer than the Reconciler's own wait
	get(t, "delete-dev", "guard", &v1alpha1.Guard{})
	if err := admin.Patch(t.Context(), held, merge(`{"metadata":{"finalizers":null}}`)); err != nil {
		t.Errorf("let go of the ConfigMap while the namespace ends: %v", err)
	}
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKey{Name: "delete-dev"}, &corev1.Namespace{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the namespace is still there: %v", err)
		}
		return nil
	})
	t.Logf("a namespace with nine Job pods and a held ConfigMap was gone after %v", time.Since(began).Round(100*time.Millisecond))
	ready(t, "delete")
}

func TestAdoptedIsHandedBack(t *testing.T) {
	old := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "legacy", Labels: map[string]string{"theirs": "yes"}, Annotations: map[string]string{"note": "old"}}}
	if err := admin.Create(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		return admin.Get(t.Context(), client.ObjectKey{Namespace: "legacy", Name: "guard"}, &v1alpha1.Guard{})
	})
	onboard(t, "adopter", func(t *v1alpha1.Tenant) {
		t.Spec.Environments = []v1alpha1.Environment{{Name: "old", Production: true, Namespace: "legacy"}}
		t.Spec.Annotations = map[string]string{"contact": "us"}
	})
	ns := get(t, "", "legacy", &corev1.Namespace{})
	if ns.Labels["theirs"] != "yes" || ns.Labels[v1alpha1.LabelTenant] != "adopter" || ns.Annotations["contact"] != "us" || ns.Annotations[tenant.AnnotationCreatedBy] != "" {
		t.Errorf("adopted: %v %v", ns.Labels, ns.Annotations)
	}
	if err := admin.Create(t.Context(), pod("legacy", "p")); err != nil {
		t.Fatal(err)
	}
	if err := admin.Delete(t.Context(), &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "adopter"}}); err != nil {
		t.Fatal(err)
	}
	awaitReason(t, "adopter", tenant.ReasonCordoned)
	if err := admin.Delete(t.Context(), pod("legacy", "p"), client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKey{Name: "adopter"}, &v1alpha1.Tenant{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the tenant is still there: %v", err)
		}
		g := get(t, "legacy", "guard", &v1alpha1.Guard{})
		if g.Spec.Tenant != "" || g.Spec.Production {
			return fmt.Errorf("the Guard still says %+v", g.Spec)
		}
		return nil
	})
	ns = get(t, "", "legacy", &corev1.Namespace{})
	if ns.DeletionTimestamp != nil || ns.Labels["theirs"] != "yes" || ns.Labels[v1alpha1.LabelGuarded] != "true" || ns.Labels[v1alpha1.LabelTenant] != "" ||
		ns.Labels["pod-security.kubernetes.io/warn"] != "" || ns.Annotations["contact"] != "" || ns.Annotations["note"] != "old" {
		t.Errorf("handed back: %v %v", ns.Labels, ns.Annotations)
	}
	for _, left := range []client.ObjectList{&corev1.LimitRangeList{}, &networkingv1.NetworkPolicyList{}, &rbacv1.RoleBindingList{}} {
		if err := admin.List(t.Context(), left, client.InNamespace("legacy")); err != nil || apimeta.LenList(left) != 0 {
			t.Errorf("left behind: %d of %T, %v", apimeta.LenList(left), left, err)
		}
	}
}

// TestTwoTenantsOneNamespace: the first has it, the second gets it once the first has let go.
func TestTwoTenantsOneNamespace(t *testing.T) {
	if err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "wanted"}}); err != nil {
		t.Fatal(err)
	}
	wants := func(t *v1alpha1.Tenant) {
		t.Spec.Environments = []v1alpha1.Environment{{Name: "x", Namespace: "wanted"}}
	}
	onboard(t, "early", wants)
	if err := admin.Create(t.Context(), newTenant("later", wants)); err != nil {
		t.Fatal(err)
	}
	awaitReason(t, "later", tenant.ReasonRefused)
	if _, message := phase(t, "later", "wanted"); !strings.Contains(message, "early") {
		t.Errorf("message %q, want who has it", message)
	}
	edit(t, "early", without("x"))
	ready(t, "later")
	ready(t, "early")
	if g := get(t, "wanted", "guard", &v1alpha1.Guard{}); g.Spec.Tenant != "later" {
		t.Errorf("wanted is %q's", g.Spec.Tenant)
	}
}

// TestNamespaceComesBack: one that somebody deleted is made anew, rights included.
func TestNamespaceComesBack(t *testing.T) {
	onboard(t, "phoenix", nil)
	old := get(t, "", "phoenix-dev", &corev1.Namespace{})
	if err := admin.Delete(t.Context(), old.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		var ns corev1.Namespace
		if err := admin.Get(t.Context(), client.ObjectKey{Name: "phoenix-dev"}, &ns); err != nil || ns.UID == old.UID {
			return fmt.Errorf("the old one: %v", err)
		}
		return reasonIs(t, "phoenix", tenant.ReasonActive)
	})
	if err := as(t, "oidc:phoenix-admin").List(t.Context(), &corev1.PodList{}, client.InNamespace("phoenix-dev")); err != nil {
		t.Errorf("the team lists pods: %v", err)
	}
}

// TestWhatCannotBeWritten: one environment's fault is said, gives nobody rights there, and stops no other.
func TestWhatCannotBeWritten(t *testing.T) {
	o := newTenant("faulty", func(t *v1alpha1.Tenant) {
		t.Spec.Quota = map[string]resource.Quantity{"no/such/thing": resource.MustParse("1")}
	})
	if err := admin.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	awaitReason(t, "faulty", tenant.ReasonApplyFailed)
	message := get(t, "", "faulty", &v1alpha1.Tenant{}).Status.Conditions[0].Message
	if !strings.Contains(message, "create ResourceQuota faulty-dev/ringfence") || !strings.Contains(message, "no/such/thing") {
		t.Errorf("message %q, want what could not be written and why", message)
	}
	if err := as(t, "oidc:faulty-admin").List(t.Context(), &corev1.PodList{}, client.InNamespace("faulty-dev")); !apierrors.IsForbidden(err) {
		t.Errorf("the team has rights before its limits are in place: %v", err)
	}
	edit(t, "faulty", func(t *v1alpha1.Tenant) { t.Spec.Quota = nil })
	ready(t, "faulty")
}
