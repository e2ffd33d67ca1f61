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
		"kind: NetworkPolicy\nspec: {podSelector: {}, policyTypes: [Ingress]}":                                                              true,
		"kind: NetworkPolicy\nspec: {podSelector: {}}":                                                                                      true,
		"kind: NetworkPolicy\nspec: {podSelector: {}, policyTypes: [Egress]}":                                                               false,
		"kind: NetworkPolicy\nspec: {podSelector: {matchLabels: {a: b}}, policyTypes: [Ingress]}":                                           false,
		"kind: NetworkPolicy\nspec: {podSelector: {matchExpressions: [{key: a, operator: Exists}]}}":                                        false,
		"kind: CiliumNetworkPolicy\nspec: {endpointSelector: {}, ingress: [{}]}":                                                            true,
		"kind: CiliumNetworkPolicy\nspec: {endpointSelector: {}, egress: [{}]}":                                                             false,
		"kind: CiliumNetworkPolicy\nspec: {nodeSelector: {}, ingress: [{}]}":                                                                false,
		"kind: CiliumNetworkPolicy\nspec: {endpointSelector: {matchLabels: {a: b}}, ingress: [{}]}":                                         false,
		"kind: NetworkPolicy\nspec: 7":                                                                                                      false,
		"kind: NetworkPolicy":                                                                                                               false,
		"kind: NetworkPolicy\nspec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}":                                              true,
		"kind: NetworkPolicy\nspec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}":                                                    true,
		"kind: NetworkPolicy\nspec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {a: b}}}]}]}":                     true,
		"kind: NetworkPolicy\nspec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}]}]}":    true,
		"kind: NetworkPolicy\nspec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]}":             true,
		"kind: NetworkPolicy\nspec: {podSelector: {}, ingress: [{}]}":                                                                       false,
		"kind: NetworkPolicy\nspec: {podSelector: {}, ingress: [{from: []}]}":                                                               false,
		"kind: NetworkPolicy\nspec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {from: [{namespaceSelector: {}}]}]}":           false,
		"kind: NetworkPolicy\nspec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}":                                   false,
		"kind: CiliumNetworkPolicy\nspec: {endpointSelector: {}, ingress: [{fromEntities: [all]}]}":                                         false,
		"kind: CiliumNetworkPolicy\nspec: {endpointSelector: {}, ingress: [{fromEntities: [cluster], toPorts: [{ports: [{port: '80'}]}]}]}": true,
	} {
		r := report(t, text+"\nmetadata: {name: p, namespace: shop}")
		if got := r.Namespaces[0].Baseline; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// TestOpened: policies add up, so that one which opens ingress to everybody leaves nothing of one that closes it, whichever was seen first.
func TestOpened(t *testing.T) {
	closes, opens := "{kind: NetworkPolicy, metadata: {name: a, namespace: shop}, spec: {podSelector: {}}}", "{kind: NetworkPolicy, metadata: {name: b, namespace: shop}, spec: {podSelector: {}, ingress: [{}]}}"
	for _, both := range [][]string{{closes, opens}, {opens, closes}} {
		if r := report(t, both...); r.Namespaces[0].Baseline {
			t.Errorf("%q pass for a baseline", both)
		}
	}
}

// TestUndecided: what could not be decided would be refused too, and so a control that could not only warns under the proposed Platform; what is waived
// would not be.
func TestUndecided(t *testing.T) {
	s := observe.New()
	subject, value := object(t, "{kind: Deployment, metadata: {name: huge, namespace: shop}}")
	s.Add(subject, value, []finding.Finding{{Control: "RF-WL-01", Outcome: finding.Errored, Subject: subject}})
	subject.Name = "waived"
	s.Add(subject, value, []finding.Finding{{Control: "RF-WL-01", Outcome: finding.Fail, Subject: subject, Waiver: &finding.Waiver{Name: "w"}}})
	r := s.Report("test", time.Unix(0, 0), []observe.Rule{{ID: "RF-WL-01", Title: "No privileged containers"}}, nil)
	if r.Controls[0].Failing != 1 || r.Namespaces[0].Failing != 1 || !strings.Contains(r.Platform(false), "RF-WL-01: {action: Warn}") {
		t.Errorf("%+v\n%s", r, r.Platform(false))
	}
}

// TestRights: what roles give, to whom, where; Kubernetes' own are left out, strangers are not.
func TestRights(t *testing.T) {
	r := report(t,
		"{kind: ClusterRole, metadata: {name: all}, rules: [{apiGroups: ['*'], verbs: ['*'], resources: ['*']}]}",
		"{kind: ClusterRole, metadata: {name: system:basic-user}, rules: [{apiGroups: [authorization.k8s.io], verbs: [create], resources: [selfsubjectaccessreviews]}]}",
		"{kind: Role, metadata: {name: r, namespace: a}, rules: [{apiGroups: [''], verbs: [get], resources: [secrets]}, {apiGroups: [''], verbs: [create], resources: [pods/exec]}]}",
		"{kind: Role, metadata: {name: named, namespace: a}, rules: [{apiGroups: [''], verbs: [get], resources: [secrets], resourceNames: [one]}]}",
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

// TestPowers: a verb or a resource gives what it gives in its API group alone.
func TestPowers(t *testing.T) {
	for rules, want := range map[string]string{
		"{apiGroups: ['*'], verbs: ['*'], resources: ['*']}":                                 "everything",
		"{apiGroups: [apps], verbs: ['*'], resources: ['*']}":                                "changes-things",
		"{apiGroups: [''], verbs: ['*'], resources: [configmaps]}":                           "changes-things",
		"{apiGroups: [''], verbs: ['*'], resources: ['*']}":                                  "escalate+reads-secrets+exec+changes-things",
		"{apiGroups: [apps], verbs: [get], resources: ['*']}":                                "",
		"{apiGroups: [''], verbs: [get], resources: [pods/exec]}":                            "exec",
		"{apiGroups: [''], verbs: [impersonate], resources: [serviceaccounts]}":              "escalate",
		"{apiGroups: [rbac.authorization.k8s.io], verbs: [bind], resources: [clusterroles]}": "escalate",
		"{apiGroups: [rbac.authorization.k8s.io], verbs: ['*'], resources: ['*']}":           "escalate+changes-things",
		"{apiGroups: [cert.example], verbs: [bind], resources: [certificates]}":              "",
		"{verbs: [get], resources: [secrets]}":                                               "",
	} {
		r := report(t, "{kind: ClusterRole, metadata: {name: some}, rules: ["+rules+"]}", "{kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: some}, subjects: [{kind: User, name: eve}]}")
		got := ""
		for _, h := range r.Rights {
			got += strings.Join(h.Powers, "+")
		}
		if got != want {
			t.Errorf("%s gives %q, want %q", rules, got, want)
		}
	}
}

// TestRequests: of an audit log it counts what was forbidden and who went into pods, as often as they did; without one it says nothing.
func TestRequests(t *testing.T) {
	s := observe.New()
	at := func(minute int) time.Time { return time.Date(2026, 11, 21, 12, minute, 0, 0, time.UTC) }
	for _, q := range []observe.Request{
		{Time: at(3), User: "eve", Namespace: "shop", Resource: "pods", Subresource: "exec"},
		{Time: at(1), User: "eve", Namespace: "shop", Resource: "pods", Subresource: "exec"},
		{Time: at(2), User: "bob\nevil", Namespace: "shop", Resource: "pods", Subresource: "portforward"},
		{Time: at(4), User: "bob", Namespace: "shop", Resource: "pods", Subresource: "exec", Refused: true},
		{Time: at(5), User: "bob", Namespace: "shop", Resource: "pods", Subresource: "log"},
	} {
		s.Ask(q)
	}
	r := s.Report("test", at(9), nil, nil)
	if q := r.Requests; q == nil || q.Events != 5 || q.Refused != 1 || !q.From.Equal(at(1)) || !q.Until.Equal(at(5)) || len(q.Entries) != 2 || q.Entries[0] != (observe.Entry{User: "eve", Namespace: "shop", By: "exec", Times: 2, Last: at(3)}) {
		t.Errorf("%+v", q)
	}
	if text := r.Text(); !strings.Contains(text, "5 requests from 2026-11-21T12:01:00Z") || !strings.Contains(text, "eve in shop by exec: 2 times") || strings.Contains(text, "\nevil") {
		t.Error(text)
	}
	if r := observe.New().Report("test", at(9), nil, nil); r.Requests != nil || strings.Contains(r.Text(), "Audit log") {
		t.Errorf("without a log: %+v", r.Requests)
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
