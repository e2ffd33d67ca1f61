package tenancy

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
)

func deployment(namespace, name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod(namespace, name).Spec},
		},
	}
}

func binding(namespace, name, role, group string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: group}},
	}
}

func merge(body string) client.Patch { return client.RawPatch(types.MergePatchType, []byte(body)) }

// policyTakesEffect waits until the native policies are enforced: they are up to a second late after they are installed.
func policyTakesEffect(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "probe", Labels: map[string]string{v1alpha1.LabelTenant: "probe"}}}
		if err := as(t, "oidc:platform").Create(t.Context(), ns, client.DryRunAll); !apierrors.IsForbidden(err) {
			return fmt.Errorf("a forged namespace: %v", err)
		}
		return nil
	})
}

// reviews are who may do what: the admin group everywhere, the admin group outside production, the read-only group.
var reviews = []struct {
	verb, group, resource, sub string
	admin, debug, readOnly     bool
}{
	{"create", "apps", "deployments", "", true, true, false},
	{"patch", "apps", "deployments", "scale", true, true, false},
	{"delete", "", "pods", "", true, true, false},
	{"create", "", "pods", "eviction", true, true, false},
	{"get", "", "pods", "log", true, true, true},
	{"list", "", "pods", "", true, true, true},
	{"create", "", "pods", "exec", false, true, false},
	{"get", "", "pods", "exec", false, true, false},
	{"create", "", "pods", "attach", false, true, false},
	{"create", "", "pods", "portforward", false, true, false},
	{"patch", "", "pods", "ephemeralcontainers", false, true, false},
	{"create", "", "pods", "proxy", false, false, false},
	{"get", "", "secrets", "", true, true, false},
	{"list", "", "secrets", "", true, true, false},
	{"watch", "", "secrets", "", true, true, false},
	{"create", "", "secrets", "", true, true, false},
	{"create", "", "serviceaccounts", "token", false, false, false},
	{"impersonate", "", "serviceaccounts", "", false, false, false},
	{"update", "", "endpoints", "", false, false, false},
	{"create", "networking.k8s.io", "networkpolicies", "", true, true, false},
	{"create", "cilium.io", "ciliumnetworkpolicies", "", false, false, false}, // not the platform's model
	{"create", "networking.k8s.io", "ingresses", "", true, true, false},
	{"create", "batch", "cronjobs", "", true, true, false},
	{"create", "autoscaling", "horizontalpodautoscalers", "", true, true, false},
	{"create", "policy", "poddisruptionbudgets", "", true, true, false},
	{"create", "rbac.authorization.k8s.io", "rolebindings", "", false, false, false},
	{"create", "rbac.authorization.k8s.io", "roles", "", false, false, false},
	{"list", "rbac.authorization.k8s.io", "rolebindings", "", true, true, true},
	{"update", "", "resourcequotas", "", false, false, false},
	{"create", "", "limitranges", "", false, false, false},
	{"get", "", "resourcequotas", "", true, true, true},
	{"get", "ringfence.dev", "guards", "", true, true, true},
	{"update", "ringfence.dev", "guards", "", false, false, false},
	{"update", "ringfence.dev", "platforms", "", false, false, false},
	{"delete", "ringfence.dev", "platforms", "", false, false, false},
	{"update", "ringfence.dev", "tenants", "", false, false, false},
	{"delete", "ringfence.dev", "tenants", "", false, false, false},
	{"update", "apiextensions.k8s.io", "customresourcedefinitions", "", false, false, false},
	{"delete", "apiextensions.k8s.io", "customresourcedefinitions", "", false, false, false},
	{"update", "admissionregistration.k8s.io", "validatingadmissionpolicies", "", false, false, false},
	{"delete", "admissionregistration.k8s.io", "validatingadmissionpolicies", "", false, false, false},
	{"update", "admissionregistration.k8s.io", "validatingadmissionpolicybindings", "", false, false, false},
	{"delete", "admissionregistration.k8s.io", "validatingadmissionpolicybindings", "", false, false, false},
	{"update", "admissionregistration.k8s.io", "validatingwebhookconfigurations", "", false, false, false},
	{"delete", "admissionregistration.k8s.io", "validatingwebhookconfigurations", "", false, false, false},
	{"update", "coordination.k8s.io", "leases", "", false, false, false},
	{"delete", "coordination.k8s.io", "leases", "", false, false, false},
	{"get", "ringfence.dev", "quarantines", "", true, true, true},
	{"create", "ringfence.dev", "quarantines", "", false, false, false},
	{"patch", "ringfence.dev", "quarantines", "", false, false, false},
	{"get", "", "namespaces", "", true, true, true},
	{"patch", "", "namespaces", "", false, false, false},
	{"delete", "", "events", "", false, false, false},
}

