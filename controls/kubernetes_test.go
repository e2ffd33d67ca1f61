package controls_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
)

// ownRoles are of Kubernetes itself: every cluster has them, so that no server creates them for a test case.
const ownRoles = `
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: cluster-admin}, rules: [
  {apiGroups: ["*"], resources: ["*"], verbs: ["*"]}, {nonResourceURLs: ["*"], verbs: ["*"]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: "system:aggregate-to-edit"}, rules: [
  {apiGroups: [""], resources: [pods/exec, secrets, services/proxy], verbs: [get, list, watch]},
  {apiGroups: [""], resources: [serviceaccounts], verbs: [impersonate]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: "system:controller:horizontal-pod-autoscaler"}, rules: [
  {apiGroups: ["*"], resources: ["*/scale"], verbs: [get, update]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: cluster-admin},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin},
  subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:masters"}]}
`

// TestRolesOfKubernetes: what Kubernetes ships is no finding as it is, and one where it was changed.
func TestRolesOfKubernetes(t *testing.T) {
	sets, err := cel.Compile(catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	engine, guard := policy.New(sets...), caseGuard(t)
	failing := func(in policy.Input, o *manifest.Object) []string {
		ids := map[string]bool{}
		for _, f := range engine.Judge(in, o.Subject()) {
			if f.Outcome != finding.Pass && strings.HasPrefix(f.Control, "RF-ID-") {
				ids[f.Control] = true
			}
		}
		return slices.Sorted(maps.Keys(ids))
	}
	want := map[string][]string{
		"cluster-admin":                               {"RF-ID-02", "RF-ID-03", "RF-ID-04", "RF-ID-05"},
		"system:aggregate-to-edit":                    {"RF-ID-03", "RF-ID-04", "RF-ID-05"},
		"system:controller:horizontal-pod-autoscaler": {"RF-ID-02"},
	}
	for o, err := range manifest.Read(strings.NewReader(ownRoles), "own") {
		if err != nil {
			t.Fatal(err)
		}
		in := policy.Input{Object: o.Value, Guard: guard}
		if ids := failing(in, o); len(ids) > 0 {
			t.Errorf("%s %s fails %v", o.Subject().Kind, o.Subject().Name, ids)
		}
		if o.Subject().Kind != "ClusterRole" {
			continue
		}
		in.Operation, in.OldObject, in.Object = "UPDATE", o.Value, deepCopy(t, o.Value)
		in.Object["metadata"].(map[string]any)["labels"] = map[string]any{"rbac.authorization.k8s.io/aggregate-to-view": "true"}
		if diff := cmp.Diff(want[o.Subject().Name], failing(in, o)); diff != "" {
			t.Errorf("%s labelled into view (-want +got):\n%s", o.Subject().Name, diff)
		}
		renamed := deepCopy(t, o.Value)
		renamed["metadata"].(map[string]any)["name"] = "system:controller:sample"
		if diff := cmp.Diff(want[o.Subject().Name], failing(policy.Input{Object: renamed, Guard: guard}, o)); diff != "" {
			t.Errorf("%s under another name (-want +got):\n%s", o.Subject().Name, diff)
		}
	}
}
