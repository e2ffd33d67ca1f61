// Package mutate says in plain Go what the API server's MutatingAdmissionPolicies of package policy/bundle fill in: metadata
// of the namespace, and defaults of pods. One is tested against the other.
//
// It changes nothing of its own accord, reads no cluster and refuses nothing. The command line asks it before it judges a
// file, so that the file gets the verdict that the object it becomes would get.
package mutate

import (
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/fix"
	"ringfence.dev/ringfence/manifest"
)

// Namespace is what objects take from theirs.
type Namespace struct{ Labels, Annotations map[string]string }

// Result is what is filled in of one object. The zero value is nothing.
type Result struct {
	// Changes add fields, none inside another; where a parent is absent it is made.
	Changes []fix.Change
	// Defaults are those that Changes hold, in the order of their constants.
	Defaults []v1alpha1.Default
}

// Object is what is filled in of a namespaced object when it is created.
func Object(object map[string]any, ns Namespace, spec *v1alpha1.GuardSpec) Result {
	r := Defaults(object, spec)
	r.Changes = append(Metadata(object, ns, spec), r.Changes...)
	return r
}

// Apply is object, or where there is anything to fill in a copy with it.
func (r Result) Apply(object map[string]any) map[string]any {
	if len(r.Changes) == 0 {
		return object
	}
	filled := fix.Copy(object).(map[string]any)
	fix.Make(filled, r.Changes)
	return filled
}

// leftOut reports whether nothing is copied to objects of a kind.
func leftOut(group, kind string) bool {
	switch group {
	case "":
		return slices.Contains([]string{"Namespace", "Event", "Endpoints", "Binding"}, kind)
	case "events.k8s.io", "coordination.k8s.io", "discovery.k8s.io", "authentication.k8s.io", "authorization.k8s.io":
		return true
	}
	return group == v1alpha1.GroupVersion.Group && kind == "Guard"
}

func groupKind(object map[string]any) (group, kind string) {
	version, _ := object["apiVersion"].(string)
	kind, _ = object["kind"].(string)
	if before, _, ok := strings.Cut(version, "/"); ok {
		group = before
	}
	return group, kind
}

// Metadata is what a namespaced object takes from its namespace: the labels and annotations that the Guard names, where
// the namespace has them with a value and the object has not.
func Metadata(object map[string]any, ns Namespace, spec *v1alpha1.GuardSpec) (changes []fix.Change) {
	if len(spec.RequiredLabels)+len(spec.CopyAnnotations) == 0 || leftOut(groupKind(object)) {
		return nil
	}
	copied := func(field string, keys []string, from map[string]string) {
		own := at(object, "metadata", field)
		for _, key := range keys {
			if _, has := own[key]; !has && from[key] != "" {
				changes = append(changes, fix.Change{Pointer: "/metadata/" + field + "/" + manifest.EscapeStep(key), Value: from[key]})
			}
		}
	}
	copied("labels", spec.RequiredLabels, ns.Labels)
	copied("annotations", spec.CopyAnnotations, ns.Annotations)
	return changes
}

// Difference is a value of an object that is not its namespace's.
type Difference struct{ Path, Found, Wanted string }

// Differing are the values that are refused when the object is created, those of pod templates too.
func Differing(object map[string]any, ns Namespace, spec *v1alpha1.GuardSpec) (all []Difference) {
	group, kind := groupKind(object)
	if len(spec.RequiredLabels)+len(spec.CopyAnnotations) == 0 || leftOut(group, kind) {
		return nil
	}
	places := [][]string{{"metadata"}}
	switch {
	case group == "" && kind == "PodTemplate":
		places = append(places, []string{"template", "metadata"})
	case group == "batch" && kind == "CronJob":
		places = append(places, []string{"spec", "jobTemplate", "spec", "template", "metadata"}, []string{"spec", "jobTemplate", "metadata"})
	case PodPath(object) != "" && kind != "Pod":
		places = append(places, []string{"spec", "template", "metadata"})
	}
	for _, place := range places {
		compare := func(field string, keys []string, from map[string]string) {
			own := at(object, append(slices.Clone(place), field)...)
			for _, key := range keys {
				if value, has := own[key].(string); has && from[key] != "" && value != from[key] {
					all = append(all, Difference{"/" + strings.Join(place, "/") + "/" + field + "/" + manifest.EscapeStep(key), value, from[key]})
				}
			}
		}
		compare("labels", spec.RequiredLabels, ns.Labels)
		compare("annotations", spec.CopyAnnotations, ns.Annotations)
	}
	return all
}

// PodPath is the pointer to the spec of the pod that an object of Kubernetes' own kinds holds, or "".
func PodPath(object map[string]any) string {
	switch group, kind := groupKind(object); group + "/" + kind {
	case "/Pod":
		return "/spec"
	case "/PodTemplate":
		return "/template/spec"
	case "/ReplicationController", "apps/Deployment", "apps/StatefulSet", "apps/DaemonSet", "apps/ReplicaSet", "batch/Job":
		return "/spec/template/spec"
	case "batch/CronJob":
		return "/spec/jobTemplate/spec/template/spec"
	}
	return ""
}

