package tenant

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// This file lets people find their namespaces. RBAC cannot filter a list: whoever may list namespaces sees those of everybody. It can
// name what may be read, and everybody may ask for his own rules. So each set of groups gets a ClusterRole that names its namespaces,
// and `ringfence tenant namespaces` reads the names out of the rules.

// SightPrefix begins the name of the ClusterRole and of the ClusterRoleBinding by which people of a tenant find their namespaces. A
// colon is in no name of a tenant, so that no two tenants meet in one.
const SightPrefix = "ringfence:tenant:"

// sight is a ClusterRole and the binding that bears its name.
type sight struct {
	role    *rbacv1.ClusterRole
	binding *rbacv1.ClusterRoleBinding
}

// sights are what the groups of a tenant see of the namespaces given, by name: groups with the same namespaces share one. Whoever is in
// a group of the whole tenant may read its Tenant too.
func sights(in Input, active []v1alpha1.Environment) map[string]sight {
	t := in.Tenant
	sees, whole := map[string][]string{}, map[string]bool{}
	for _, env := range active {
		groups := GroupsOf(t, env)
		for _, g := range []string{groups.Admin, groups.ReadOnly} {
			if in.taken[fold(g)] == "" {
				sees[g] = append(sees[g], NamespaceOf(t, env))
				whole[g] = whole[g] || g == t.Spec.Groups.Admin || g == t.Spec.Groups.ReadOnly
			}
		}
	}
	out := map[string]sight{}
	for _, group := range slices.Sorted(maps.Keys(sees)) {
		namespaces := slices.Compact(slices.Sorted(slices.Values(sees[group])))
		name := SightPrefix + t.Name
		if len(namespaces) < len(active) || !whole[group] {
			sum := sha256.Sum256(fmt.Appendf(nil, "%t %s", whole[group], strings.Join(namespaces, " ")))
			name += fmt.Sprintf(":%x", sum[:5])
		}
		s, there := out[name]
		if !there {
			meta := metaOf("", name)
			meta.Labels[v1alpha1.LabelTenant] = t.Name
			rules := []rbacv1.PolicyRule{rule("", "namespaces", "get")}
			rules[0].ResourceNames = namespaces
			if whole[group] {
				own := rule("ringfence.dev", "tenants", "get")
				own.ResourceNames = []string{t.Name}
				rules = append(rules, own)
			}
			s = sight{&rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, &rbacv1.ClusterRoleBinding{
				ObjectMeta: *meta.DeepCopy(), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}}}
			out[name] = s
		}
		s.binding.Subjects = append(s.binding.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: groupPrefix(in.Platform) + group})
	}
	return out
}

// showSights makes what people see what they have: after their rights came, before these are forgotten.
func (r *Reconciler) showSights(ctx context.Context, in Input, outcomes []outcome) error {
	in.taken = taken(in.Tenants, in.Tenant)
	var active []v1alpha1.Environment
	for _, env := range in.Tenant.Spec.Environments {
		here := slices.ContainsFunc(outcomes, func(o outcome) bool {
			return o.Status.Namespace == NamespaceOf(in.Tenant, env) && o.err == nil && o.wanted
		})
		if here && !ends(in.Tenant) {
			active = append(active, env)
		}
	}
	of := client.MatchingLabels{v1alpha1.LabelTenant: in.Tenant.Name}
	var roles rbacv1.ClusterRoleList
	var binds rbacv1.ClusterRoleBindingList
	for _, list := range []client.ObjectList{&roles, &binds} {
		if err := r.client.List(ctx, list, of); err != nil {
			return fmt.Errorf("list what people of tenant %s see: %w", in.Tenant.Name, err)
		}
	}
	if err := r.write(ctx, changeSights(sights(in, active), roles.Items, binds.Items)); err != nil {
		return fmt.Errorf("let people of tenant %s find their namespaces: %w", in.Tenant.Name, err)
	}
	return nil
}

// changeSights plans each role and then its binding, and the end of those that nobody wants, the bindings first.
func changeSights(wanted map[string]sight, roles []rbacv1.ClusterRole, binds []rbacv1.ClusterRoleBinding) (changes []Change) {
	liveRoles, liveBinds := map[string]*rbacv1.ClusterRole{}, map[string]*rbacv1.ClusterRoleBinding{}
	for i := range roles {
		liveRoles[roles[i].Name] = &roles[i]
	}
	for i := range binds {
		liveBinds[binds[i].Name] = &binds[i]
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		want := wanted[name]
		switch live := liveRoles[name]; {
		case live == nil:
			changes = append(changes, Change{Create, want.role})
		case !equality.Semantic.DeepEqual(live.Rules, want.role.Rules):
			changes = append(changes, Change{Update, adopt(want.role, live)})
		}
		switch live := liveBinds[name]; {
		case live == nil:
			changes = append(changes, Change{Create, want.binding})
		case live.RoleRef != want.binding.RoleRef: // cannot be changed in place
			changes = append(changes, Change{Delete, live}, Change{Create, want.binding})
		case !equality.Semantic.DeepEqual(live.Subjects, want.binding.Subjects):
			changes = append(changes, Change{Update, adopt(want.binding, live)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(liveBinds)) {
		if _, keep := wanted[name]; !keep && isSight(name) {
			changes = append(changes, Change{Delete, liveBinds[name]})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(liveRoles)) {
		if _, keep := wanted[name]; !keep && isSight(name) {
			changes = append(changes, Change{Delete, liveRoles[name]})
		}
	}
	return changes
}

func isSight(name string) bool { return strings.HasPrefix(name, SightPrefix) }

// tenantOfSight is the tenant whose people a ClusterRole or its binding is for.
func tenantOfSight(_ context.Context, o client.Object) []reconcile.Request {
	if of := o.GetLabels()[v1alpha1.LabelTenant]; isSight(o.GetName()) && of != "" {
		return []reconcile.Request{named(of)}
	}
	return nil
}
