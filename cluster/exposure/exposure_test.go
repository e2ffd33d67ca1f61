package exposure_test

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/cluster/exposure"
)

// objects are of one cluster: what leads where, and what leads nowhere.
const objects = `
{kind: Service, metadata: {namespace: pay, name: api}, spec: {selector: {app: api}}}
---
{kind: Service, metadata: {namespace: pay, name: open}, spec: {type: LoadBalancer, selector: {app: api, tier: front}}}
---
{kind: Service, metadata: {namespace: pay, name: node}, spec: {type: NodePort, selector: {app: batch}}}
---
{kind: Service, metadata: {namespace: pay, name: addressed}, spec: {externalIPs: [192.0.2.7], selector: {app: addressed}}}
---
{kind: Service, metadata: {namespace: pay, name: by-hand}, spec: {type: LoadBalancer}}
---
{kind: Service, metadata: {namespace: pay, name: alias}, spec: {type: ExternalName, externalName: x.example, selector: {app: batch}}}
---
{kind: Service, metadata: {namespace: other, name: api}, spec: {type: LoadBalancer, selector: {app: api}}}
---
{kind: Ingress, metadata: {namespace: pay, name: web}, spec: {rules: [
  {host: pay.bank.example, http: {paths: [{backend: {service: {name: api}}}, {path: /b, backend: {service: {name: api}}}]}}, {host: b.bank.example}, {host: pay.bank.example}]}}
---
{kind: Ingress, metadata: {namespace: pay, name: rest}, spec: {defaultBackend: {service: {name: routed}}}}
---
{kind: Service, metadata: {namespace: pay, name: routed}, spec: {selector: {app: routed}}}
---
{kind: Service, metadata: {namespace: pay, name: meshed}, spec: {selector: {app: meshed}}}
---
{kind: HTTPRoute, metadata: {namespace: edge, name: shop}, spec: {hostnames: [shop.bank.example], parentRefs: [{name: public}], rules: [{backendRefs: [{namespace: pay, name: routed}, {kind: Bucket, name: meshed, namespace: pay}]}]}}
---
{kind: GRPCRoute, metadata: {namespace: pay, name: mesh}, spec: {parentRefs: [{kind: Service, group: "", name: meshed}], rules: [{backendRefs: [{name: meshed}]}]}}
---
{kind: ConfigMap, metadata: {namespace: pay, name: api}, spec: {selector: {app: batch}}}
---
{kind: Ingress}
---
{kind: HTTPRoute, spec: {rules: [7, {backendRefs: x}], parentRefs: {}, hostnames: [1]}}
`

func read(t *testing.T, text string) (object map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// TestOf names the ways to pods, those from outside first.
func TestOf(t *testing.T) {
	var m exposure.Map
	for text := range strings.SplitSeq(objects, "---") {
		m.Add(read(t, text))
	}
	for name, tc := range map[string]struct{ pod, want string }{
		"an Ingress before its Service":                 {"{metadata: {namespace: pay, labels: {app: api}}}", "outside Ingress pay/web (pay.bank.example, b.bank.example); Service pay/api"},
		"a load balancer":                               {"{metadata: {namespace: pay, labels: {app: api, tier: front}}}", "outside Ingress pay/web (pay.bank.example, b.bank.example); outside Service pay/open; Service pay/api"},
		"a port of the nodes":                           {"{metadata: {namespace: pay, labels: {app: batch}}}", "outside Service pay/node"},
		"an external address":                           {"{metadata: {namespace: pay, labels: {app: addressed}}}", "outside Service pay/addressed"},
		"a route of another namespace":                  {"{metadata: {namespace: pay, labels: {app: routed}}}", "outside HTTPRoute edge/shop (shop.bank.example); outside Ingress pay/rest; Service pay/routed"},
		"a route within the mesh":                       {"{metadata: {namespace: pay, labels: {app: meshed}}}", "GRPCRoute pay/mesh; Service pay/meshed"},
		"a Service of that name elsewhere is another's": {"{metadata: {namespace: other, labels: {app: api}}}", "outside Service other/api"},
		"nothing leads there":                           {"{metadata: {namespace: pay, labels: {app: x}}}", ""},
		"no labels":                                     {"{metadata: {namespace: pay}}", ""},
		"no pod":                                        {"{}", ""},
		"its own ports":                                 {"{metadata: {namespace: pay}, spec: {containers: [{ports: [{containerPort: 80}]}, {ports: [{hostPort: 443}, {hostPort: 443}]}], initContainers: [{ports: [{hostPort: 53}]}]}}", "outside HostPort 443; outside HostPort 53"},
		"its node's network":                            {"{metadata: {namespace: pay}, spec: {hostNetwork: true, containers: [{ports: [{hostPort: 443}]}]}}", "outside HostNetwork"},
	} {
		var got []string
		pod := read(t, tc.pod)
		wholeNumbers(pod)
		for _, w := range m.Of(pod) {
			text := w.String()
			if w.Outside {
				text = "outside " + text
			}
			got = append(got, text)
		}
		if strings.Join(got, "; ") != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// wholeNumbers makes of numbers what package cluster reads.
func wholeNumbers(value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			if n, ok := inner.(float64); ok {
				v[key] = int64(n)
			}
			wholeNumbers(inner)
		}
	case []any:
		for _, inner := range v {
			wholeNumbers(inner)
		}
	}
}
