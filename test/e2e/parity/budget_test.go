package parity

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// object is a map with the fields of a Kubernetes object.
type object = map[string]any

// many is n items.
func many(n int, item func(i int) any) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = item(i)
	}
	return list
}

// container is one with everything that a rule reads, much of it wrong.
func container(name string, variables int) object {
	return object{
		"name": name, "image": "docker.io/library/nginx:latest", "command": []any{"sh", "-c"}, "args": []any{strings.Repeat("x", 1000)},
		"env": many(variables, func(i int) any { return object{"name": fmt.Sprint("SETTING_", i), "value": strings.Repeat("v", 40)} }),
		"securityContext": object{"privileged": true, "allowPrivilegeEscalation": true, "procMount": "Default",
			"capabilities": object{"add": many(20, func(i int) any { return fmt.Sprint("CAP_", i) })}},
		"ports":         many(5, func(i int) any { return object{"containerPort": 8000 + i} }),
		"livenessProbe": object{"httpGet": object{"port": 80, "host": "example.org"}},
	}
}

func pod(containers, volumes, variables int) object {
	return object{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "large"}, "spec": object{
		"tolerations": many(100, func(i int) any { return object{"key": fmt.Sprint("k", i), "operator": "Exists"} }),
		"containers":  many(containers, func(i int) any { return container(fmt.Sprint("c", i), variables) }),
		"volumes": many(volumes, func(i int) any {
			return object{"name": fmt.Sprint("v", i), "hostPath": object{"path": fmt.Sprint("/srv/", i)}}
		}),
	}}
}

// largest are objects about as large as the API server takes them, most of which break what rules there are.
func largest() map[string]object {
	rules := func(n, words int) []any {
		return many(n, func(i int) any {
			w := many(words, func(j int) any { return fmt.Sprint("thing", i, "-", j) })
			return object{"apiGroups": []any{"", "apps", "batch"}, "resources": w, "verbs": []any{"get", "list", "watch", "create", "update"}}
		})
	}
	subjects := func(n int) []any {
		return many(n, func(i int) any {
			return object{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": fmt.Sprint("oidc:team-", i)}
		})
	}
	const rbac = "rbac.authorization.k8s.io/v1"
	large := object{"name": "large"}
	admin := object{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
	cilium := func(rules, peers, ports int) object {
		return object{"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": large, "spec": object{
			"endpointSelector": object{}, "egress": many(rules, func(i int) any {
				return object{
					"toFQDNs":   many(peers, func(j int) any { return object{"matchName": fmt.Sprintf("h%d-%d.example.org", i, j)} }),
					"toCIDRSet": many(peers, func(j int) any { return object{"cidr": fmt.Sprintf("10.%d.%d.0/24", i%250, j%250)} }),
					"toPorts":   []any{object{"ports": many(ports, func(j int) any { return object{"port": fmt.Sprint(1000 + j), "protocol": "TCP"} })}},
				}
			})}}
	}
	return map[string]object{
		"a pod of 100 containers and volumes":          pod(100, 100, 100),
		"a pod of 10 containers with many variables":   pod(10, 20, 1200),
		"a pod of 250 containers":                      pod(250, 100, 1),
		"a ConfigMap of one large value":               {"apiVersion": "v1", "kind": "ConfigMap", "metadata": large, "data": object{"a": strings.Repeat("password ", 110_000)}},
		"a ConfigMap of many values":                   {"apiVersion": "v1", "kind": "ConfigMap", "metadata": large, "data": values(9000, 80)},
		"a ConfigMap of many annotations":              {"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": "large", "annotations": values(2000, 80)}},
		"a Role of 300 rules":                          {"apiVersion": rbac, "kind": "Role", "metadata": large, "rules": rules(300, 60)},
		"a Role of 5,000 rules":                        {"apiVersion": rbac, "kind": "Role", "metadata": large, "rules": rules(5000, 1)},
		"a Role of one rule with many words":           {"apiVersion": rbac, "kind": "Role", "metadata": large, "rules": rules(1, 20_000)},
		"a ClusterRole of 300 rules":                   {"apiVersion": rbac, "kind": "ClusterRole", "metadata": large, "rules": rules(300, 60)},
		"a RoleBinding of 300 subjects":                {"apiVersion": rbac, "kind": "RoleBinding", "metadata": large, "roleRef": admin, "subjects": subjects(300)},
		"a RoleBinding of 8,000 subjects":              {"apiVersion": rbac, "kind": "RoleBinding", "metadata": large, "roleRef": admin, "subjects": subjects(8000)},
		"a CiliumNetworkPolicy of long lists":          cilium(100, 40, 40),
		"a CiliumNetworkPolicy of one long rule":       cilium(1, 8000, 40),
		"a CiliumNetworkPolicy of many rules":          cilium(3000, 2, 2),
		"a CiliumNetworkPolicy of what fits its lists": cilium(20, 20, 10),
		"a NetworkPolicy of long lists": {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": large, "spec": object{
			"podSelector": object{}, "policyTypes": []any{"Egress"}, "egress": many(100, func(i int) any {
				return object{
					"to":    many(60, func(j int) any { return object{"ipBlock": object{"cidr": fmt.Sprintf("10.%d.%d.0/24", i, j)}} }),
					"ports": many(40, func(j int) any { return object{"port": 1000 + j, "protocol": "TCP"} }),
				}
			})}},
		"an Ingress of many hosts": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": large, "spec": object{
			"tls": many(300, func(i int) any { return object{"hosts": []any{fmt.Sprintf("h%d.example.org", i)}} }),
			"rules": many(300, func(i int) any {
				return object{"host": fmt.Sprintf("h%d.example.org", i), "http": object{"paths": []any{object{"path": "/", "pathType": "Prefix",
					"backend": object{"service": object{"name": "a", "port": object{"number": 80}}}}}}}
			})}},
		"a Service of many addresses": {"apiVersion": "v1", "kind": "Service", "metadata": large, "spec": object{"type": "NodePort",
			"externalIPs": many(3000, func(i int) any { return fmt.Sprintf("10.1.%d.%d", i/250, i%250+1) }),
			"ports": many(250, func(i int) any {
				return object{"name": fmt.Sprint("p", i), "port": 1000 + i}
			})}},
	}
}

