package observe_test

import (
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/observe"
)

func object(t testing.TB, text string) (finding.Subject, map[string]any) {
	t.Helper()
	var value map[string]any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	meta, _ := value["metadata"].(map[string]any)
	s := finding.Subject{}
	s.APIVersion, _ = value["apiVersion"].(string)
	s.Kind, _ = value["kind"].(string)
	s.Namespace, _ = meta["namespace"].(string)
	s.Name, _ = meta["name"].(string)
	return s, value
}

func report(t testing.TB, texts ...string) observe.Report {
	t.Helper()
	s := observe.New()
	for _, text := range texts {
		subject, value := object(t, text)
		s.Add(subject, value, nil)
	}
	return s.Report("test", time.Unix(0, 0), nil, nil)
}

// TestBaseline: only a policy that selects every pod and closes ingress is one.
func TestBaseline(t *testing.T) {
	for text, want := range map[string]bool{
		"kind: NetworkPolicy\nspec: {podSelector: {}, policyTypes: [Ingress]}":                       true,
		"kind: NetworkPolicy\nspec: {podSelector: {}}":                                               true,
		"kind: NetworkPolicy\nspec: {podSelector: {}, policyTypes: [Egress]}":                        false,
		"kind: NetworkPolicy\nspec: {podSelector: {matchLabels: {a: b}}, policyTypes: [Ingress]}":    false,
		"kind: NetworkPolicy\nspec: {podSelector: {matchExpressions: [{key: a, operator: Exists}]}}": false,
		"kind: CiliumNetworkPolicy\nspec: {endpointSelector: {}, ingress: [{}]}":                     true,
		"kind: CiliumNetworkPolicy\nspec: {endpointSelector: {}, egress: [{}]}":                      false,
		"kind: CiliumNetworkPolicy\nspec: {nodeSelector: {}, ingress: [{}]}":                         false,
		"kind: CiliumNetworkPolicy\nspec: {endpointSelector: {matchLabels: {a: b}}, ingress: [{}]}":  false,
		"kind: NetworkPolicy\nspec: 7":                                                               false,
		"kind: NetworkPolicy":                                                                        false,
	} {
		r := report(t, text+"\nmetadata: {name: p, namespace: shop}")
		if got := r.Namespaces[0].Baseline; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// TestRights: what roles give, to whom, where; Kubernetes' own are left out, strangers are not.
func TestRights(t *testing.T) {
	r := report(t,
		"{kind: ClusterRole, metadata: {name: all}, rules: [{apiGroups: ['*'], verbs: ['*'], resources: ['*']}]}",
		"{kind: ClusterRole, metadata: {name: system:basic-user}, rules: [{verbs: [create], resources: [selfsubjectaccessreviews]}]}",
		"{kind: Role, metadata: {name: r, namespace: a}, rules: [{verbs: [get], resources: [secrets]}, {verbs: [create], resources: [pods/exec]}]}",
		"{kind: Role, metadata: {name: named, namespace: a}, rules: [{verbs: [get], resources: [secrets], resourceNames: [one]}]}",
		"{kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: all}, subjects: [{kind: Group, name: system:masters}, {kind: User, name: eve}, {kind: ServiceAccount, name: x, namespace: kube-system}]}",
		"{kind: ClusterRoleBinding, metadata: {name: c}, roleRef: {kind: ClusterRole, name: system:basic-user}, subjects: [{kind: Group, name: system:authenticated}]}",
		"{kind: RoleBinding, metadata: {name: d, namespace: a}, roleRef: {kind: Role, name: r}, subjects: [{kind: ServiceAccount, name: ci}, {kind: Group, name: system:unauthenticated}]}",
		"{kind: RoleBinding, metadata: {name: e, namespace: a}, roleRef: {kind: Role, name: named}, subjects: [{kind: User, name: bob}]}",
		"{kind: RoleBinding, metadata: {name: f, namespace: b}, roleRef: {kind: Role, name: r}, subjects: [{kind: User, name: bob}]}",
	)
	var got []string
	for _, h := range r.Rights {
		got = append(got, h.Subject+"="+strings.Join(h.Powers, "+"))
	}
	if s, want := strings.Join(got, "; "), "User eve=everything; Group system:unauthenticated=reads-secrets+exec; ServiceAccount a/ci=reads-secrets+exec"; s != want {
		t.Errorf("%s, want %s", s, want)
	}
}

// TestHostile: no shape of an object stops the stock, and no name leaves its line.
func TestHostile(t *testing.T) {
	for _, kind := range []string{"Pod", "Deployment", "CronJob", "PodTemplate", "Namespace", "NetworkPolicy", "CiliumNetworkPolicy", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"} {
		for _, rest := range []string{"", "spec: 7", "spec: {containers: 7}", "spec: {containers: [7, {image: 7}, {image: ''}]}", "rules: [7, {verbs: 7}]", "subjects: [7, {kind: 7}]\nroleRef: []", "spec: {template: {spec: []}}"} {
			r := report(t, "kind: "+kind+"\nmetadata: {name: x, namespace: y}\n"+rest)
			_, _ = r.Text(), r.Platform(true)
		}
	}
	r := report(t, "kind: Pod\nmetadata: {name: x, namespace: shop}\nspec: {containers: [{image: \"evil\\nspec: {}\"}]}")
	r.Cluster = "a\nspec: {}"
	if strings.Contains(r.Text(), "\nspec") || strings.Contains(r.Platform(false), "\nspec: {}") {
		t.Errorf("%s %s", r.Text(), r.Platform(false))
	}
}