// TestAccessReviews asks the API server who may do what, group by group.
func TestAccessReviews(t *testing.T) {
	onboard(t, "access", nil)
	for _, tc := range reviews {
		ask := func(namespace, group string, want bool) {
			t.Helper()
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
				ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: tc.verb, Group: tc.group, Resource: tc.resource, Subresource: tc.sub},
			}}
			if err := as(t, "oidc:"+group).Create(t.Context(), review); err != nil {
				t.Fatal(err)
			}
			if review.Status.Allowed != want {
				t.Errorf("%s may %s %s/%s in %s: %v, want %v", group, tc.verb, tc.resource, tc.sub, namespace, review.Status.Allowed, want)
			}
		}
		ask("access-prod", "access-admin", tc.admin)
		ask("access-dev", "access-admin", tc.debug)
		ask("access-dev", "access-ro", tc.readOnly)
		ask("access-prod", "access-ro", tc.readOnly)
		ask("default", "access-admin", false)
	}
}

func TestAdminWorks(t *testing.T) {
	onboard(t, "works", nil)
	team, look := as(t, "oidc:works-admin"), as(t, "oidc:works-ro")
	own := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "works-dev", Name: "open"}}
	for _, o := range []client.Object{
		deployment("works-dev", "app"),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "works-dev", Name: "s"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "works-dev", Name: "robot"}},
		own,
	} {
		if err := team.Create(t.Context(), o); err != nil {
			t.Errorf("admin creates %T: %v", o, err)
		}
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "works-dev", Name: "default"}}
	if err := team.Patch(t.Context(), account, merge(`{"imagePullSecrets":[{"name":"s"}]}`)); err != nil {
		t.Errorf("admin adds a pull secret to the default account: %v", err)
	}
	if err := team.Delete(t.Context(), own); err != nil {
		t.Errorf("admin deletes a policy of their own: %v", err)
	}
	if err := look.List(t.Context(), &appsv1.DeploymentList{}, client.InNamespace("works-dev")); err != nil {
		t.Errorf("read-only lists deployments: %v", err)
	}
	if err := look.Get(t.Context(), client.ObjectKey{Namespace: "works-dev", Name: "guard"}, &v1alpha1.Guard{}); err != nil {
		t.Errorf("read-only reads the Guard: %v", err)
	}
	for what, err := range map[string]error{
		"gets a Secret":    look.Get(t.Context(), client.ObjectKey{Namespace: "works-dev", Name: "s"}, &corev1.Secret{}),
		"lists Secrets":    look.List(t.Context(), &corev1.SecretList{}, client.InNamespace("works-dev")),
		"creates a pod":    look.Create(t.Context(), pod("works-dev", "p")),
		"deletes a policy": look.Delete(t.Context(), &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "works-dev", Name: "ringfence-baseline"}}),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("read-only %s: %v, want Forbidden", what, err)
		}
	}
}

