package adopt

import "testing"

// TestOwnBindingsInTheWholeCluster: what Ringfence binds for a tenant's people is no decision of anybody's; what only bears its label is.
func TestOwnBindingsInTheWholeCluster(t *testing.T) {
	for name, tc := range map[string]struct{ binding, role, want string }{
		"Ringfence's":      {"ringfence:tenant:pay", "ringfence:tenant:pay", ""},
		"another role":     {"ringfence:tenant:pay", "cluster-admin", "cluster-admin"},
		"only the label":   {"b", "everything", "rights-everywhere"},
		"the role's label": {"everything", "everything", "rights-everywhere"},
	} {
		p := read(t, Options{}, "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: "+tc.role+"}, rules: [{apiGroups: ['"+star(tc.role)+"'], resources: ['"+star(tc.role)+"'], verbs: ['"+star(tc.role)+"']}]}\n---\n"+
			"{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: "+tc.binding+", labels: {app.kubernetes.io/managed-by: ringfence}}, "+
			"roleRef: {kind: ClusterRole, name: "+tc.role+"}, subjects: [{kind: Group, name: 'oidc:pay'}]}")
		got := ""
		for _, d := range p.Decisions {
			got += d.Kind
		}
		if got != tc.want {
			t.Errorf("%s: decision %q, want %q", name, got, tc.want)
		}
	}
}

// star is everything for cluster-admin, and one right for another role.
func star(role string) string {
	if role == "cluster-admin" {
		return "*"
	}
	return "get"
}
