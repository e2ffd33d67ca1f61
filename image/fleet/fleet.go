// Package fleet says which images run where, as the pods of a cluster tell.
//
// It judges no image and asks no cluster: pods are given to it. The command line calls it.
package fleet

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"ringfence.dev/ringfence/image"
)

// Running is one image that runs.
type Running struct {
	// Digest is the image's; empty where neither its reference nor a node says it, and then it is one reference's.
	Digest string
	// References are what pods call it, in order.
	References []string
	// Workloads are those that run it, by namespace, kind and name.
	Workloads []Workload
}

// Name is its digest, or the reference where there is none.
func (r Running) Name() string { return cmp.Or(r.Digest, r.References[0]) }

// Workload runs an image in so many pods.
type Workload struct {
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Pods      int    `json:"pods"`
}

// Fleet collects. The zero value is empty.
type Fleet struct {
	images map[string]*running // by digest, or reference where there is none
	pods   int
}

type running struct {
	digest     string
	references map[string]bool
	workloads  map[Workload]int // by a Workload with no Pods
}

// Add takes a pod. What has ended, and what is no pod, counts for nothing.
func (f *Fleet) Add(pod map[string]any) {
	if phase := text(pod, "status", "phase"); phase == "Succeeded" || phase == "Failed" {
		return
	}
	f.pods++
	told := map[string]string{} // what a node says of a container, by its name
	for _, field := range []string{"containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"} {
		for _, s := range list(pod, "status", field) {
			told[text(s, "name")] = text(s, "imageID")
		}
	}
	seen := map[string]bool{}
	owner := Owner(pod)
	for _, field := range []string{"containers", "initContainers", "ephemeralContainers"} {
		for _, c := range list(pod, "spec", field) {
			reference := text(c, "image")
			digest := cmp.Or(image.DigestOf(told[text(c, "name")]), image.DigestOf(reference))
			key := cmp.Or(digest, reference)
			if key == "" {
				continue
			}
			f.add(key, digest, reference, owner, !seen[key])
			seen[key] = true
		}
	}
}

func (f *Fleet) add(key, digest, reference string, owner Workload, first bool) {
	if f.images == nil {
		f.images = map[string]*running{}
	}
	r := f.images[key]
	if r == nil {
		r = &running{digest, map[string]bool{}, map[Workload]int{}}
		f.images[key] = r
	}
	r.references[reference] = true
	if first { // two containers of one pod are one pod
		r.workloads[owner]++
	}
}

// Pods is how many pods were taken.
func (f *Fleet) Pods() int { return f.pods }

// Running are the images, those without a digest last, by digest or reference.
func (f *Fleet) Running() []Running {
	var all []Running
	for _, r := range f.images {
		one := Running{Digest: r.digest, References: slices.Sorted(maps.Keys(r.references))}
		for w, pods := range r.workloads {
			w.Pods = pods
			one.Workloads = append(one.Workloads, w)
		}
		slices.SortFunc(one.Workloads, func(a, b Workload) int {
			return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
		})
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Running) int {
		if (a.Digest == "") != (b.Digest == "") {
			return cmp.Compare(b.Digest, a.Digest)
		}
		return cmp.Or(strings.Compare(a.Digest, b.Digest), strings.Compare(a.References[0], b.References[0]))
	})
	return all
}

// Owner is what a person calls a pod's workload: the Deployment behind the ReplicaSet, else its controller, else the pod. It has no Pods.
func Owner(pod map[string]any) Workload {
	w := Workload{Namespace: text(pod, "metadata", "namespace"), Kind: "Pod", Name: text(pod, "metadata", "name")}
	for _, o := range list(pod, "metadata", "ownerReferences") {
		if controller, _ := o["controller"].(bool); !controller {
			continue
		}
		w.Kind, w.Name = text(o, "kind"), text(o, "name")
		if hash := text(pod, "metadata", "labels", "pod-template-hash"); w.Kind == "ReplicaSet" && hash != "" {
			if name, ok := strings.CutSuffix(w.Name, "-"+hash); ok {
				w.Kind, w.Name = "Deployment", name
			}
		}
	}
	return w
}

// text is a string in an object; "" where there is none.
func text(value map[string]any, path ...string) string {
	for _, name := range path[:len(path)-1] {
		value, _ = value[name].(map[string]any)
	}
	s, _ := value[path[len(path)-1]].(string)
	return s
}

// list are the objects in a list of an object.
func list(value map[string]any, path ...string) (all []map[string]any) {
	for _, name := range path[:len(path)-1] {
		value, _ = value[name].(map[string]any)
	}
	items, _ := value[path[len(path)-1]].([]any)
	for _, item := range items {
		if one, ok := item.(map[string]any); ok {
			all = append(all, one)
		}
	}
	return all
}
