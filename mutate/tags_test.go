package mutate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTags: what is asked about, what stays, and what stands where.
func TestTags(t *testing.T) {
	const pinned = "r.example/a:1@sha256:00"
	deployment := func(containers string) string {
		return `{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {template: {spec: {containers: [` + containers + `]}}}}`
	}
	for what, c := range map[string]struct {
		object, old string
		want        []Tag
	}{
		"a Pod": {`{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, image: r.example/a:1}, {name: b, image: "` + pinned + `"}], initContainers: [{name: c, image: r.example/c}],
 ephemeralContainers: [{name: d, image: r.example/d}], volumes: [{name: e}, {name: f, image: {reference: r.example/f:1}}]}}`, "", []Tag{
			{"/spec/containers/0/image", "r.example/a:1", ""}, {"/spec/initContainers/0/image", "r.example/c", ""},
			{"/spec/ephemeralContainers/0/image", "r.example/d", ""}, {"/spec/volumes/1/image/reference", "r.example/f:1", ""}}},
		"a CronJob": {`{apiVersion: batch/v1, kind: CronJob, spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: r.example/a}]}}}}}}`, "",
			[]Tag{{"/spec/jobTemplate/spec/template/spec/containers/0/image", "r.example/a", ""}}},
		"applied again":                {deployment(`{name: a, image: "r.example/a:1"}`), deployment(`{name: b, image: x}, {name: a, image: "` + pinned + `"}`), []Tag{{"/spec/template/spec/containers/0/image", "r.example/a:1", pinned}}},
		"another tag":                  {deployment(`{name: a, image: "r.example/a:2"}`), deployment(`{name: a, image: "` + pinned + `"}`), []Tag{{"/spec/template/spec/containers/0/image", "r.example/a:2", ""}}},
		"the container's own":          {deployment(`{name: a, image: "r.example/a:1"}`), deployment(`{name: b, image: "` + pinned + `"}`), []Tag{{"/spec/template/spec/containers/0/image", "r.example/a:1", ""}}},
		"left as it was":               {deployment(`{name: a, image: "r.example/a:1"}`), deployment(`{name: a, image: "r.example/a:1"}`), nil},
		"what goes":                    {strings.Replace(deployment(`{name: a, image: x}`), "{name: x}", "{deletionTimestamp: now}", 1), "", nil},
		"a ReplicaSet of a Deployment": {`{apiVersion: apps/v1, kind: ReplicaSet, metadata: {ownerReferences: [{controller: true}]}, spec: {template: {spec: {containers: [{name: a, image: x}]}}}}`, "", nil},
		"a Pod of a ReplicaSet":        {`{apiVersion: v1, kind: Pod, metadata: {ownerReferences: [{controller: true}]}, spec: {containers: [{name: a, image: x}]}}`, "", []Tag{{"/spec/containers/0/image", "x", ""}}},
		"another form":                 {`{apiVersion: v1, kind: Pod, spec: {containers: {a: b}, initContainers: [1, null, {image: 3}], volumes: [{image: a}, null]}}`, "", nil},
		"another kind":                 {`{apiVersion: v1, kind: Secret, spec: {containers: [{image: x}]}}`, "", nil},
	} {
		t.Run(what, func(t *testing.T) {
			q := Request{Object: read(t, c.object)}
			if c.old != "" {
				q.Update, q.Old = true, read(t, c.old)
			}
			if d := cmp.Diff(c.want, Tags(q)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestPinned: a patch puts digests behind tags, and leaves what nobody knows.
func TestPinned(t *testing.T) {
	object := read(t, `{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, image: "r.example/a:1"}, {name: b, image: unknown}]}}`)
	tags := append(Tags(Request{Object: object}), Tag{"/spec/containers/1/image", "unknown", ""})
	got, err := Pinned(tags, func(reference string) string { return map[string]string{"r.example/a:1": "sha256:00"}[reference] }).JSONPatch(object)
	if want := `[{"op":"add","path":"/spec/containers/0/image","value":"r.example/a:1@sha256:00"}]`; err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}
