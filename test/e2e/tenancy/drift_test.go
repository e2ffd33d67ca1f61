package tenancy

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
)

// in gives an object a name in the namespace of the drift test.
func in(o client.Object, name string) client.Object {
	o.SetNamespace("drift-dev")
	o.SetName(name)
	return o
}

// right are the checks that what Ringfence wrote in drift-dev is as it wrote it.
type right struct{ t *testing.T }

func (r right) get(name string, o client.Object) error {
	return admin.Get(r.t.Context(), client.ObjectKey{Namespace: "drift-dev", Name: name}, o)
}

func (r right) baseline() error {
	var p networkingv1.NetworkPolicy
	err := r.get("ringfence-baseline", &p)
	if err == nil && (len(p.Spec.Ingress) != 0 || len(p.Spec.Egress) != 3 || p.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy) {
		return fmt.Errorf("baseline %+v, labels %v", p.Spec, p.Labels)
	}
	return err
}

func (r right) quota() error {
	var q corev1.ResourceQuota
	err := r.get("ringfence", &q)
	if err == nil && (len(q.Spec.Hard) != 1 || q.Spec.Hard.Pods().Value() != 10) {
		return fmt.Errorf("quota %v", q.Spec.Hard)
	}
	return err
}

func (r right) limits() error { return r.get("ringfence", &corev1.LimitRange{}) }

func (r right) binding() error {
	var b rbacv1.RoleBinding
	err := r.get("ringfence-tenant-readonly", &b)
	if err == nil && (b.RoleRef.Name != b.Name || len(b.Subjects) != 1 || b.Subjects[0].Name != "oidc:drift-ro" || b.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy) {
		return fmt.Errorf("binding %+v %+v", b.RoleRef, b.Subjects)
	}
	return err
}

func (r right) sight() error {
	var b rbacv1.ClusterRoleBinding
	err := admin.Get(r.t.Context(), client.ObjectKey{Name: driftSight}, &b)
	if err == nil && (b.RoleRef.Name != driftSight || len(b.Subjects) != 2 || b.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy) {
		return fmt.Errorf("binding %+v %+v", b.RoleRef, b.Subjects)
	}
	return err
}

// driftSight is the binding by which people of the drift test find their namespaces.
const driftSight = tenant.SightPrefix + "drift"

// swapSight puts one of its name in its place that gives another role to the same people, however quick Ringfence is.
func swapSight(t *testing.T, labels map[string]string) func() error {
	return func() error {
		var was rbacv1.ClusterRoleBinding
		if err := admin.Get(t.Context(), client.ObjectKey{Name: driftSight}, &was); err != nil {
			return err
		}
		for range 50 {
			if err := client.IgnoreNotFound(admin.Delete(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: driftSight}})); err != nil {
				return err
			}
			planted := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: driftSight, Labels: labels}, Subjects: was.Subjects,
				RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}}
			if err := admin.Create(t.Context(), planted); !apierrors.IsAlreadyExists(err) {
				return err
			}
		}
		return errors.New("Ringfence was quicker 50 times")
	}
}

func (r right) guard() error {
	var g v1alpha1.Guard
	err := r.get("guard", &g)
	if err == nil && (g.Spec.Actions["RF-WL-01"] != v1alpha1.Deny || len(g.Spec.Registries) != 1 || g.DeletionTimestamp != nil || len(g.Finalizers) != 1) {
		return fmt.Errorf("guard %+v", g)
	}
	return err
}

func (r right) labels() error {
	l := get(r.t, "", "drift-dev", &corev1.Namespace{}).Labels
	if l[v1alpha1.LabelGuarded] != "true" || l["cost-centre"] != "7" || l["pod-security.kubernetes.io/warn"] != "restricted" || l["theirs"] != "yes" {
		return fmt.Errorf("labels %v", l)
	}
	return nil
}

func (r right) account() error {
	var a corev1.ServiceAccount
	err := r.get("default", &a)
	if err == nil && (a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken) {
		return errors.New("the default account mounts its token")
	}
	return err
}

