package bundle

import (
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
)

// Defaulted are the policies of what is filled in of pods and pod templates, each with its binding: what warns of it, and
// where the native door fills in what does it. Package mutate says the same in Go.
//
// Pods are filled in when they are created. Templates are filled in then, too, and when a request changes the pod they
// hold: a template that stands is never touched, or workloads would restart. What a controller made of a template is left
// as it is, or the controller would make it anew for ever.
func Defaulted(exempt []string, door Door) []client.Object {
	if door == NoDoor {
		return nil
	}
	m := mutation(NameDefaults)
	m.Spec.MatchConstraints = podKinds()
	m.Spec.MatchConditions = []admissionv1.MatchCondition{
		{Name: "something-is-on", Expression: "params.spec.?defaults.orValue([]).size() > 0 && !has(object.metadata.deletionTimestamp)"},
		{Name: "something-may-be-absent", Expression: lacksDefaults()},
		{Name: "made-by-no-controller", Expression: "!object.metadata.?ownerReferences.orValue([]).exists(r, r.?controller.orValue(false))"},
		{Name: "changes-the-pod", Expression: "request.operation == 'CREATE' || " + podOf("object") + " != " + podOf("oldObject")},
		// The template of a Job cannot change; what was filled in when it was created is filled in again.
		{Name: "may-change-the-pod", Expression: "request.operation == 'CREATE' || object.kind != 'Job' || '" + v1alpha1.AnnotationDefaulted + "' in oldObject.metadata.?annotations.orValue({})"},
	}
	m.Spec.Variables = podVariables()
	var text []string
	for _, part := range []string{seccompPatch, containerPatches("containers"), containerPatches("initContainers"), tokenPatch,
		tokenMounts("containers"), tokenMounts("initContainers"), notePatch} {
		text = append(text, "("+part+")")
	}
	m.Spec.Mutations = []admissionv1.Mutation{{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{Expression: strings.Join(text, " +\n")}}}

	p := policy(NameDefaulted)
	p.Labels, p.Spec.ParamKind = ours(), nil
	p.Spec.FailurePolicy = new(admissionv1.Ignore) // it only tells
	p.Spec.MatchConstraints = podKinds()
	p.Spec.MatchConditions = []admissionv1.MatchCondition{{Name: "was-filled-in", Expression: strings.ReplaceAll(
		`object.metadata.?annotations[?'KEY'].orValue('').matches('^[A-Za-z, ]{1,200}$')
&& (request.operation == 'CREATE' || oldObject.metadata.?annotations[?'KEY'].orValue('') != object.metadata.annotations['KEY'])`, "KEY", v1alpha1.AnnotationDefaulted)}}
	p.Spec.Validations = []admissionv1.Validation{{
		Expression: "false",
		Message:    "added by the platform, see the annotation " + v1alpha1.AnnotationDefaulted,
		MessageExpression: "'added by the platform: ' + object.metadata.annotations['" + v1alpha1.AnnotationDefaulted +
			"'] + '; state it in the manifest, or see what it is with: ringfence explain-mutations FILE'",
	}}
	b := binding(NameDefaulted, false, pinnedAnd(exempt), finding.Deny)
	b.Spec.ParamRef, b.Spec.ValidationActions = nil, []admissionv1.ValidationAction{admissionv1.Warn}
	if door != NativeDoor {
		return []client.Object{p, b}
	}
	return []client.Object{m, bindMutation(NameDefaults, exempt), p, b}
}

// podKinds are Kubernetes' own kinds that hold a pod; Pods themselves only when they are created, for they cannot change.
func podKinds() *admissionv1.MatchResources {
	rule := func(group string, do []admissionv1.OperationType, resources ...string) admissionv1.NamedRuleWithOperations {
		return admissionv1.NamedRuleWithOperations{RuleWithOperations: admissionv1.RuleWithOperations{Operations: do,
			Rule: admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: resources, Scope: new(admissionv1.NamespacedScope)}}}
	}
	once, always := []admissionv1.OperationType{admissionv1.Create}, []admissionv1.OperationType{admissionv1.Create, admissionv1.Update}
	return &admissionv1.MatchResources{
		MatchPolicy: new(admissionv1.Equivalent), NamespaceSelector: outside(v1alpha1.PinnedExemptNamespaces), ObjectSelector: &metav1.LabelSelector{},
		ResourceRules: []admissionv1.NamedRuleWithOperations{
			rule("", once, "pods"), rule("", always, "podtemplates", "replicationcontrollers"),
			rule("apps", always, "deployments", "statefulsets", "daemonsets", "replicasets"), rule("batch", always, "jobs", "cronjobs"),
		},
	}
}

