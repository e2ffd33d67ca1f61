package control

import (
	"fmt"
	"strconv"
	"strings"
)

// Group is a set of kinds that share variables and are judged by one native policy. The two fixed parts of every
// policy.yaml, which kinds and which shared variables, are owned here; the catalogue's walker fails on a copy that differs.
type Group struct {
	// Name is what control.yaml lists under groups.
	Name string
	// Kinds are the kinds judged.
	Kinds []Kind
	// Variables are shared CEL variables, in the order in which they may use each other. Each has a twin over
	// oldObject, named as Before says.
	Variables []Variable
}

// Kind is one kind of object and how the API server serves it.
type Kind struct {
	APIGroup string
	Kind     string
	// Resource is the plural; Subresources are doors to the same object beside it.
	Resource     string
	Subresources []string
	// OldAPIGroups are groups that carried the kind on servers no longer supported; files may still say so.
	OldAPIGroups []string
}

// Variable is a named CEL expression, used as variables.<Name>.
type Variable struct {
	Name       string `json:"name"`
	Expression string `json:"expression"`
	// Late says that rules need it only once they found something: it says where, not whether.
	Late bool `json:"-"`
}

// Groups are the match groups, in the order in which bundles are listed.
func Groups() []Group {
	return []Group{
		{Name: "workloads", Kinds: workloadKinds, Variables: workloadVariables},
		{Name: "services", Kinds: []Kind{{Kind: "Service", Resource: "services"}}},
		{Name: "objects", Kinds: []Kind{
			{Kind: "ConfigMap", Resource: "configmaps"},
			{Kind: "Secret", Resource: "secrets"},
			{Kind: "ServiceAccount", Resource: "serviceaccounts"},
		}},
	}
}

// workloadKinds are Pod and every built-in kind with a pod template.
var workloadKinds = []Kind{
	{Kind: "Pod", Resource: "pods", Subresources: []string{"ephemeralcontainers", "resize"}},
	{Kind: "PodTemplate", Resource: "podtemplates"},
	{Kind: "ReplicationController", Resource: "replicationcontrollers"},
	{APIGroup: "apps", Kind: "Deployment", Resource: "deployments", OldAPIGroups: []string{"extensions"}},
	{APIGroup: "apps", Kind: "StatefulSet", Resource: "statefulsets"},
	{APIGroup: "apps", Kind: "DaemonSet", Resource: "daemonsets", OldAPIGroups: []string{"extensions"}},
	{APIGroup: "apps", Kind: "ReplicaSet", Resource: "replicasets", OldAPIGroups: []string{"extensions"}},
	{APIGroup: "batch", Kind: "Job", Resource: "jobs"},
	{APIGroup: "batch", Kind: "CronJob", Resource: "cronjobs"},
}

// maxPlaces is how many containers, and how many volumes, of one pod a rule looks at; a pod with more breaks every rule
// that looks. It bounds what an object can cost the API server, whose own limit counts such work too cheaply.
const maxPlaces = 100

// workloadVariables find the pod inside any workload. They use only what servers of Kubernetes 1.30 know: there is no
// enumeration of a list there, so a rule runs over each, the indices of containers, or eachVolume, those of volumes.
var workloadVariables = []Variable{
	{Name: "podPath", Late: true, Expression: `object.kind == 'Pod' ? '/spec' : object.kind == 'PodTemplate' ? '/template/spec' : object.kind == 'CronJob' ? '/spec/jobTemplate/spec/template/spec' : '/spec/template/spec'`},
	{Name: "podSpec", Expression: `(object.kind == 'Pod' ? object.?spec : object.kind == 'PodTemplate' ? object.?template.?spec : object.kind == 'CronJob' ? object.?spec.?jobTemplate.?spec.?template.?spec : object.?spec.?template.?spec).orValue({})`},
	{Name: "podSecurity", Expression: `variables.podSpec.?securityContext.orValue({})`},
	{Name: "containers", Expression: `variables.podSpec.?containers.orValue([]) + variables.podSpec.?initContainers.orValue([]) + variables.podSpec.?ephemeralContainers.orValue([])`},
	{Name: "mainCount", Expression: `variables.podSpec.?containers.orValue([]).size()`},
	{Name: "initCount", Expression: `variables.podSpec.?initContainers.orValue([]).size()`},
	{Name: "each", Expression: indices("variables.containers")},
	{Name: "containerPaths", Late: true, Expression: `variables.each.map(i, variables.podPath + (i < variables.mainCount ? '/containers/' + string(i)
  : i < variables.mainCount + variables.initCount ? '/initContainers/' + string(i - variables.mainCount)
  : '/ephemeralContainers/' + string(i - variables.mainCount - variables.initCount)))`},
	{Name: "volumes", Expression: `variables.podSpec.?volumes.orValue([])`},
	{Name: "eachVolume", Expression: indices("variables.volumes")},
	{Name: "tooMany", Late: true, Expression: fmt.Sprintf(`(variables.containers.size() > %[1]d ? ['more than %[1]d containers at ' + variables.podPath + '/containers'] : [])
+ (variables.volumes.size() > %[1]d ? ['more than %[1]d volumes at ' + variables.podPath + '/volumes'] : [])`, maxPlaces)},
}

// indices is the CEL expression for the indices of a list, up to maxPlaces; the usual short list is not
// filtered from a long literal.
func indices(list string) string {
	literal := func(n int) string {
		numbers := make([]string, n)
		for i := range numbers {
			numbers[i] = strconv.Itoa(i)
		}
		return "[" + strings.Join(numbers, ", ") + "]"
	}
	const few = 6
	return fmt.Sprintf("%[1]s.size() == 0 ? [] : %[1]s.size() == 1 ? [0] : %[1]s.size() == 2 ? [0, 1] : (%[1]s.size() <= %[2]d ? %[3]s : %[4]s).filter(i, i < %[1]s.size())",
		list, few, literal(few), literal(maxPlaces))
}
