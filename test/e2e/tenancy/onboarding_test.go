package tenancy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
)

// seen is one event of a watch, at the revision of the store.
type seen struct {
	revision uint64
	what     string
}

// observe watches the kinds of lists until collect is called, which gives what happened in a namespace, in order.
func observe(t *testing.T, lists ...client.ObjectList) (collect func(namespace string) []string) {
	t.Helper()
	events := make(chan seen, 10000)
	for _, list := range lists {
		w, err := admin.Watch(t.Context(), list)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		go func() {
			for e := range w.ResultChan() {
				o, ok := e.Object.(client.Object)
				if !ok {
					continue
				}
				revision, _ := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
				what := fmt.Sprintf("%s %s %s %s", o.GetNamespace(), e.Type, strings.TrimPrefix(fmt.Sprintf("%T", o), "*"), o.GetName())
				if ns, ok := o.(*corev1.Namespace); ok {
					what = fmt.Sprintf("%s %s Namespace guarded=%s", ns.Name, e.Type, ns.Labels[v1alpha1.LabelGuarded])
				}
				events <- seen{revision, what}
			}
		}()
	}
	return func(namespace string) (order []string) {
		time.Sleep(300 * time.Millisecond)
		var all []seen
		for len(events) > 0 {
			all = append(all, <-events)
		}
		slices.SortStableFunc(all, func(a, b seen) int { return int(a.revision) - int(b.revision) })
		for _, e := range all {
			if rest, ok := strings.CutPrefix(e.what, namespace+" "); ok && !slices.Contains(order, rest) {
				order = append(order, rest)
			}
		}
		return order
	}
}

func TestOnboardingOrder(t *testing.T) {
	collect := observe(t, &corev1.NamespaceList{}, &v1alpha1.GuardList{}, &corev1.ResourceQuotaList{}, &corev1.LimitRangeList{},
		&networkingv1.NetworkPolicyList{}, &rbacv1.RoleBindingList{})
	onboard(t, "order", func(t *v1alpha1.Tenant) {
		t.Spec.Quota = map[string]resource.Quantity{"pods": resource.MustParse("10")}
	})
	got := slices.DeleteFunc(collect("order-dev"), func(s string) bool { return strings.HasPrefix(s, "MODIFIED v1.ResourceQuota") })
	want := []string{
		"ADDED Namespace guarded=",
		"ADDED v1alpha1.Guard guard",
		"MODIFIED Namespace guarded=true",
		"ADDED v1.ResourceQuota ringfence",
		"ADDED v1.LimitRange ringfence",
		"ADDED v1.NetworkPolicy ringfence-baseline",
		"ADDED v1.RoleBinding ringfence-tenant-admin",
		"ADDED v1.RoleBinding ringfence-tenant-network-kubernetes",
		"ADDED v1.RoleBinding ringfence-tenant-readonly",
		"ADDED v1.RoleBinding ringfence-tenant-debug",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order of events (-want +got):\n%s", diff)
	}
	o := get(t, "", "order", &v1alpha1.Tenant{})
	for _, e := range o.Status.Environments {
		if e.Phase != v1alpha1.EnvironmentActive || e.Message != "" {
			t.Errorf("environment %+v, want Active without a message", e)
		}
	}
	if a := get(t, "order-dev", "default", &corev1.ServiceAccount{}); a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken {
		t.Errorf("default ServiceAccount mounts its token: %v", a.AutomountServiceAccountToken)
	}
}

// TestPodComesBackAsWritten: nothing that Ringfence puts in a namespace fills anything into a pod.
func TestPodComesBackAsWritten(t *testing.T) {
	onboard(t, "plain", func(t *v1alpha1.Tenant) {
		t.Spec.Quota = map[string]resource.Quantity{"requests.storage": resource.MustParse("10Gi"), "pods": resource.MustParse("10")}
	})
	// Two pods in two namespaces, one of them without anything of ours but the Guard, differ in nothing.
	if err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "bare"}}); err != nil {
		t.Fatal(err)
	}
	var specs []corev1.PodSpec
	for _, ns := range []string{"plain-dev", "bare"} {
		p := pod(ns, "p")
		p.Spec.AutomountServiceAccountToken = new(bool)
		eventually(t, func() error {
			p.ResourceVersion = ""
			return client.IgnoreAlreadyExists(admin.Create(t.Context(), p))
		})
		p.Spec.NodeName = ""
		specs = append(specs, p.Spec)
		if r := p.Spec.Containers[0].Resources; len(r.Limits) != 0 || len(r.Requests) != 0 {
			t.Errorf("a pod without limits came back from %s with %v", ns, r)
		}
	}
	if !equality.Semantic.DeepEqual(specs[0], specs[1]) {
		t.Errorf("the two pods differ:\n%s", cmp.Diff(specs[0], specs[1]))
	}
	if l := get(t, "plain-dev", "ringfence", &corev1.LimitRange{}); len(l.Spec.Limits) != 1 || l.Spec.Limits[0].Default != nil || l.Spec.Limits[0].DefaultRequest != nil {
		t.Errorf("the LimitRange came back with defaults: %+v", l.Spec.Limits)
	}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "plain-dev", Name: "huge"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("11Gi")}},
		},
	}
	if err := admin.Create(t.Context(), claim); !apierrors.IsForbidden(err) {
		t.Errorf("a claim larger than the quota: %v, want Forbidden", err)
	}
}

