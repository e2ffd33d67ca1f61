package tenant

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// pipelinePrefix begins the name of the RoleBinding of each pipeline.
const pipelinePrefix = "ringfence-pipeline-"

// bindings give the two groups and the pipelines their rights in one namespace. Those of groups bear the name of the ClusterRole. In a
// cordoned tenant everybody looks, and in one that ends nobody has any right. A group or a pipeline that is another tenant's has none here.
func bindings(in Input, env v1alpha1.Environment) []rbacv1.RoleBinding {
	if ends(in.Tenant) {
		return nil
	}
	namespace, groups := NamespaceOf(in.Tenant, env), GroupsOf(in.Tenant, env)
	var all []rbacv1.RoleBinding
	bind := func(name, role string, kind string, subjects ...string) {
		b := rbacv1.RoleBinding{ObjectMeta: metaOf(namespace, name), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}}
		for _, s := range subjects {
			if kind == rbacv1.GroupKind && in.taken[fold(s)] != "" {
				continue
			}
			if kind == rbacv1.GroupKind {
				s = groupPrefix(in.Platform) + s
			}
			b.Subjects = append(b.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: kind, Name: s})
		}
		if len(b.Subjects) > 0 {
			all = append(all, b)
		}
	}
	if stopped(in.Tenant) {
		bind(RoleReadOnly, RoleReadOnly, rbacv1.GroupKind, groups.ReadOnly, groups.Admin)
		return all
	}
	bind(RoleAdmin, RoleAdmin, rbacv1.GroupKind, groups.Admin)
	network := networkRole(modelOf(in.Platform))
	bind(network, network, rbacv1.GroupKind, groups.Admin)
	bind(RoleReadOnly, RoleReadOnly, rbacv1.GroupKind, groups.ReadOnly)
	if !env.Production {
		bind(RoleDebug, RoleDebug, rbacv1.GroupKind, groups.Admin)
	}
	for _, p := range in.Tenant.Spec.Pipelines {
		if slices.Contains(p.Environments, env.Name) && pipelineOf(in.Tenants, in.Tenant, p) == "" {
			bind(pipelinePrefix+p.Name, RolePipeline, rbacv1.UserKind, PipelineUser(p))
		}
	}
	return all
}

// PipelineUser is a pipeline's user as the API server names it: of OpenID Connect the issuer, # and the subject, as it does by itself
// where no prefix is configured; of an account its own name. "" for one that says neither.
func PipelineUser(p v1alpha1.Pipeline) string {
	switch {
	case p.OIDC != nil:
		return p.OIDC.Issuer + "#" + p.OIDC.Subject
	case p.ServiceAccount != nil:
		return fmt.Sprintf("system:serviceaccount:%s:%s", p.ServiceAccount.Namespace, p.ServiceAccount.Name)
	}
	return ""
}

// pipelineUsers are the users of the pipelines of an environment.
func pipelineUsers(t *v1alpha1.Tenant, env v1alpha1.Environment) (users []string) {
	for _, p := range t.Spec.Pipelines {
		if slices.Contains(p.Environments, env.Name) {
			users = append(users, PipelineUser(p))
		}
	}
	return users
}

// ours reports whether a RoleBinding bears one of the names that Ringfence uses.
func ours(binding string) bool {
	return strings.HasPrefix(binding, pipelinePrefix) ||
		slices.Contains([]string{RoleAdmin, RoleReadOnly, RoleDebug, networkRole(v1alpha1.NetworkCilium), networkRole(v1alpha1.NetworkKubernetes)}, binding)
}
