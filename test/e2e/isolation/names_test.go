package isolation

import (
	"context"
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/tenant"
)

// names makes tenants whose names, environments and groups collide with beta's, as whoever may: nothing of beta's becomes theirs.
func (b *bed) names(t *testing.T) {
	for _, tc := range []struct {
		tenant       string
		admin        string
		environments []v1alpha1.Environment
		// invalid is that the schema refuses it; reason is why Ringfence does; else it is in order, and nothing of beta's.
		invalid bool
		reason  string
	}{
		{tenant: "thief", environments: []v1alpha1.Environment{{Name: "x", Namespace: "beta-dev"}}, reason: tenant.ReasonRefused},
		{tenant: "thief-of-two", environments: []v1alpha1.Environment{{Name: "x"}, {Name: "y", Namespace: "beta-prod"}}, reason: tenant.ReasonRefused},
		{tenant: "thief-of-the-platform", environments: []v1alpha1.Environment{{Name: "x", Namespace: "kube-system"}}, invalid: true},
		{tenant: "thief-of-ringfence", environments: []v1alpha1.Environment{{Name: "x", Namespace: "ringfence-system"}}, invalid: true},
		{tenant: "kube", environments: []v1alpha1.Environment{{Name: "system"}}, invalid: true},
		{tenant: "beta", environments: []v1alpha1.Environment{{Name: "dev"}}, invalid: true}, // it is there already
		{tenant: "Beta", environments: []v1alpha1.Environment{{Name: "dev"}}, invalid: true},
		{tenant: "beta.x", environments: []v1alpha1.Environment{{Name: "dev"}}, invalid: true},
		{tenant: "twice", environments: []v1alpha1.Environment{{Name: "x"}, {Name: "y", Namespace: "twice-x"}}, invalid: true},
		{tenant: "dash", environments: []v1alpha1.Environment{{Name: "dev-x"}}, invalid: true},
		{tenant: "masters", admin: "system:masters", environments: []v1alpha1.Environment{{Name: "x"}}, invalid: true},
		{tenant: "beta-dev", environments: []v1alpha1.Environment{{Name: "x"}}},                                                           // beta-dev-x
		{tenant: "bet", environments: []v1alpha1.Environment{{Name: "adev", Namespace: "bet-a-dev"}}},                                     // only looks alike
		{tenant: "same-group", admin: "alpha-admins", environments: []v1alpha1.Environment{{Name: "x"}}, reason: tenant.ReasonMistaken},   // a group of two tenants
		{tenant: "prefixed", admin: "oidc:beta-admins", environments: []v1alpha1.Environment{{Name: "x"}}, reason: tenant.ReasonMistaken}, // the prefix is put before it once more
		{tenant: "account", admin: "system-serviceaccounts:beta-dev", environments: []v1alpha1.Environment{{Name: "x"}}},                  // no group of Kubernetes
		{tenant: "spaced", admin: "beta-admins ", environments: []v1alpha1.Environment{{Name: "x"}}, reason: tenant.ReasonMistaken},       // another group, for whoever reads exactly
		{tenant: "long-" + strings.Repeat("x", 35), environments: []v1alpha1.Environment{{Name: strings.Repeat("y", 20)}}},                // 61 characters, the last that fit
	} {
		o := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: tc.tenant}, Spec: v1alpha1.TenantSpec{
			Owner: "thief@bank.example", Groups: v1alpha1.TenantGroups{Admin: tc.tenant + "-thieves", ReadOnly: tc.tenant + "-readers"}, Environments: tc.environments,
		}}
		if tc.admin != "" {
			o.Spec.Groups.Admin = tc.admin
		}
		err := b.admin.Create(t.Context(), o)
		if invalid := apierrors.IsInvalid(err) || apierrors.IsAlreadyExists(err); invalid != tc.invalid || err != nil && !invalid {
			t.Errorf("tenant %s: %v; want it refused at once: %v", tc.tenant, err, tc.invalid)
			continue
		}
		if tc.invalid {
			continue
		}
		ringfencetest.Eventually(t, "an answer to "+tc.tenant, func() error { return b.answered(t.Context(), tc.tenant, tc.reason) })
	}
	b.untouched(t)
}

// answered is nil where Ringfence has said of a tenant what was wanted.
func (b *bed) answered(ctx context.Context, name, reason string) error {
	var o v1alpha1.Tenant
	if err := b.admin.Get(ctx, client.ObjectKey{Name: name}, &o); err != nil {
		return err
	}
	c := meta.FindStatusCondition(o.Status.Conditions, "Ready")
	if c == nil || reason != "" && c.Reason != reason || (reason == "") != (c.Status == metav1.ConditionTrue) {
		return fmt.Errorf("condition %+v; want the reason %q", c, reason)
	}
	return nil
}

// untouched: beta's namespaces are beta's, and only beta's groups have rights there.
func (b *bed) untouched(t *testing.T) {
	t.Helper()
	for _, namespace := range []string{"beta-dev", "beta-prod"} {
		var guard v1alpha1.Guard
		if err := b.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: v1alpha1.GuardName}, &guard); err != nil {
			t.Fatal(err)
		}
		if guard.Spec.Tenant != "beta" {
			t.Errorf("%s is of tenant %q now", namespace, guard.Spec.Tenant)
		}
		var bindings rbacv1.RoleBindingList
		if err := b.admin.List(t.Context(), &bindings, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		for _, binding := range bindings.Items {
			for _, s := range binding.Subjects {
				if s.Kind != rbacv1.GroupKind || s.Name != "oidc:beta-admins" && s.Name != "oidc:beta-readers" {
					t.Errorf("RoleBinding %s/%s gives %s to %s %s", namespace, binding.Name, binding.RoleRef.Name, s.Kind, s.Name)
				}
			}
		}
	}
}
