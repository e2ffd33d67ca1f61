package bundle

import (
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// The names of what fills in metadata and defaults, of what refuses metadata that differs from the namespace's, and of
// what tells of defaults. Each names a policy and its binding.
const (
	NameMetadata  = "ringfence-metadata"
	NameDefaults  = "ringfence-defaults"
	NameDefaulted = "ringfence-defaulted"
)

// Copied are the policies of the metadata that objects take from their namespace, each with its binding: what refuses a
// value that differs, and where the native door fills in what does so.
//
// What refuses speaks as the control of required labels; it denies whatever that control's action is, for what differs was
// chosen, and nothing has to differ.
func Copied(cat *control.Catalogue, exempt []string, door Door) (all []client.Object) {
	if c, ok := cat.Labels(); ok {
		all = append(all, differ(c), bind(binding(NameMetadata, false, pinnedAnd(exempt), finding.Deny)))
	}
	if door != NativeDoor {
		return all
	}
	m := mutation(NameMetadata)
	m.Spec.MatchConstraints = everyObject()
	m.Spec.MatchConditions = []admissionv1.MatchCondition{
		{Name: "something-is-absent", Expression: lacksCopied},
		{Name: "is-not-going", Expression: "!has(object.metadata.deletionTimestamp)"},
	}
	m.Spec.Variables = []admissionv1.Variable{
		{Name: "labels", Expression: absent("requiredLabels", "labels")},
		{Name: "annotations", Expression: absent("copyAnnotations", "annotations")},
	}
	m.Spec.Mutations = []admissionv1.Mutation{{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{
		Expression: copying("labels") + " +\n" + copying("annotations"),
	}}}
	return append(all, m, bindMutation(NameMetadata, exempt))
}

// differ refuses a value that this request made differ from the namespace's.
func differ(c control.Control) *admissionv1.ValidatingAdmissionPolicy {
	start := c.ID + " " + strings.ReplaceAll(c.Title, "'", "") + ": "
	const end = "; fix: remove it, the platform copies it from the namespace" + control.More
	p := policy(NameMetadata)
	p.Labels = ours()
	p.Spec.MatchConstraints = everyObject()
	p.Spec.MatchConditions = []admissionv1.MatchCondition{
		// A controller only repeats what was judged in the object that it works for; see templates.
		{Name: "not-the-control-plane", Expression: "!(" + byControlPlane + ")"},
		{Name: "has-such-metadata", Expression: hasCopied},
	}
	p.Spec.Variables = differing()
	p.Spec.Validations = []admissionv1.Validation{{
		Expression: "variables.all.size() == 0",
		Reason:     new(metav1.StatusReasonForbidden),
		Message:    start + "want the namespace's value" + end + c.ID,
		MessageExpression: "'" + start + `found ' + variables.all[0] + (variables.all.size() > 1 ? ' and at ' + string(variables.all.size() - 1) + ' more' : '')
  + '; want the value of namespace ' + namespaceObject.metadata.name + '` + end + c.ID + "'",
	}}
	return p
}

// byControlPlane is who makes objects of other objects.
const byControlPlane = `request.userInfo.?username.orValue('') in ['system:apiserver', 'system:kube-controller-manager', 'system:kube-scheduler']
|| request.userInfo.?username.orValue('').startsWith('system:serviceaccount:kube-system:') || request.userInfo.?username.orValue('').startsWith('system:node:')`

// everyObject is every namespaced object, custom ones too, and no subresource: "*" without "/*" names none. Left out is
// what a cluster writes all the time or cannot live without, what is never stored, and the Guard, which must come first.
func everyObject() *admissionv1.MatchResources {
	rule := func(group string, resources ...string) admissionv1.NamedRuleWithOperations {
		return admissionv1.NamedRuleWithOperations{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
			Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: resources, Scope: new(admissionv1.NamespacedScope)},
		}}
	}
	return &admissionv1.MatchResources{
		MatchPolicy: new(admissionv1.Equivalent), NamespaceSelector: outside(v1alpha1.PinnedExemptNamespaces), ObjectSelector: &metav1.LabelSelector{},
		ResourceRules: []admissionv1.NamedRuleWithOperations{rule("*", "*")},
		ExcludeResourceRules: []admissionv1.NamedRuleWithOperations{
			rule("", "events", "endpoints", "bindings"), rule("events.k8s.io", "*"), rule("coordination.k8s.io", "*"),
			rule("discovery.k8s.io", "*"), rule("authentication.k8s.io", "*"), rule("authorization.k8s.io", "*"), rule(v1alpha1.GroupVersion.Group, "guards"),
		},
	}
}

// lacksCopied and hasCopied ask of the keys alone: a match condition knows no namespace.
const (
	lacksCopied = `params.spec.?requiredLabels.orValue([]).exists(k, !(k in object.metadata.?labels.orValue({})))
|| params.spec.?copyAnnotations.orValue([]).exists(k, !(k in object.metadata.?annotations.orValue({})))`
	hasCopied = `params.spec.?requiredLabels.orValue([]).size() + params.spec.?copyAnnotations.orValue([]).size() > 0`
)

// absent are the keys of a list of the Guard that the namespace has with a value, and the object has not.
func absent(list, field string) string {
	return strings.NewReplacer("LIST", list, "FIELD", field).Replace(
		`params.spec.?LIST.orValue([]).filter(k, !(k in object.metadata.?FIELD.orValue({})) && namespaceObject.metadata.?FIELD[?string(k)].orValue('') != '')`)
}