func TestUnownedNamespaceIsGuarded(t *testing.T) {
	if err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "stray"}}); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, func() error {
		var g v1alpha1.Guard
		if err := admin.Get(t.Context(), client.ObjectKey{Namespace: "stray", Name: "guard"}, &g); err != nil {
			return err
		}
		if g.Spec.Tenant != "" || g.Spec.Actions["RF-WL-15"] != v1alpha1.Warn || g.Spec.Actions["RF-WL-01"] != v1alpha1.Deny {
			return fmt.Errorf("guard %+v", g.Spec)
		}
		if l := get(t, "", "stray", &corev1.Namespace{}).Labels; l[v1alpha1.LabelGuarded] != "true" {
			return fmt.Errorf("labels %v", l)
		}
		if _, ok := notices.Load("stray"); !ok {
			return fmt.Errorf("nobody was told")
		}
		return nil
	})
	t.Logf("guarded after %v", took)
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: "kube-system", Name: "guard"}, &v1alpha1.Guard{}); !apierrors.IsNotFound(err) {
		t.Errorf("a Guard in kube-system: %v, want none", err)
	}
	get(t, v1alpha1.SystemNamespace, "guard", &v1alpha1.Guard{}) // for what lies in no namespace
	get(t, "default", "guard", &v1alpha1.Guard{})
}

func TestConflicts(t *testing.T) {
	if err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "first-dev", Labels: map[string]string{"theirs": "yes"}}}); err != nil {
		t.Fatal(err)
	}
	one := newTenant("first", nil)
	if err := admin.Create(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	awaitReason(t, "first", tenant.ReasonRefused)
	if l := get(t, "", "first-dev", &corev1.Namespace{}).Labels; l[v1alpha1.LabelTenant] != "" {
		t.Errorf("a namespace that was not asked for by name was taken: %v", l)
	}
	get(t, "first-prod", "guard", &v1alpha1.Guard{}) // the other environment is in place

	thief := newTenant("thief", func(t *v1alpha1.Tenant) {
		t.Spec.Environments = []v1alpha1.Environment{{Name: "x", Namespace: "first-prod"}}
	})
	if err := admin.Create(t.Context(), thief); err != nil {
		t.Fatal(err)
	}
	awaitReason(t, "thief", tenant.ReasonRefused)
	if g := get(t, "first-prod", "guard", &v1alpha1.Guard{}); g.Spec.Tenant != "first" {
		t.Errorf("first-prod is %s's now", g.Spec.Tenant)
	}

	edit(t, "first", func(t *v1alpha1.Tenant) { t.Spec.Environments[0].Namespace = "first-dev" })
	ready(t, "first")
	if l := get(t, "", "first-dev", &corev1.Namespace{}).Labels; l[v1alpha1.LabelTenant] != "first" || l["theirs"] != "yes" {
		t.Errorf("adopted with labels %v, want ours and theirs", l)
	}
}

func TestEgressEnds(t *testing.T) {
	end := time.Now().Add(4 * time.Second)
	onboard(t, "ends", func(t *v1alpha1.Tenant) {
		t.Spec.Egress = []v1alpha1.EgressRule{
			{FQDN: "db.bank.example", Ports: []v1alpha1.Port{5432}, Expires: end.UTC().Format(time.RFC3339)},
			{FQDN: "mq.bank.example", Ports: []v1alpha1.Port{5671}},
		}
	})
	if g := get(t, "ends-dev", "guard", &v1alpha1.Guard{}); len(g.Spec.Egress) != 2 {
		t.Fatalf("egress %v, want both", g.Spec.Egress)
	}
	eventually(t, func() error {
		if g := get(t, "ends-dev", "guard", &v1alpha1.Guard{}); len(g.Spec.Egress) != 1 {
			return fmt.Errorf("egress %v", g.Spec.Egress)
		}
		return nil
	})
	if early := time.Until(end.Truncate(time.Second)); early > 0 {
		t.Errorf("it was closed %v before its end", early)
	}
}

// TestThirtyTenants onboards 30 tenants of three environments at once.
func TestThirtyTenants(t *testing.T) {
	began, before := time.Now(), writes.Load()
	for i := range 30 {
		o := newTenant(fmt.Sprintf("many%d", i), func(t *v1alpha1.Tenant) {
			t.Spec.Environments = []v1alpha1.Environment{{Name: "dev"}, {Name: "test"}, {Name: "prod", Production: true}}
			t.Spec.Quota = map[string]resource.Quantity{"pods": resource.MustParse("10")}
		})
		if err := admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 30 {
		eventually(t, func() error {
			o := get(t, "", fmt.Sprintf("many%d", i), &v1alpha1.Tenant{})
			if len(o.Status.Conditions) == 0 || o.Status.Conditions[0].Status != metav1.ConditionTrue {
				return fmt.Errorf("%s: %+v", o.Name, o.Status.Conditions)
			}
			return nil
		})
	}
	t.Logf("90 namespaces in %v with %d writes", time.Since(began).Round(time.Millisecond), writes.Load()-before)
}
