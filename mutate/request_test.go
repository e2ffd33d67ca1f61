package mutate

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

const web = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: x, labels: {team: a}, annotations: {bank.example/a~b: c}}, spec: {replicas: 1, template: {spec: {containers: [{name: c}]}}}}`

// TestUpdates: what a request leaves as it was is left alone, and so is what cannot change.
func TestUpdates(t *testing.T) {
	job := func(noted string) map[string]any {
		return read(t, `{apiVersion: batch/v1, kind: Job, metadata: {labels: {team: a}, annotations: {bank.example/a~b: c`+noted+`}}, spec: {template: {spec: {containers: [{name: c}]}}}}`)
	}
	other := func(text string) map[string]any {
		o := read(t, text)
		at(o, "spec", "template", "spec")["nodeName"] = "n"
		return o
	}
	pod := `{apiVersion: v1, kind: Pod, metadata: {labels: {team: a}, annotations: {bank.example/a~b: c}}, spec: {containers: [{name: c}]}}`
	for name, test := range map[string]struct {
		object, old map[string]any
		filled      bool
	}{
		"the same pod":                 {read(t, web), read(t, web), false},
		"another pod":                  {other(web), read(t, web), true},
		"a Pod":                        {read(t, pod), read(t, `{apiVersion: v1, kind: Pod}`), false},
		"a Job that was filled in":     {job(", ringfence.dev/defaulted: seccompProfile"), job(", ringfence.dev/defaulted: serviceAccountToken"), false},
		"a Job of another pod":         {read(t, `{apiVersion: batch/v1, kind: Job, metadata: {labels: {team: a}, annotations: {bank.example/a~b: c}}, spec: {template: {spec: {containers: [{name: d}]}}}}`), job(", ringfence.dev/defaulted: seccompProfile"), true},
		"a Job that was there before":  {read(t, `{apiVersion: batch/v1, kind: Job, metadata: {labels: {team: a}, annotations: {bank.example/a~b: c}}, spec: {template: {spec: {containers: [{name: d}]}}}}`), job(""), false},
		"what goes":                    {read(t, `{apiVersion: v1, kind: ConfigMap, metadata: {deletionTimestamp: now}}`), read(t, `{apiVersion: v1, kind: ConfigMap}`), false},
		"metadata that was taken away": {read(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}`), read(t, `{apiVersion: v1, kind: ConfigMap, metadata: {labels: {team: a}}}`), true},
	} {
		if r := Admitted(Request{Update: true, Object: test.object, Old: test.old}, namespace, all()); (len(r.Changes) > 0) != test.filled {
			t.Errorf("%s: %v", name, r.Changes)
		}
	}
}

// TestToken: the token that the API server mounted goes, and nothing that only looks like it.
func TestToken(t *testing.T) {
	const text = `{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {volumes: [{name: data}, {name: kube-api-access-ab12c}, {name: kube-api-access-mine}],
  containers: [{name: c, volumeMounts: [{name: kube-api-access-ab12c}, {name: data}]}, {name: d, volumeMounts: [{name: data}]}], initContainers: [{name: e, volumeMounts: [{name: kube-api-access-ab12c}]}]}}`
	object := read(t, text)
	got := Admitted(Request{Object: object}, namespace, all()).Apply(object)
	spec := at(got, "spec")
	want := read(t, `{volumes: [{name: data}, {name: kube-api-access-mine}], c: [{name: data}], d: [{name: data}], e: []}`)
	mounts := func(field string, i int) any { return list(spec[field])[i].(map[string]any)["volumeMounts"] }
	if d := cmp.Diff(want, map[string]any{"volumes": spec["volumes"], "c": mounts("containers", 0), "d": mounts("containers", 1), "e": mounts("initContainers", 0)}); d != "" {
		t.Error(d)
	}
	at(object, "spec")["automountServiceAccountToken"] = true
	if kept := Admitted(Request{Object: object}, namespace, all()).Apply(object); len(list(at(kept, "spec")["volumes"])) != 3 {
		t.Error("a token that was asked for is taken away")
	}
}

// FuzzPatch: the patch makes of an object what the changes make of it, as the API server applies patches, and of what was filled
// in it makes nothing more.
func FuzzPatch(f *testing.F) {
	for _, text := range []string{
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"containers":[{"name":"c"}]}}`,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{},"annotations":null},"spec":{"securityContext":null,"volumes":[{"name":"kube-api-access-ab12c"}],"containers":[{"securityContext":{"capabilities":{"drop":[]}},"volumeMounts":[{"name":"kube-api-access-ab12c"}]}]}}`,
		`{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"a/b":1},"spec":{"jobTemplate":{"spec":{"template":{"spec":{"initContainers":[{},1,null]}}}}}}`,
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":[],"spec":{"template":{"spec":{"containers":{"a":1}}}}}`,
		`{"apiVersion":"v1","kind":"PodTemplate","template":{"spec":{"securityContext":"a","containers":[{"securityContext":1}]}}}`,
		`{"apiVersion":"bank.example/v1","kind":"Widget","metadata":{"labels":"a","annotations":[]}}`,
	} {
		f.Add([]byte(text), false)
	}
	f.Fuzz(func(t *testing.T, text []byte, update bool) {
		var object map[string]any
		if json.Unmarshal(text, &object) != nil || object == nil { // a review without an object is refused before
			return
		}
		before, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		r := Admitted(Request{Update: update, Object: object, Old: map[string]any{}}, namespace, all())
		made := r.Apply(object)
		operations, err := r.JSONPatch(object)
		if err != nil {
			t.Fatal(err)
		}
		if after, err := json.Marshal(object); err != nil || string(after) != string(before) {
			t.Fatalf("the object was changed: %s", after)
		}
		if len(operations) == 0 {
			return
		}
		patch, err := jsonpatch.DecodePatch(operations)
		if err != nil {
			t.Fatalf("%v: %s", err, operations)
		}
		patched, err := patch.Apply(before)
		if err != nil {
			t.Fatalf("%v: %s of %s", err, operations, before)
		}
		var got map[string]any
		if err := json.Unmarshal(patched, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(made, got); d != "" {
			t.Errorf("the patch (+) makes something else than the changes (-) of %s:\n%s", before, d)
		}
	})
}
