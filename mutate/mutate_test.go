package mutate

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// all is a Guard with everything on.
func all() *v1alpha1.GuardSpec {
	return &v1alpha1.GuardSpec{RequiredLabels: []string{"team"}, CopyAnnotations: []string{"bank.example/a~b"}, Defaults: ordered([]v1alpha1.Default{
		v1alpha1.DefaultServiceAccountToken, v1alpha1.DefaultSeccompProfile, v1alpha1.DefaultPrivilegeEscalation, v1alpha1.DefaultDropCapabilities,
	})}
}

var namespace = Namespace{Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"bank.example/a~b": "c"}}

func read(t *testing.T, text string) (object map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// TestPatch: the JSON patch makes absent parents first, once each, and escapes what keys hold.
func TestPatch(t *testing.T) {
	object := read(t, `{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: c}]}}`)
	got, err := json.Marshal(Object(object, namespace, all()).Patch(object))
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"op":"add","path":"/metadata/labels","value":{}},{"op":"add","path":"/metadata/labels/team","value":"a"},` +
		`{"op":"add","path":"/metadata/annotations","value":{}},{"op":"add","path":"/metadata/annotations/bank.example~1a~0b","value":"c"},` +
		`{"op":"add","path":"/spec/securityContext","value":{}},{"op":"add","path":"/spec/securityContext/seccompProfile","value":{"type":"RuntimeDefault"}},` +
		`{"op":"add","path":"/spec/containers/0/securityContext","value":{}},{"op":"add","path":"/spec/containers/0/securityContext/capabilities","value":{}},` +
		`{"op":"add","path":"/spec/containers/0/securityContext/capabilities/drop","value":["ALL"]},` +
		`{"op":"add","path":"/spec/containers/0/securityContext/allowPrivilegeEscalation","value":false},` +
		`{"op":"add","path":"/spec/automountServiceAccountToken","value":false},` +
		`{"op":"add","path":"/metadata/annotations/ringfence.dev~1defaulted","value":"seccompProfile, dropCapabilities, privilegeEscalation, serviceAccountToken"}]`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
}

// TestAgain: what was filled in is left as it is, and so is the object that was asked about.
func TestAgain(t *testing.T) {
	const text = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {template: {spec: {containers: [{name: c}], initContainers: [{name: d}]}}}}`
	object := read(t, text)
	filled := Object(object, namespace, all()).Apply(object)
	if again := Object(filled, namespace, all()); len(again.Changes) > 0 {
		t.Errorf("filled in twice: %v", again.Changes)
	}
	if d := cmp.Diff(read(t, text), object); d != "" {
		t.Errorf("the object was changed: %s", d)
	}
}

// TestLeftAlone: what nothing is filled in of, malformed objects among it.
func TestLeftAlone(t *testing.T) {
	for name, text := range map[string]string{
		"an event":                      `{apiVersion: events.k8s.io/v1, kind: Event, metadata: {name: x}}`,
		"a lease":                       `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: x}}`,
		"a Guard":                       `{apiVersion: ringfence.dev/v1alpha1, kind: Guard, metadata: {name: guard}}`,
		"stated, with another's values": `{apiVersion: v1, kind: ConfigMap, metadata: {labels: {team: b}, annotations: {bank.example/a~b: ""}}}`,
	} {
		if r := Object(read(t, text), namespace, all()); len(r.Changes) > 0 {
			t.Errorf("%s: %v", name, r.Changes)
		}
	}
	made := read(t, `{apiVersion: apps/v1, kind: ReplicaSet, metadata: {ownerReferences: [{controller: true}]}, spec: {template: {spec: {containers: [{name: c}]}}}}`)
	if r := Defaults(made, all()); len(r.Changes) > 0 {
		t.Errorf("what a controller made: %v", r.Changes)
	}
	for _, text := range []string{`{}`, `{apiVersion: v1, kind: Pod, spec: 1}`, `{apiVersion: v1, kind: Pod, metadata: [], spec: {containers: {a: b}, initContainers: [1, null]}}`} {
		object := read(t, text)
		r := Object(object, namespace, all())
		r.Patch(object)
		r.Apply(object)
	}
}

// TestDiffering: values of one's own are seen in the object and in what controllers make of it.
func TestDiffering(t *testing.T) {
	object := read(t, `{apiVersion: batch/v1, kind: CronJob, metadata: {labels: {team: a}}, spec: {jobTemplate: {metadata: {labels: {team: b}}, spec: {template: {metadata: {annotations: {bank.example/a~b: d}}}}}}}`)
	want := []Difference{
		{"/spec/jobTemplate/spec/template/metadata/annotations/bank.example~1a~0b", "d", "c"},
		{"/spec/jobTemplate/metadata/labels/team", "b", "a"},
	}
	if d := cmp.Diff(want, Differing(object, namespace, all())); d != "" {
		t.Error(d)
	}
	if got := Differing(object, Namespace{}, all()); len(got) > 0 {
		t.Errorf("a namespace without the label: %v", got)
	}
}