// copying are the operations that add what is absent.
func copying(field string) string {
	return strings.ReplaceAll(`(variables.FIELD.size() > 0 && !has(object.metadata.FIELD) ? [JSONPatch{op: 'add', path: '/metadata/FIELD', value: {}}] : []) +
variables.FIELD.map(k, JSONPatch{op: 'add', path: '/metadata/FIELD/' + jsonpatch.escapeKey(string(k)), value: namespaceObject.metadata.FIELD[string(k)]})`, "FIELD", field)
}

// templates are the labels and annotations that controllers give to what they make of an object: the pod template's, and
// of a CronJob the Job's too. Only Kubernetes' own kinds are known to mean that by these fields.
var templates = []struct{ name, when, at, path string }{
	{"pod", "request.kind.group in ['apps', 'batch', ''] && object.kind in ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job', 'ReplicationController']", ".?spec.?template.?metadata", "/spec/template/metadata"},
	{"cron", "request.kind.group == 'batch' && object.kind == 'CronJob'", ".?spec.?jobTemplate.?spec.?template.?metadata", "/spec/jobTemplate/spec/template/metadata"},
	{"job", "request.kind.group == 'batch' && object.kind == 'CronJob'", ".?spec.?jobTemplate.?metadata", "/spec/jobTemplate/metadata"},
	{"plain", "request.kind.group == '' && object.kind == 'PodTemplate'", ".?template.?metadata", "/template/metadata"},
}

// differing are variables; the last, all, are the values "V at /P" that this request made differ from the namespace's.
func differing() []admissionv1.Variable {
	vars := []admissionv1.Variable{
		{Name: "oldMeta", Expression: "request.operation == 'UPDATE' ? oldObject.metadata : {}"},
		{Name: "labels", Expression: `params.spec.?requiredLabels.orValue([]).filter(k, namespaceObject.metadata.?labels[?string(k)].orValue('') != '')`},
		{Name: "annotations", Expression: `params.spec.?copyAnnotations.orValue([]).filter(k, namespaceObject.metadata.?annotations[?string(k)].orValue('') != '')`},
	}
	var sums []string
	compare := func(name, when, now, was, path string) {
		for _, field := range []string{"labels", "annotations"} {
			text := `variables.FIELD.filter(k, NOW.?FIELD[?k].orValue(namespaceObject.metadata.FIELD[string(k)]) != namespaceObject.metadata.FIELD[string(k)]
    && WAS.?FIELD[?k] != NOW.?FIELD[?k])
  .map(k, (NOW.FIELD[k].matches('[\\p{Cc}\\p{Cf}]') ? 'a value with control characters' : NOW.FIELD[k].size() > 64 ? NOW.FIELD[k].substring(0, 63) + '…' : NOW.FIELD[k])
    + ' at PATH/FIELD/' + string(k).replace('~', '~0').replace('/', '~1'))`
			text = strings.NewReplacer("FIELD", field, "NOW", now, "WAS", was, "PATH", path).Replace(text)
			if when != "" {
				text = when + " ?\n" + text + " : []"
			}
			v := name + strings.ToUpper(field[:1]) + field[1:]
			vars = append(vars, admissionv1.Variable{Name: v, Expression: text})
			sums = append(sums, "variables."+v)
		}
	}
	compare("own", "", "object.metadata", "variables.oldMeta", "/metadata")
	for _, t := range templates {
		vars = append(vars,
			admissionv1.Variable{Name: t.name, Expression: t.when + " ? object" + t.at + ".orValue({}) : {}"},
			admissionv1.Variable{Name: t.name + "Before", Expression: "request.operation == 'UPDATE' && " + t.when + " ? oldObject" + t.at + ".orValue({}) : {}"})
		compare(t.name, "variables."+t.name+".size() > 0", "variables."+t.name, "variables."+t.name+"Before", t.path)
	}
	return append(vars, admissionv1.Variable{Name: "all", Expression: strings.Join(sums, " + ")})
}

// mutation is a MutatingAdmissionPolicy without what it matches and does. It fails open: what it cannot fill in is absent,
// and what must not be absent is refused by the rules, which know the Guard's actions and say what is wrong.
func mutation(name string) *admissionv1.MutatingAdmissionPolicy {
	return &admissionv1.MutatingAdmissionPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingAdmissionPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: ours()},
		Spec: admissionv1.MutatingAdmissionPolicySpec{
			FailurePolicy: new(admissionv1.Ignore),
			ParamKind:     &admissionv1.ParamKind{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Guard"},
			// Again where another mutator has changed the object, which may have added a container.
			ReinvocationPolicy: admissionv1.IfNeededReinvocationPolicy,
		},
	}
}

// bindMutation binds a mutation to every guarded namespace. Where there is no Guard it does nothing.
func bindMutation(name string, exempt []string) *admissionv1.MutatingAdmissionPolicyBinding {
	b := bind(binding(name, false, pinnedAnd(exempt), finding.Deny))
	return &admissionv1.MutatingAdmissionPolicyBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingAdmissionPolicyBinding"},
		ObjectMeta: b.ObjectMeta,
		Spec:       admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: name, ParamRef: b.Spec.ParamRef, MatchResources: b.Spec.MatchResources},
	}
}

// bind lets a binding be of no effect where there is no Guard: who matches every kind must not stop a namespace from
// coming to be. That there must be one is the business of the bundles.
func bind(b *admissionv1.ValidatingAdmissionPolicyBinding) *admissionv1.ValidatingAdmissionPolicyBinding {
	b.Spec.ParamRef.ParameterNotFoundAction = new(admissionv1.AllowAction)
	return b
}

func ours() map[string]string {
	return map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
}

// pinnedAnd are the namespaces that nothing judges, in order.
func pinnedAnd(exempt []string) []string {
	exempt = append(slices.Clone(v1alpha1.PinnedExemptNamespaces), exempt...)
	slices.Sort(exempt)
	return slices.Compact(exempt)
}
