package vap_test

import (
	"fmt"
	"testing"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/vap"
)

// outcomes judges one object with a policy that refuses all of some resources, beside what else is in the cluster.
func outcomes(t *testing.T, group, resources string, object map[string]any, beside ...map[string]any) (all []finding.Outcome) {
	t.Helper()
	var c vap.Config
	never := map[string]any{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": map[string]any{"name": "never"},
		"spec": map[string]any{
			"matchConstraints": map[string]any{
				"namespaceSelector": map[string]any{"matchLabels": map[string]any{"guarded": "yes"}},
				"resourceRules": []any{map[string]any{
					"apiGroups": []any{group}, "apiVersions": []any{"*"}, "operations": []any{"CREATE"}, "resources": []any{resources},
				}},
			},
			"validations": []any{map[string]any{"expression": "false"}},
		},
	}
	guarded := map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "shop", "labels": map[string]any{"guarded": "yes"}}}
	for _, o := range append(beside, never, guarded) {
		if faults := c.Add(o); len(faults) > 0 {
			t.Fatal(faults)
		}
	}
	engine, err := vap.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	subject := finding.Subject{APIVersion: object["apiVersion"].(string), Kind: object["kind"].(string), Name: "a", Namespace: "shop"}
	for _, f := range engine.Judge(t.Context(), policy.Input{Object: object, Operation: "CREATE", Namespace: "shop"}, subject) {
		all = append(all, f.Outcome)
	}
	return all
}

func object(apiVersion, kind string) map[string]any {
	return map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": "a", "namespace": "shop"}}
}

func definition(group, kind, plural, scope string) map[string]any {
	return map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": plural + "." + group},
		"spec": map[string]any{
			"group": group, "scope": scope, "names": map[string]any{"kind": kind, "plural": plural},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true}},
		},
	}
}

// TestKinds: a policy is asked about the kinds whose resource it names, whether or not their definitions were given, and
// about none that an API server never asks it about.
func TestKinds(t *testing.T) {
	for _, test := range []struct {
		group, resource string
		object          map[string]any
		beside          []map[string]any
		want            string
	}{
		{"apps", "deployments", object("apps/v1", "Deployment"), nil, "[Fail]"},
		{"apps", "statefulsets", object("apps/v1", "Deployment"), nil, "[]"},
		{"", "endpoints", object("v1", "Endpoints"), nil, "[Fail]"},
		{"networking.k8s.io", "networkpolicies", object("networking.k8s.io/v1", "NetworkPolicy"), nil, "[Fail]"},

		// Custom kinds without their definitions, by the plural that English has.
		{"gateway.networking.k8s.io", "gateways", object("gateway.networking.k8s.io/v1", "Gateway"), nil, "[Fail]"},
		{"kuma.io", "meshes", object("kuma.io/v1alpha1", "Mesh"), nil, "[Fail]"},
		{"agents.x-k8s.io", "sandboxes", object("agents.x-k8s.io/v1alpha1", "Sandbox"), nil, "[Fail]"},
		{"cilium.io", "ciliumnetworkpolicies", object("cilium.io/v2", "CiliumNetworkPolicy"), nil, "[Fail]"},
		{"bank.example", "gatewayz", object("bank.example/v1", "Gateway"), []map[string]any{definition("bank.example", "Gateway", "gatewayz", "Namespaced")}, "[Fail]"},

		// A definition among the inputs cannot rename what is Kubernetes' own.
		{"apps", "deployments", object("apps/v1", "Deployment"), []map[string]any{definition("apps", "Deployment", "others", "Namespaced")}, "[Fail]"},

		// The API server asks no policy about these.
		{"admissionregistration.k8s.io", "*", object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"), nil, "[]"},
		{"admissionregistration.k8s.io", "*", object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"), nil, "[]"},
		{"authorization.k8s.io", "*", object("authorization.k8s.io/v1", "LocalSubjectAccessReview"), nil, "[]"},
	} {
		if got := fmt.Sprint(outcomes(t, test.group, test.resource, test.object, test.beside...)); got != test.want {
			t.Errorf("%s of %s, for %s of %v: %s, want %s", test.resource, test.group, test.object["kind"], test.object["apiVersion"], got, test.want)
		}
	}
}