// TestDriftIsPutRight changes, as one whom nothing stops, all that Ringfence wrote.
func TestDriftIsPutRight(t *testing.T) {
	onboard(t, "drift", func(t *v1alpha1.Tenant) {
		t.Spec.Quota = map[string]resource.Quantity{"pods": resource.MustParse("10")}
		t.Spec.Labels = map[string]string{"cost-centre": "7"}
	})
	is, ctx := right{t}, t.Context()
	patch := func(o client.Object, name, body string) func() error {
		return func() error { return admin.Patch(ctx, in(o, name), merge(body)) }
	}
	remove := func(o client.Object, name string) func() error {
		return func() error { return admin.Delete(ctx, in(o, name)) }
	}
	policy, quota, guard, account := &networkingv1.NetworkPolicy{}, &corev1.ResourceQuota{}, &v1alpha1.Guard{}, &corev1.ServiceAccount{}
	for _, tc := range []struct {
		name  string
		spoil func() error
		right func() error
	}{
		{"baseline edited", patch(policy, "ringfence-baseline", `{"spec":{"ingress":[{}]}}`), is.baseline},
		{"baseline unmarked", patch(policy, "ringfence-baseline", `{"metadata":{"labels":null},"spec":{"egress":[{}]}}`), is.baseline},
		{"baseline deleted", remove(policy, "ringfence-baseline"), is.baseline},
		{"quota widened", patch(quota, "ringfence", `{"spec":{"hard":{"pods":"99","services":"1"}}}`), is.quota},
		{"quota deleted", remove(quota, "ringfence"), is.quota},
		{"limits deleted", remove(&corev1.LimitRange{}, "ringfence"), is.limits},
		{"rights widened", patch(&rbacv1.RoleBinding{}, "ringfence-tenant-readonly",
			`{"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"system:authenticated"}]}`), is.binding},
		{"rights swapped", func() error { // the same name with another role
			if err := admin.Delete(ctx, in(&rbacv1.RoleBinding{}, "ringfence-tenant-readonly")); err != nil {
				return err
			}
			return client.IgnoreAlreadyExists(admin.Create(ctx, binding("drift-dev", "ringfence-tenant-readonly", "view", "oidc:drift-ro")))
		}, is.binding},
		{"sight swapped", swapSight(t, nil), is.sight},
		{"sight swapped and marked", swapSight(t, map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelTenant: "drift"}), is.sight},
		{"Guard weakened", patch(guard, "guard", `{"spec":{"actions":{"RF-WL-01":"Audit"},"registries":["evil.example","registry.bank.example"]}}`), is.guard},
		{"Guard without finalizer", patch(guard, "guard", `{"metadata":{"finalizers":null}}`), is.guard},
		{"Guard deleted", remove(guard, "guard"), is.guard},
		{"labels changed", func() error {
			return admin.Patch(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "drift-dev"}},
				merge(`{"metadata":{"labels":{"ringfence.dev/guarded":null,"cost-centre":"8","pod-security.kubernetes.io/warn":"privileged","theirs":"yes"}}}`))
		}, is.labels},
		{"token mounted", patch(account, "default", `{"automountServiceAccountToken":true}`), is.account},
		{"account deleted", remove(account, "default"), is.account},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.spoil(); err != nil {
				t.Fatal(err)
			}
			t.Logf("right after %v", eventually(t, tc.right).Round(time.Millisecond))
		})
	}
}

// TestGuardGap deletes a Guard while something creates objects that need it, and counts the refusals: without a Guard
// nothing passes, so the gap costs refusals and no more.
func TestGuardGap(t *testing.T) {
	onboard(t, "gap", nil)
	refusals, tries := 0, 0
	try := func() {
		tries++
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "gap-dev", GenerateName: "x"}}
		if err := admin.Create(t.Context(), o, client.DryRunAll); err != nil {
			refusals++
		}
	}
	for range 5 {
		if err := admin.Delete(t.Context(), &v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Namespace: "gap-dev", Name: "guard"}}); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
			try()
		}
		get(t, "gap-dev", "guard", &v1alpha1.Guard{})
	}
	t.Logf("five deletions of the Guard: %d of %d creates beside them were refused for want of it", refusals, tries)
}

// TestUnchangedEstateWritesNothing makes every object be looked at again and counts what is written. What the tests before it set
// going may end late and write meanwhile: one of three rounds has to pass without.
func TestUnchangedEstateWritesNothing(t *testing.T) {
	onboard(t, "still", func(t *v1alpha1.Tenant) {
		t.Spec.Quota = map[string]resource.Quantity{"limits.cpu": resource.MustParse("2000m"), "requests.memory": resource.MustParse("1024Mi")}
		t.Spec.Labels = map[string]string{"cost-centre": "7"}
		t.Spec.Egress = []v1alpha1.EgressRule{{CIDR: "10.1.0.0/16", Ports: []v1alpha1.Port{443}, Expires: "2099-01-01"}}
	})
	eventually(t, func() error { // what others left is still going, and that changes what is said of its tenants
		var namespaces corev1.NamespaceList
		if err := admin.List(t.Context(), &namespaces); err != nil {
			return err
		}
		for _, ns := range namespaces.Items {
			if ns.DeletionTimestamp != nil {
				return fmt.Errorf("namespace %s is going: %v", ns.Name, ns.Status.Conditions)
			}
		}
		return nil
	})
	for round := 1; ; round++ {
		wrote, looked := lookAgain(t)
		if len(wrote) == 0 {
			t.Logf("%d objects, all looked at again: no write, in round %d", looked, round)
			break
		}
		if round == 3 {
			t.Fatalf("writes after %d objects were looked at again, in each of three rounds; want none: %q", looked, wrote)
		}
	}
}

// lookAgain has Ringfence look at every object that may make it write, and returns what it wrote and how many objects there are.
func lookAgain(t *testing.T) (wrote []string, looked int) {
	t.Helper()
	quiet := func() {
		for last := int64(-1); last != writes.Load(); time.Sleep(700 * time.Millisecond) {
			last = writes.Load()
		}
	}
	quiet()
	before := writes.Load()
	var tenants v1alpha1.TenantList
	var namespaces corev1.NamespaceList
	if err := admin.List(t.Context(), &tenants); err != nil {
		t.Fatal(err)
	}
	if err := admin.List(t.Context(), &namespaces); err != nil {
		t.Fatal(err)
	}
	poke := merge(fmt.Sprintf(`{"metadata":{"annotations":{"poked":"%d"}}}`, time.Now().UnixNano()))
	objects := []client.Object{&v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: "platform"}}}
	for i := range tenants.Items {
		objects = append(objects, &tenants.Items[i])
	}
	for i := range namespaces.Items {
		if namespaces.Items[i].DeletionTimestamp == nil {
			objects = append(objects, &namespaces.Items[i])
		}
	}
	for _, o := range objects {
		if err := admin.Patch(t.Context(), o, poke); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	quiet()
	for n := before + 1; n <= writes.Load(); n++ {
		if text, ok := written.Load(n); ok {
			wrote = append(wrote, text.(string))
		}
	}
	return wrote, len(objects)
}
