package fleet_test

import (
	"reflect"
	"testing"

	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/image/fleet"
)

const one, two = "sha256:1111111111111111111111111111111111111111111111111111111111111111", "sha256:2222222222222222222222222222222222222222222222222222222222222222"

// TestRunning: a digest is what the node says, else what the reference says; a Deployment is known behind its ReplicaSet.
func TestRunning(t *testing.T) {
	var f fleet.Fleet
	for _, text := range []string{`
metadata: {namespace: a, name: api-7d4-x, labels: {pod-template-hash: 7d4}, ownerReferences: [{kind: ReplicaSet, name: api-7d4, controller: true}]}
spec: {containers: [{name: api, image: "r/api:1"}, {name: twin, image: "r/api:1"}], initContainers: [{name: init, image: "r/init@` + two + `"}]}
status: {containerStatuses: [{name: api, imageID: "r/api@` + one + `"}, {name: twin, imageID: "r/api@` + one + `"}]}`, `
metadata: {namespace: a, name: api-7d4-y, labels: {pod-template-hash: 7d4}, ownerReferences: [{kind: ReplicaSet, name: api-7d4, controller: true}]}
spec: {containers: [{name: api, image: "r/api:latest"}]}
status: {containerStatuses: [{name: api, imageID: "r/api@` + one + `"}]}`, `
metadata: {namespace: b, name: alone}
spec: {containers: [{name: api, image: "r/api:1"}]}`, `
metadata: {namespace: b, name: done}
spec: {containers: [{name: api, image: "r/api:1"}]}
status: {phase: Succeeded}`, `
spec: {containers: [null, 1, {image: 2}]}
status: {containerStatuses: {}}`, `{}`,
	} {
		var pod map[string]any
		if err := yaml.Unmarshal([]byte(text), &pod); err != nil {
			t.Fatal(err)
		}
		f.Add(pod)
	}
	want := []fleet.Running{
		{Digest: one, References: []string{"r/api:1", "r/api:latest"}, Workloads: []fleet.Workload{{"a", "Deployment", "api", 2}}},
		{Digest: two, References: []string{"r/init@" + two}, Workloads: []fleet.Workload{{"a", "Deployment", "api", 1}}},
		{References: []string{"r/api:1"}, Workloads: []fleet.Workload{{"b", "Pod", "alone", 1}}},
	}
	if got := f.Running(); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if f.Pods() != 5 {
		t.Errorf("%d pods", f.Pods())
	}
}