// TestOneTenantCannotTouchAnother tries what an admin of tenant A could think of against tenant B.
func TestOneTenantCannotTouchAnother(t *testing.T) {
	onboard(t, "alice", nil)
	onboard(t, "bob", nil)
	for _, o := range []client.Object{pod("bob-dev", "p"), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "bob-dev", Name: "s"}}} {
		if err := admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	a := as(t, "oidc:alice-admin")
	bobs := func(o client.Object, name string) client.Object {
		o.SetNamespace("bob-dev")
		o.SetName(name)
		return o
	}
	impersonate := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "impersonate", Resource: "groups", Name: "oidc:bob-admin"}}}
	if err := a.Create(t.Context(), impersonate); err != nil || impersonate.Status.Allowed {
		t.Errorf("alice may act as bob's group: %v, %v", impersonate.Status.Allowed, err)
	}
	token := &authenticationv1.TokenRequest{}
	ctx := t.Context()
	for what, err := range map[string]error{
		"read a pod":                   a.Get(ctx, client.ObjectKey{Namespace: "bob-dev", Name: "p"}, &corev1.Pod{}),
		"read a Secret":                a.Get(ctx, client.ObjectKey{Namespace: "bob-dev", Name: "s"}, &corev1.Secret{}),
		"list pods of all namespaces":  a.List(ctx, &corev1.PodList{}),
		"list Secrets of everybody":    a.List(ctx, &corev1.SecretList{}),
		"run a pod":                    a.Create(ctx, pod("bob-dev", "intruder")),
		"run a Deployment":             a.Create(ctx, deployment("bob-dev", "intruder")),
		"evict a pod":                  a.SubResource("eviction").Create(ctx, bobs(&corev1.Pod{}, "p"), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "bob-dev", Name: "p"}}),
		"add an ephemeral container":   a.SubResource("ephemeralcontainers").Patch(ctx, bobs(&corev1.Pod{}, "p"), merge(`{"spec":{"ephemeralContainers":[{"name":"x","image":"x"}]}}`)),
		"make a token":                 a.SubResource("token").Create(ctx, bobs(&corev1.ServiceAccount{}, "default"), token),
		"open the network":             a.Create(ctx, bobs(&networkingv1.NetworkPolicy{}, "open")),
		"delete the baseline":          a.Delete(ctx, bobs(&networkingv1.NetworkPolicy{}, "ringfence-baseline")),
		"give themselves rights there": a.Create(ctx, binding("bob-dev", "x", "ringfence-tenant-admin", "oidc:alice-admin")),
		"give themselves all rights":   a.Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "x"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}}),
		"relabel the namespace":        a.Patch(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "bob-dev"}}, merge(`{"metadata":{"labels":{"ringfence.dev/tenant":"alice"}}}`)),
		"delete the namespace":         a.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "bob-dev"}}),
		"make a namespace of theirs":   a.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "bob-x", Labels: map[string]string{"ringfence.dev/tenant": "bob"}}}),
		"rewrite the Guard":            a.Patch(ctx, bobs(&v1alpha1.Guard{}, "guard"), merge(`{"spec":{"registries":["evil.example"]}}`)),
		"rewrite the Tenant":           a.Patch(ctx, &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "bob"}}, merge(`{"spec":{"groups":{"admin":"alice-admin"}}}`)),
		"rewrite their own Tenant":     a.Patch(ctx, &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "alice"}}, merge(`{"spec":{"environments":[{"name":"x","namespace":"bob-dev"}]}}`)),
		"rewrite the Platform":         a.Patch(ctx, &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: "platform"}}, merge(`{"spec":{"exemptNamespaces":["alice-dev"]}}`)),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("alice could %s of bob: %v, want Forbidden", what, err)
		}
	}
}

