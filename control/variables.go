package control

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// pods says where the pod of a kind is and what its lists of containers are called. Its fields are CEL expressions.
type pods struct {
	path, spec, metadata string
	// main, init and resources name the fields for containers, init containers and the resources of one.
	main, init, resources string
}

// builtinPods finds the pod in any workload of Kubernetes itself.
var builtinPods = pods{
	path:     `object.kind == 'Pod' ? '/spec' : object.kind == 'PodTemplate' ? '/template/spec' : object.kind == 'CronJob' ? '/spec/jobTemplate/spec/template/spec' : '/spec/template/spec'`,
	spec:     `(object.kind == 'Pod' ? object.?spec : object.kind == 'PodTemplate' ? object.?template.?spec : object.kind == 'CronJob' ? object.?spec.?jobTemplate.?spec.?template.?spec : object.?spec.?template.?spec).orValue({})`,
	metadata: `(object.kind == 'Pod' ? object.?metadata : object.kind == 'PodTemplate' ? object.?template.?metadata : object.kind == 'CronJob' ? object.?spec.?jobTemplate.?spec.?template.?metadata : object.?spec.?template.?metadata).orValue({})`,
	main:     `'containers'`, init: `'initContainers'`, resources: `'resources'`,
}

// maxPlaces is how many containers, and how many volumes, of one pod a rule looks at; a pod with more breaks every rule
// that looks. It bounds what an object can cost the API server, whose own limit counts such work too cheaply.
const maxPlaces = 100

// The pods that package clean answers for; larger ones take the way that costs more and is bounded otherwise.
const (
	quickPods       = "containers.size() <= 10 && volumes.size() <= 20"
	quickContainers = 10
	quickVolumes    = 20
)

// workloadVariables find the pod inside any workload. They use only what servers of Kubernetes 1.30 know: there is no
// enumeration of a list there, so a rule runs over each, the indices of containers, or eachVolume, those of volumes.
func workloadVariables(p pods) []Variable {
	return append([]Variable{
		{Name: "podPath", Late: true, Brief: "'/spec'", Expression: p.path},
		{Name: "podSpec", Expression: p.spec},
		{Name: "podMetadata", Expression: p.metadata},
		{Name: "podSecurity", Expression: `variables.podSpec.?securityContext.orValue({})`},
		{Name: "containers", Expression: `variables.podSpec.?containers.orValue([]) + variables.podSpec.?initContainers.orValue([]) + variables.podSpec.?ephemeralContainers.orValue([])`},
		{Name: "mainCount", Expression: `variables.podSpec.?containers.orValue([]).size()`},
		{Name: "initCount", Expression: `variables.podSpec.?initContainers.orValue([]).size()`},
		{Name: "each", Of: "containers", Expression: indices("variables.containers", maxPlaces), Brief: indices("variables.containers", quickContainers)},
		{Name: "containerPaths", Late: true, Brief: "variables.each.map(i, '')", Expression: fmt.Sprintf(`variables.each.map(i, variables.podPath + (i < variables.mainCount ? '/' + %s + '/' + string(i)
  : i < variables.mainCount + variables.initCount ? '/' + %s + '/' + string(i - variables.mainCount)
  : '/ephemeralContainers/' + string(i - variables.mainCount - variables.initCount)))`, p.main, p.init)},
		{Name: "resourcesField", Expression: p.resources},
		{Name: "volumes", Expression: `variables.podSpec.?volumes.orValue([])`},
		eachVolume,
		{Name: "volumePaths", Late: true, Brief: "variables.eachVolume.map(i, '')", Expression: `variables.eachVolume.map(i, variables.podPath + '/volumes/' + string(i))`},
		{Name: TooManyVariable, Late: true, Expression: fmt.Sprintf(`(variables.containers.size() > %[1]d ? ['more than %[1]d containers at ' + variables.podPath + '/' + %[2]s] : [])
+ (variables.volumes.size() > %[1]d ? ['more than %[1]d volumes at ' + variables.podPath + '/volumes'] : [])`, maxPlaces, p.main)},
	}, countVariables...)
}

// eachVolume is the indices of volumes.
var eachVolume = Variable{
	Name: "eachVolume", Of: "volumes", Expression: indices("variables.volumes", maxPlaces), Brief: indices("variables.volumes", quickVolumes),
}

// TooManyVariable is what breaks every rule that runs over each index of a list: more of them than the rule looks at.
const TooManyVariable = "tooMany"

// countVariables serve rules over lists of lists: counting is 0 to 99, to be filtered by the size of a list.
var countVariables = []Variable{{Name: "counting", Of: AnyList, Expression: numbers(maxPlaces)}}

// maxRules is how many rules of a role are looked at: the aggregated roles of a cluster with many operators have some 150.
const maxRules = 300

// ruleVariables are the rules of a role and the subjects of a binding.
var ruleVariables = []Variable{
	{Name: "rules", Expression: `object.?rules.orValue(null) != null ? object.rules : []`}, // the API server writes null for none
	{Name: "each", Of: "rules", Expression: indices("variables.rules", maxRules)},
	{Name: "subjects", Expression: `object.?subjects.orValue([])`},
	{Name: "eachSubject", Of: "subjects", Expression: indices("variables.subjects", maxRules)},
}

// ruleCounts end ruleVariables.
var ruleCounts = append([]Variable{
	{Name: TooManyVariable, Late: true, Expression: fmt.Sprintf(`(variables.rules.size() > %[1]d ? ['more than %[1]d rules at /rules'] : [])
+ (variables.subjects.size() > %[1]d ? ['more than %[1]d subjects at /subjects'] : [])`, maxRules)},
}, countVariables...)

// persistentVolume is a PersistentVolume as a pod has its volumes: the one volume that it is.
var persistentVolume = []Variable{
	{Name: "volumes", Expression: `object.kind == 'PersistentVolume' ? [object.?spec.orValue({})] : []`},
	eachVolume,
	{Name: "volumePaths", Late: true, Expression: `variables.eachVolume.map(i, '/spec')`},
}

// The variables of the groups rbac and cluster. The second has those of the first, in the same order.
var (
	rightsVariables  = slices.Concat(ruleVariables, ruleCounts)
	clusterVariables = slices.Concat(ruleVariables, persistentVolume, ruleCounts)
)

// indices is the CEL expression for the indices of a list, up to most; the usual short list is not filtered from a
// long literal.
func indices(list string, most int) string {
	const few = 6
	return fmt.Sprintf("%[1]s.size() == 0 ? [] : %[1]s.size() == 1 ? [0] : %[1]s.size() == 2 ? [0, 1] : (%[1]s.size() <= %[2]d ? %[3]s : %[4]s).filter(i, i < %[1]s.size())",
		list, few, numbers(few), numbers(most))
}

// numbers is the CEL literal of 0 to n-1.
func numbers(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = strconv.Itoa(i)
	}
	return "[" + strings.Join(all, ", ") + "]"
}
