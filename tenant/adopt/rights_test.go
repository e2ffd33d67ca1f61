package adopt

import (
	"bytes"
	"strings"
	"testing"

	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/schema"
)

// TestRightsInTheWholeCluster shows which bindings of the whole cluster somebody must look at, and which are Kubernetes' own.
func TestRightsInTheWholeCluster(t *testing.T) {
	for subject, want := range map[string]string{
		"{kind: Group, name: 'system:masters'}":                                 "",
		"{kind: Group, name: 'system:nodes'}":                                   "",
		"{kind: User, name: 'system:kube-scheduler'}":                           "",
		"{kind: ServiceAccount, name: x, namespace: kube-system}":               "",
		"{kind: Group, name: 'system:serviceaccounts:kube-system'}":             "",
		"{kind: ServiceAccount, name: ci, namespace: pay-dev}":                  "account-everywhere",
		"{kind: User, name: 'system:serviceaccount:pay-dev:ci'}":                "account-everywhere",
		"{kind: Group, name: 'system:serviceaccounts:pay-dev'}":                 "cluster-admin",
		"{kind: Group, name: 'system:authenticated:oauth'}":                     "everybody-everywhere",
		"{kind: Group, name: 'oidc:platform'}":                                  "cluster-admin",
		"{kind: User, name: dana}":                                              "cluster-admin",
		"{kind: Group, name: 'system:masters'}, {kind: User, name: 'somebody'}": "cluster-admin",
	} {
		p := read(t, Options{}, "{apiVersion: v1, kind: Namespace, metadata: {name: pay-dev}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}\n---\n"+
			"{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: cluster-admin}, subjects: ["+subject+"]}")
		got := ""
		for _, d := range p.Decisions {
			if len(d.About) > 0 && strings.HasPrefix(d.About[0], "ClusterRoleBinding b") {
				got += d.Kind
			}
		}
		outcome := OfPlatform
		if want != "" {
			outcome = Decide
		}
		if got != want || p.Objects[0].Outcome != outcome {
			t.Errorf("%s: decision %q and %s, want %q and %s", subject, got, p.Objects[0].Outcome, want, outcome)
		}
	}
}

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

// whole plans a file as the command would, and fails where what comes out is not sound.
func whole(t *testing.T, schemas *schema.Set, text []byte) {
	t.Helper()
	e := New(Options{})
	for o, err := range manifest.ReadLists(bytes.NewReader(text), "x.yaml") {
		if err == nil {
			e.Add(o.Value, "")
		}
	}
	p := e.Plan(schemas)
	for _, o := range p.Objects {
		if o.Outcome == "" || o.Reason == "" || strings.Contains(o.Reason, "would be refused") {
			t.Fatalf("%s is %q: %s", o.Ref(), o.Outcome, o.Reason)
		}
	}
	for _, d := range p.Decisions {
		if d.Kind == "refused" {
			t.Fatalf("%s: %s", d.Tenant, d.Question)
		}
	}
	for _, file := range p.YAML() {
		for _, err := range manifest.Read(bytes.NewReader(file.Text), file.Name) {
			if err != nil {
				t.Fatalf("%v\n%s", err, file.Text)
			}
		}
	}
	if err := p.Text(&bytes.Buffer{}, true); err != nil {
		t.Fatal(err)
	}
}