// lacksDefaults asks, in few words, whether anything could be filled in: nearly always what is created states it all, and a mutation
// that changes nothing costs the API server more than all rules together. It may say so in vain, never the other way round.
func lacksDefaults() string {
	return "[" + podOf("object") + "].exists(p, " + strings.Join([]string{
		on(v1alpha1.DefaultSeccompProfile) + " && !p.?securityContext.?seccompProfile.hasValue()",
		on(v1alpha1.DefaultServiceAccountToken) + " && !p.?automountServiceAccountToken.hasValue()",
		"(p.?containers.orValue([]) + p.?initContainers.orValue([])).exists(c,\n" +
			on(v1alpha1.DefaultDropCapabilities) + " && c.?securityContext.?capabilities.?drop.orValue([]).size() == 0 || " +
			on(v1alpha1.DefaultPrivilegeEscalation) + " && !c.?securityContext.?allowPrivilegeEscalation.hasValue())",
	}, " ||\n") + ")"
}

// on says whether a default is on.
func on(d v1alpha1.Default) string { return "'" + string(d) + "' in params.spec.?defaults.orValue([])" }

// podOf is the pod's spec in an object: a match condition knows no variables.
func podOf(object string) string {
	return strings.ReplaceAll(`(O.kind == 'Pod' ? O.?spec : O.kind == 'PodTemplate' ? O.?template.?spec : O.kind == 'CronJob' ? O.?spec.?jobTemplate.?spec.?template.?spec : O.?spec.?template.?spec).orValue({})`, "O", object)
}

func podVariables() []admissionv1.Variable {
	privileged := "c.?securityContext.?privileged.orValue(false)"
	return []admissionv1.Variable{
		{Name: "pod", Expression: podOf("object")},
		{Name: "path", Expression: `object.kind == 'Pod' ? '/spec' : object.kind == 'PodTemplate' ? '/template/spec' : object.kind == 'CronJob' ? '/spec/jobTemplate/spec/template/spec' : '/spec/template/spec'`},
		{Name: "containers", Expression: "variables.pod.?containers.orValue([])"},
		{Name: "initContainers", Expression: "variables.pod.?initContainers.orValue([])"},
		// The API server refuses these fields in a pod of Windows.
		{Name: "linux", Expression: "variables.pod.?os.?name.orValue('linux') != 'windows'"},
		{Name: "seccomp", Expression: on(v1alpha1.DefaultSeccompProfile) + ` && variables.linux && !variables.pod.?securityContext.?seccompProfile.hasValue()
&& (variables.containers + variables.initContainers).exists(c, !c.?securityContext.?seccompProfile.hasValue())`},
		// The lists say of each container, by its place, whether it lacks the field.
		{Name: "dropContainers", Expression: lacking("containers", on(v1alpha1.DefaultDropCapabilities), "c.?securityContext.?capabilities.?drop.orValue([]).size() == 0 && !"+privileged)},
		{Name: "dropInitContainers", Expression: lacking("initContainers", on(v1alpha1.DefaultDropCapabilities), "c.?securityContext.?capabilities.?drop.orValue([]).size() == 0 && !"+privileged)},
		// The API server refuses false beside these two.
		{Name: "riseContainers", Expression: lacking("containers", on(v1alpha1.DefaultPrivilegeEscalation), mayNotRise)},
		{Name: "riseInitContainers", Expression: lacking("initContainers", on(v1alpha1.DefaultPrivilegeEscalation), mayNotRise)},
		{Name: "token", Expression: on(v1alpha1.DefaultServiceAccountToken) + " && !variables.pod.?automountServiceAccountToken.hasValue()"},
		{Name: "before", Expression: "object.metadata.?annotations[?'" + v1alpha1.AnnotationDefaulted + "'].orValue('').split(', ')"},
		{Name: "added", Expression: `(variables.seccomp ? ['seccompProfile'] : []) +
((variables.dropContainers + variables.dropInitContainers).exists(l, l) ? ['dropCapabilities'] : []) +
((variables.riseContainers + variables.riseInitContainers).exists(l, l) ? ['privilegeEscalation'] : []) +
(variables.token ? ['serviceAccountToken'] : [])`},
	}
}