func values(n, size int) object {
	o := object{}
	for i := range n {
		o[fmt.Sprint("key-", i)] = strings.Repeat("v", size)
	}
	return o
}

// larger are the largest objects with a name and a place of their own.
func larger() map[string]*unstructured.Unstructured {
	all := map[string]*unstructured.Unstructured{}
	for name, o := range largest() {
		text, err := json.Marshal(o)
		u := &unstructured.Unstructured{}
		if err = errors.Join(err, u.UnmarshalJSON(text)); err != nil {
			panic(err)
		}
		u.SetName(strings.NewReplacer(" ", "-", ",", "").Replace(strings.ToLower(name)))
		if !strings.HasPrefix(u.GetKind(), "Cluster") {
			u.SetNamespace(denying)
		}
		all[name] = u
	}
	return all
}

// storeLargest stores the largest objects while nothing is refused.
func (p *parity) storeLargest(t *testing.T) {
	for name, o := range larger() {
		if err := p.Create(t.Context(), o); err != nil {
			t.Errorf("store %s: %v", name, err)
		}
	}
}

// budgets asks the server about the largest objects, at CREATE and at an UPDATE that changes nothing a rule looks at: it may
// refuse them with the words of a control, but must never have run out of budget or met an error.
func (p *parity) budgets(t *testing.T) {
	for name, o := range larger() {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			p.decided(t, "CREATE", func() error {
				other := o.DeepCopy()
				other.SetName("another-" + o.GetName())
				return p.Create(t.Context(), other, client.DryRunAll)
			})
			created := time.Since(start)
			start = time.Now()
			p.decided(t, "UPDATE", func() error {
				return retry.RetryOnConflict(retry.DefaultRetry, func() error {
					stored := o.DeepCopy()
					if err := p.Get(t.Context(), client.ObjectKeyFromObject(o), stored); err != nil {
						return err
					}
					stored.SetLabels(map[string]string{"changed": "yes", "cost-centre": "4711"})
					return p.Update(t.Context(), stored, client.DryRunAll)
				})
			})
			t.Logf("CREATE %v, UPDATE %v", created.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
		})
	}
}

// decided makes a request that must end without an error, or with a control's refusal.
func (p *parity) decided(t *testing.T, operation string, do func() error) {
	t.Helper()
	p.warnings = nil
	err := do()
	texts := p.warnings
	if err != nil {
		texts = append(texts, err.Error())
	}
	for _, text := range texts {
		if strings.Contains(text, "resulted in error") || strings.Contains(text, "budget") || strings.Contains(text, "cost limit") || strings.Contains(text, "failed to") {
			t.Errorf("%s could not be decided: %.600s", operation, text)
		}
	}
	if err != nil && (!apierrors.IsForbidden(err) || !refusalLine.MatchString(err.Error())) {
		t.Errorf("%s: %.300v", operation, err)
	}
}
