package mutate

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/fix"
)

// Request is a write of a namespaced object as the API server asks about it, after its own plug-ins have filled in theirs.
type Request struct {
	// Update is false where the object is created.
	Update bool
	// Object is what is to be stored, Old what is; nil where the object is created.
	Object, Old map[string]any
}

// Admitted is what the API server's policies fill in of a request. Unlike Object it knows what an update must leave alone, and
// takes the token away from a Pod to which the API server gave it.
func Admitted(q Request, ns Namespace, spec *v1alpha1.GuardSpec) Result {
	if at(q.Object, "metadata")["deletionTimestamp"] != nil {
		return Result{}
	}
	var r Result
	if changesPod(q) {
		r = Defaults(q.Object, spec)
		r.Changes = append(r.Changes, withoutToken(q.Object, r.Defaults)...)
	}
	r.Changes = append(Metadata(q.Object, ns, spec), r.Changes...)
	return r
}

// changesPod reports whether a request may be filled in of its pod: what is created, and a template whose pod it changes. The
// template of a Job cannot change; what was filled in when it was created is filled in again. A Pod cannot change either.
func changesPod(q Request) bool {
	path := PodPath(q.Object)
	if path == "" || !q.Update {
		return path != ""
	}
	steps := strings.Split(path, "/")[1:]
	if kind, _ := q.Object["kind"].(string); kind == "Pod" || kind == "Job" && at(q.Old, "metadata", "annotations")[v1alpha1.AnnotationDefaulted] == nil {
		return false
	}
	now, before := at(q.Object, steps...), at(q.Old, steps...)
	return (len(now) > 0 || len(before) > 0) && !reflect.DeepEqual(now, before)
}

// tokenVolume is the name of the volume that the API server's ServiceAccount plug-in gives to a Pod.
var tokenVolume = regexp.MustCompile(`^kube-api-access-[a-z0-9]{5}$`)

// withoutToken takes the token's volume and its mounts away from a Pod, where the token was turned off.
func withoutToken(object map[string]any, added []v1alpha1.Default) (changes []fix.Change) {
	if PodPath(object) != "/spec" || !slices.Contains(added, v1alpha1.DefaultServiceAccountToken) {
		return nil
	}
	pod := at(object, "spec")
	without := func(pointer string, all any) {
		items := list(all)
		left := slices.DeleteFunc(slices.Clone(items), func(v any) bool {
			item, _ := v.(map[string]any)
			return tokenVolume.MatchString(str(item["name"]))
		})
		if len(left) < len(items) {
			changes = append(changes, fix.Change{Pointer: pointer, Value: left})
		}
	}
	without("/spec/volumes", pod["volumes"])
	for _, field := range []string{"containers", "initContainers"} {
		for i, c := range list(pod[field]) {
			c, _ := c.(map[string]any)
			without("/spec/"+field+"/"+strconv.Itoa(i)+"/volumeMounts", c["volumeMounts"])
		}
	}
	return changes
}

// JSONPatch is the result as the text of a JSON patch of object; nil where there is nothing to fill in, or where the object has
// another form than its kind says, which no API server would ask about.
func (r Result) JSONPatch(object map[string]any) ([]byte, error) {
	if len(r.Changes) == 0 || !fix.Make(fix.Copy(object).(map[string]any), r.Changes) {
		return nil, nil
	}
	return json.Marshal(r.Patch(object))
}
