package mutate

import (
	"strconv"
	"strings"

	"ringfence.dev/ringfence/fix"
)

// Tag is an image reference without a digest that a request writes.
type Tag struct {
	// Pointer says where it stands, and Reference what it is.
	Pointer, Reference string
	// Kept is the same reference with the digest that stands in its place already: what is applied again does not move. "" is none.
	Kept string
}

// Tags are the references without a digest that a request writes into a pod. Those that it leaves as they are stored are none of them, nor
// is what a controller made of a template, whose own text counts; but Pods are, for they are what runs.
func Tags(q Request) (all []Tag) {
	path := PodPath(q.Object)
	if path == "" || at(q.Object, "metadata")["deletionTimestamp"] != nil || path != "/spec" && controlled(q.Object) {
		return nil
	}
	steps := strings.Split(path, "/")[1:]
	pod, before := at(q.Object, steps...), at(q.Old, steps...)
	add := func(pointer, reference, stored string) {
		if reference == "" || strings.Contains(reference, "@") || reference == stored {
			return
		}
		t := Tag{Pointer: path + pointer, Reference: reference}
		if strings.HasPrefix(stored, reference+"@") {
			t.Kept = stored
		}
		all = append(all, t)
	}
	for _, field := range []string{"containers", "initContainers", "ephemeralContainers"} {
		for i, c := range list(pod[field]) {
			c, _ := c.(map[string]any)
			add("/"+field+"/"+strconv.Itoa(i)+"/image", str(c["image"]), str(named(before[field], c)["image"]))
		}
	}
	for i, v := range list(pod["volumes"]) {
		v, _ := v.(map[string]any)
		add("/volumes/"+strconv.Itoa(i)+"/image/reference", str(at(v, "image")["reference"]), str(at(named(before["volumes"], v), "image")["reference"]))
	}
	return all
}

// named is the item of a list that has the name of another; nil where none has.
func named(items any, like map[string]any) map[string]any {
	for _, v := range list(items) {
		if item, _ := v.(map[string]any); str(item["name"]) != "" && item["name"] == like["name"] {
			return item
		}
	}
	return nil
}

// Pinned is what is written in the place of tags: what was kept, else what digests says of a reference; where that is "" it stays as it is.
func Pinned(tags []Tag, digests func(reference string) string) (r Result) {
	for _, t := range tags {
		value := t.Kept
		if d := digests(t.Reference); value == "" && d != "" {
			value = t.Reference + "@" + d
		}
		if value != "" {
			r.Changes = append(r.Changes, fix.Change{Pointer: t.Pointer, Value: value})
		}
	}
	return r
}