// TestNobodyButRingfenceWritesItsObjects: the tenant's admin has no right to most; the platform's engineers have every
// right, and the native policy refuses them too.
func TestNobodyButRingfenceWritesItsObjects(t *testing.T) {
	policyTakesEffect(t)
	onboard(t, "guarded", func(t *v1alpha1.Tenant) {
		t.Spec.Quota = map[string]resource.Quantity{"pods": resource.MustParse("10")}
	})
	in := func(o client.Object, name string) client.Object {
		o.SetNamespace("guarded-dev")
		o.SetName(name)
		return o
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "guarded-dev"}}
	ctx := t.Context()
	for who, c := range map[string]client.Client{"the team": as(t, "oidc:guarded-admin"), "the platform": as(t, "oidc:platform")} {
		for what, err := range map[string]error{
			"edit the Guard":                c.Patch(ctx, in(&v1alpha1.Guard{}, "guard"), merge(`{"spec":{"actions":{"RF-WL-01":"Audit"}}}`)),
			"free the Guard":                c.Patch(ctx, in(&v1alpha1.Guard{}, "guard"), merge(`{"metadata":{"finalizers":null}}`)),
			"delete the Guard":              c.Delete(ctx, in(&v1alpha1.Guard{}, "guard")),
			"edit the quota":                c.Patch(ctx, in(&corev1.ResourceQuota{}, "ringfence"), merge(`{"spec":{"hard":{"pods":"999"}}}`)),
			"delete the quota":              c.Delete(ctx, in(&corev1.ResourceQuota{}, "ringfence")),
			"edit the LimitRange":           c.Patch(ctx, in(&corev1.LimitRange{}, "ringfence"), merge(`{"spec":{"limits":[]}}`)),
			"delete the LimitRange":         c.Delete(ctx, in(&corev1.LimitRange{}, "ringfence")),
			"edit the baseline":             c.Patch(ctx, in(&networkingv1.NetworkPolicy{}, "ringfence-baseline"), merge(`{"spec":{"ingress":[{}]}}`)),
			"unmark the baseline":           c.Patch(ctx, in(&networkingv1.NetworkPolicy{}, "ringfence-baseline"), merge(`{"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}`)),
			"have the baseline collected":   c.Patch(ctx, in(&networkingv1.NetworkPolicy{}, "ringfence-baseline"), merge(`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"x"}]}}`)),
			"delete the baseline":           c.Delete(ctx, in(&networkingv1.NetworkPolicy{}, "ringfence-baseline")),
			"delete every policy":           c.DeleteAllOf(ctx, &networkingv1.NetworkPolicy{}, client.InNamespace("guarded-dev")),
			"forge Ringfence's mark":        c.Create(ctx, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "guarded-dev", Name: "x", Labels: map[string]string{"app.kubernetes.io/managed-by": "ringfence"}}}),
			"edit a RoleBinding":            c.Patch(ctx, in(&rbacv1.RoleBinding{}, "ringfence-tenant-readonly"), merge(`{"subjects":[]}`)),
			"delete a RoleBinding":          c.Delete(ctx, in(&rbacv1.RoleBinding{}, "ringfence-tenant-readonly")),
			"edit the role of all teams":    c.Patch(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "ringfence-tenant-readonly"}}, merge(`{"rules":[]}`)),
			"delete the role of all teams":  c.Delete(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "ringfence-tenant-readonly"}}),
			"forge the mark on a role":      c.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "ringfence-x", Labels: map[string]string{"app.kubernetes.io/managed-by": "ringfence"}}}),
			"forge the mark on a binding":   c.Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "ringfence-x", Labels: map[string]string{"app.kubernetes.io/managed-by": "ringfence"}}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}}),
			"mount the default token":       c.Patch(ctx, in(&corev1.ServiceAccount{}, "default"), merge(`{"automountServiceAccountToken":true}`)),
			"drop the setting of the token": c.Patch(ctx, in(&corev1.ServiceAccount{}, "default"), merge(`{"automountServiceAccountToken":null}`)),
			"delete the default account":    c.Delete(ctx, in(&corev1.ServiceAccount{}, "default")),
			"give the namespace away":       c.Patch(ctx, ns.DeepCopy(), merge(`{"metadata":{"labels":{"ringfence.dev/tenant":"x"}}}`)),
			"take the guard label":          c.Patch(ctx, ns.DeepCopy(), merge(`{"metadata":{"labels":{"ringfence.dev/guarded":null}}}`)),
			"silence Pod Security":          c.Patch(ctx, ns.DeepCopy(), merge(`{"metadata":{"labels":{"pod-security.kubernetes.io/warn":"privileged"}}}`)),
			"forge who created it":          c.Patch(ctx, ns.DeepCopy(), merge(`{"metadata":{"annotations":{"ringfence.dev/created-by":"x"}}}`)),
			"relabel through the status":    c.SubResource("status").Patch(ctx, ns.DeepCopy(), merge(`{"metadata":{"labels":{"ringfence.dev/tenant":"x"}}}`)),
			"delete the namespace":          c.Delete(ctx, ns.DeepCopy()),
		} {
			if !apierrors.IsForbidden(err) {
				t.Errorf("%s could %s: %v, want Forbidden", who, what, err)
			}
			if who == "the platform" && err != nil && !strings.Contains(err.Error(), "fix:") {
				t.Errorf("%s: %s: the refusal says no fix: %v", who, what, err)
			}
		}
	}
	// What is theirs stays theirs.
	if err := as(t, "oidc:platform").Patch(ctx, ns.DeepCopy(), merge(`{"metadata":{"labels":{"theirs":"yes"}}}`)); err != nil {
		t.Errorf("the platform labels a namespace: %v", err)
	}
	if err := as(t, "oidc:platform").Create(ctx, binding("guarded-dev", "support", "view", "oidc:support")); err != nil {
		t.Errorf("the platform binds a role of its own: %v", err)
	}
	if p := get(t, "guarded-dev", "guard", &v1alpha1.Guard{}); p.DeletionTimestamp != nil || p.Spec.Actions["RF-WL-01"] != v1alpha1.Deny {
		t.Errorf("the Guard after that: %+v", p)
	}
}