// Defaults is what is filled in of the pod in an object, with the annotation that lists it.
func Defaults(object map[string]any, spec *v1alpha1.GuardSpec) (r Result) {
	path := PodPath(object)
	if len(spec.Defaults) == 0 || path == "" || controlled(object) {
		return Result{}
	}
	pod := at(object, strings.Split(path, "/")[1:]...)
	linux := str(at(pod, "os")["name"]) != "windows"
	add := func(d v1alpha1.Default, pointer string, value any) {
		r.Changes = append(r.Changes, fix.Change{Pointer: path + pointer, Value: value})
		if !slices.Contains(r.Defaults, d) {
			r.Defaults = append(r.Defaults, d)
		}
	}
	on := func(d v1alpha1.Default) bool { return slices.Contains(spec.Defaults, d) }
	if on(v1alpha1.DefaultSeccompProfile) && linux && lacksProfile(pod) {
		add(v1alpha1.DefaultSeccompProfile, "/securityContext/seccompProfile", map[string]any{"type": "RuntimeDefault"})
	}
	for pointer, c := range containers(pod) {
		security := at(c, "securityContext")
		privileged, _ := security["privileged"].(bool)
		if on(v1alpha1.DefaultDropCapabilities) && linux && !privileged && len(list(at(security, "capabilities")["drop"])) == 0 {
			add(v1alpha1.DefaultDropCapabilities, pointer+"/securityContext/capabilities/drop", []any{"ALL"})
		}
		if on(v1alpha1.DefaultPrivilegeEscalation) && linux && !privileged && security["allowPrivilegeEscalation"] == nil && !administers(security) {
			add(v1alpha1.DefaultPrivilegeEscalation, pointer+"/securityContext/allowPrivilegeEscalation", false)
		}
	}
	if on(v1alpha1.DefaultServiceAccountToken) && pod["automountServiceAccountToken"] == nil {
		add(v1alpha1.DefaultServiceAccountToken, "/automountServiceAccountToken", false)
	}
	if len(r.Defaults) > 0 {
		r.Defaults = ordered(r.Defaults)
		r.Changes = append(r.Changes, fix.Change{Pointer: "/metadata/annotations/" + manifest.EscapeStep(v1alpha1.AnnotationDefaulted), Value: note(object, r.Defaults)})
	}
	return r
}

// ordered sorts defaults as they are always listed.
func ordered(some []v1alpha1.Default) []v1alpha1.Default {
	all := []v1alpha1.Default{v1alpha1.DefaultSeccompProfile, v1alpha1.DefaultDropCapabilities, v1alpha1.DefaultPrivilegeEscalation, v1alpha1.DefaultServiceAccountToken}
	return slices.DeleteFunc(all, func(d v1alpha1.Default) bool { return !slices.Contains(some, d) })
}

// note lists what was added, now and before.
func note(object map[string]any, added []v1alpha1.Default) string {
	for _, d := range strings.Split(str(at(object, "metadata", "annotations")[v1alpha1.AnnotationDefaulted]), ", ") {
		added = append(added, v1alpha1.Default(d))
	}
	var names []string
	for _, d := range ordered(added) {
		names = append(names, string(d))
	}
	return strings.Join(names, ", ")
}

// controlled reports whether a controller made the object of another, whose template says all.
func controlled(object map[string]any) bool {
	return slices.ContainsFunc(list(at(object, "metadata")["ownerReferences"]), func(r any) bool {
		reference, _ := r.(map[string]any)
		controller, _ := reference["controller"].(bool)
		return controller
	})
}

// lacksProfile reports whether neither the pod nor each of its containers states a seccomp profile.
func lacksProfile(pod map[string]any) bool {
	if at(pod, "securityContext")["seccompProfile"] != nil {
		return false
	}
	for _, c := range containers(pod) {
		if at(c, "securityContext")["seccompProfile"] == nil {
			return true
		}
	}
	return false
}

// administers reports whether a container adds the capability beside which the API server refuses
// allowPrivilegeEscalation: false.
func administers(security map[string]any) bool {
	added := list(at(security, "capabilities")["add"])
	return slices.Contains(added, any("SYS_ADMIN")) || slices.Contains(added, any("CAP_SYS_ADMIN"))
}

// containers are a pod's containers and init containers, by their pointers in it.
func containers(pod map[string]any) func(yield func(string, map[string]any) bool) {
	return func(yield func(string, map[string]any) bool) {
		for _, field := range []string{"containers", "initContainers"} {
			for i, c := range list(pod[field]) {
				if c, ok := c.(map[string]any); ok && !yield("/"+field+"/"+strconv.Itoa(i), c) {
					return
				}
			}
		}
	}
}

// at is the map below the steps; nil where there is none, which reads as an empty one.
func at(m map[string]any, steps ...string) map[string]any {
	for _, step := range steps {
		m, _ = m[step].(map[string]any)
	}
	return m
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

// Operation is one step of an RFC 6902 JSON patch.
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// Patch is the result as a JSON patch of object: absent parents first.
func (r Result) Patch(object map[string]any) (all []Operation) {
	made := map[string]bool{}
	for _, c := range r.Changes {
		var here any = object
		path, steps := "", strings.Split(c.Pointer, "/")[1:]
		for _, step := range steps[:len(steps)-1] {
			path += "/" + step
			if here = child(here, step); here == nil && !made[path] {
				made[path] = true
				all = append(all, Operation{"add", path, map[string]any{}})
			}
		}
		all = append(all, Operation{"add", c.Pointer, c.Value})
	}
	return all
}

// child is the value at one escaped step.
func child(v any, step string) any {
	switch v := v.(type) {
	case map[string]any:
		return v[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
	case []any:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(v) {
			return v[i]
		}
	}
	return nil
}