const mayNotRise = `!c.?securityContext.?allowPrivilegeEscalation.hasValue() && !c.?securityContext.?privileged.orValue(false)
&& !c.?securityContext.?capabilities.?add.orValue([]).exists(a, a in ['CAP_SYS_ADMIN', 'SYS_ADMIN'])`

func lacking(list, on, when string) string {
	return "variables." + list + ".map(c, " + on + " && variables.linux && " + when + ")"
}

const seccompPatch = `!variables.seccomp ? [] :
(variables.pod.?securityContext.hasValue() ? [] : [JSONPatch{op: 'add', path: variables.path + '/securityContext', value: {}}]) +
[JSONPatch{op: 'add', path: variables.path + '/securityContext/seccompProfile', value: {'type': 'RuntimeDefault'}}]`

// containerPatches fill in the containers of a list: first the parents that are absent, then the fields.
func containerPatches(list string) string {
	return strings.NewReplacer("LIST", list, "NAME", strings.ToUpper(list[:1])+list[1:]).Replace(
		`variables.LIST.transformList(i, c, (variables.dropNAME[i] || variables.riseNAME[i]) && !c.?securityContext.hasValue(),
  JSONPatch{op: 'add', path: variables.path + '/LIST/' + string(i) + '/securityContext', value: {}}) +
variables.LIST.transformList(i, c, variables.dropNAME[i] && !c.?securityContext.?capabilities.hasValue(),
  JSONPatch{op: 'add', path: variables.path + '/LIST/' + string(i) + '/securityContext/capabilities', value: {}}) +
variables.LIST.transformList(i, c, variables.dropNAME[i],
  JSONPatch{op: 'add', path: variables.path + '/LIST/' + string(i) + '/securityContext/capabilities/drop', value: ['ALL']}) +
variables.LIST.transformList(i, c, variables.riseNAME[i],
  JSONPatch{op: 'add', path: variables.path + '/LIST/' + string(i) + '/securityContext/allowPrivilegeEscalation', value: false})`)
}

// tokenPatch turns the token off. The ServiceAccount plug-in of the API server ran before, and gave a Pod the token as a
// volume, which goes too.
const tokenPatch = `!variables.token ? [] : [JSONPatch{op: 'add', path: variables.path + '/automountServiceAccountToken', value: false}] +
(object.kind == 'Pod' && variables.pod.?volumes.orValue([]).exists(v, v.name.matches('^kube-api-access-[a-z0-9]{5}$')) ?
  [JSONPatch{op: 'replace', path: '/spec/volumes', value: variables.pod.volumes.filter(v, !v.name.matches('^kube-api-access-[a-z0-9]{5}$'))}] : [])`

// tokenMounts takes the mounts of that volume away.
func tokenMounts(list string) string {
	return strings.ReplaceAll(`!variables.token || object.kind != 'Pod' ? [] : variables.LIST.transformList(i, c,
  c.?volumeMounts.orValue([]).exists(m, m.name.matches('^kube-api-access-[a-z0-9]{5}$')),
  JSONPatch{op: 'replace', path: '/spec/LIST/' + string(i) + '/volumeMounts', value: c.volumeMounts.filter(m, !m.name.matches('^kube-api-access-[a-z0-9]{5}$'))})`, "LIST", list)
}

// notePatch lists what was added, now and before.
const notePatch = `variables.added.size() == 0 ? [] :
(has(object.metadata.annotations) ? [] : [JSONPatch{op: 'add', path: '/metadata/annotations', value: {}}]) +
[JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('` + v1alpha1.AnnotationDefaulted + `'),
  value: ['seccompProfile', 'dropCapabilities', 'privilegeEscalation', 'serviceAccountToken'].filter(d, d in variables.added || d in variables.before).join(', ')}]`