// TestGroupIsTaken: a group, or a pipeline, that an older tenant names from now on is that one's at once, and comes back when it gives it up:
// nothing else need happen to the younger.
func TestGroupIsTaken(t *testing.T) {
	ci := v1alpha1.Pipeline{Name: "ci", Environments: []string{"dev"}, OIDC: &v1alpha1.PipelineOIDC{Issuer: "https://ci.bank.example", Subject: "repo:taken"}}
	onboard(t, "taken-a", nil)
	onboard(t, "taken-b", func(o *v1alpha1.Tenant) { o.Spec.Pipelines = []v1alpha1.Pipeline{ci} })
	for _, tc := range []struct {
		binding string
		take    func(*v1alpha1.Tenant)
		leave   func(*v1alpha1.Tenant)
	}{
		{tenant.RoleAdmin, func(o *v1alpha1.Tenant) { o.Spec.Groups.ReadOnly = "taken-b-admin" }, func(o *v1alpha1.Tenant) { o.Spec.Groups.ReadOnly = "taken-a-ro" }},
		{"ringfence-pipeline-ci", func(o *v1alpha1.Tenant) { o.Spec.Pipelines = []v1alpha1.Pipeline{ci} }, func(o *v1alpha1.Tenant) { o.Spec.Pipelines = nil }},
	} {
		bound := func(want bool) func() error {
			return func() error {
				err := admin.Get(t.Context(), client.ObjectKey{Namespace: "taken-b-dev", Name: tc.binding}, &rbacv1.RoleBinding{})
				if client.IgnoreNotFound(err) != nil || (err == nil) != want {
					return fmt.Errorf("RoleBinding %s of the younger: %v, want it there: %t", tc.binding, err, want)
				}
				return nil
			}
		}
		edit(t, "taken-a", tc.take)
		eventually(t, bound(false))
		awaitReason(t, "taken-b", tenant.ReasonMistaken)
		edit(t, "taken-a", tc.leave)
		eventually(t, bound(true))
		ready(t, "taken-b")
	}
}
