// Package bundle writes the catalogue as ValidatingAdmissionPolicies: one policy a control for people to read and apply,
// and for the cluster two policies a match group, in which all its controls share variables.
//
// Building is pure; it neither installs (the Reconciler does) nor judges (the API server does). The catalogue's tests,
// the command line and the control plane call it.
package bundle

import (
	"cmp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy/clean"
)

// Bundle is one installed policy with its binding.
type Bundle struct {
	Policy  *admissionv1.ValidatingAdmissionPolicy
	Binding *admissionv1.ValidatingAdmissionPolicyBinding
	// Optional are the kinds of which the cluster must serve one for the bundle to be of use; empty where it always is.
	Optional []control.Kind
	// Denies are the controls that it refuses for, where a Guard says Deny; empty for one that warns. ClusterScoped says that it
	// judges what lies in no namespace.
	Denies        []string
	ClusterScoped bool
}

// Single is one control as a policy of its own: what its policy.yaml holds.
func Single(c control.Control) *admissionv1.ValidatingAdmissionPolicy {
	p := policy(strings.ToLower(c.ID))
	for _, g := range control.Groups() {
		if g.Holds(c) {
			p.Spec.MatchConstraints.ResourceRules = rules(p.Spec.MatchConstraints.ResourceRules, g.Kinds, c.Kinds, "v1")
		}
	}
	p.Spec.Variables = variables(append(control.Shared(c.Groups), control.Derived(c.Variables, nil)...))
	p.Spec.Validations = []admissionv1.Validation{{
		Expression:        "variables." + control.ViolationsVariable + ".size() == 0",
		Message:           c.PlainMessage(),
		MessageExpression: c.Message(),
		Reason:            new(metav1.StatusReasonForbidden),
	}}
	return p
}

// Build is the bundles of a catalogue: for each match group the controls that deny, and the controls that deny or warn.
// The API server returns only the first denial but all warnings, so a refused user sees every control that failed.
// exempt are namespaces that no bundle judges, beside the pinned ones.
func Build(cat *control.Catalogue, exempt []string) []Bundle {
	exempt = pinnedAnd(exempt)
	var bundles []Bundle
	for _, g := range cat.Groups() {
		var controls []control.Control
		for _, c := range cat.Controls {
			if g.Holds(c) {
				controls = append(controls, c)
			}
		}
		if len(controls) == 0 || g.Unreachable {
			continue
		}
		when := conditions(g, controls)
		bundles = append(bundles,
			build(g, controls, when, exempt, finding.Deny, cat.Digest),
			build(g, controls, when, exempt, finding.Warn, cat.Digest))
	}
	return bundles
}

// AnnotationCatalogue on a policy names the digest of the catalogue it was built from.
const AnnotationCatalogue = "ringfence.dev/catalogue"

// Name is the name of a group's policy and binding.
func Name(group string, action finding.Action) string {
	return "ringfence-" + group + "-" + strings.ToLower(string(action))
}

func build(g control.Group, controls []control.Control, when []admissionv1.MatchCondition, exempt []string, action finding.Action, digest string) Bundle {
	name := Name(g.Name, action)
	p := policy(name)
	p.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
	p.Annotations = map[string]string{AnnotationCatalogue: digest}
	// Every version, although the servers that are supported serve these kinds as v1 alone: where a version is named, the
	// controller manager checks the types of every expression for every kind, which costs it 10 s of CPU a policy.
	p.Spec.MatchConstraints.ResourceRules = rules(nil, g.Kinds, nil, "*")
	p.Spec.MatchConstraints.NamespaceSelector = outside(v1alpha1.PinnedExemptNamespaces)
	p.Spec.Variables = variables(g.Twins())
	p.Spec.MatchConditions = slices.Clone(when)
	waivable := !g.Kinds[0].ClusterScoped && !g.Kinds[0].Unstored() // where waivers are, and what is stored
	if waivable {
		p.Spec.Variables = append(p.Spec.Variables, variables(waiverVariables(g))...)
	}
	made := waivable && hasTemplates(g) && g.Of == "" // what Kubernetes' own controllers make is among it
	if made {
		p.Spec.Variables = append(p.Spec.Variables, variables([]control.Variable{debtVariable()})...)
	}
	for _, c := range controls {
		names := map[string]string{}
		derived := control.Derived(c.Variables, g.Only(c))
		for _, v := range derived {
			names[v.Name] = strings.ToLower(strings.ReplaceAll(c.ID, "-", "_")) + "_" + v.Name
		}
		for _, v := range derived {
			p.Spec.Variables = append(p.Spec.Variables, admissionv1.Variable{Name: names[v.Name], Expression: control.Rename(v.Expression, names)})
		}
		holds, says := control.Rename("variables.violations.size() == 0", names), control.Rename(c.Message(), names)
		switch {
		case waivable && action == finding.Deny:
			holds += " || " + isWaived(c.ID) + also(made, " || "+isDebt(c.ID))
		case waivable: // what is waived is still warned of
			says += " + " + control.Rename("(variables.violations.size() == 0 ? '' : ", names) + waivedBy(c.ID) + also(made, " + "+owed(c.ID)) + ")"
		}
		p.Spec.Validations = append(p.Spec.Validations, admissionv1.Validation{
			Expression:        gate(c.ID, action) + holds,
			Message:           c.PlainMessage(),
			MessageExpression: says,
			Reason:            new(metav1.StatusReasonForbidden),
		})
		if action == finding.Warn {
			p.Spec.AuditAnnotations = append(p.Spec.AuditAnnotations, told(c, names)...)
		}
	}
	b := Bundle{Policy: p, Binding: binding(name, g.Kinds[0].ClusterScoped, exempt, action), ClusterScoped: g.Kinds[0].ClusterScoped}
	if g.Kinds[0].Asked { // nodes ask too, before any condition is: where there is no Guard, nothing can run that has a token
		bind(b.Binding)
	}
	for _, c := range controls {
		if action == finding.Deny {
			b.Denies = append(b.Denies, c.ID)
		}
	}
	if g.Of != "" {
		b.Optional = g.Kinds
	}
	return b
}

// told is the audit annotation, if any, in which all stands that a control found, one a line: a refusal line has room for 64 characters of the
// first, and no digest can be read from that. Where nothing was found the text is empty, which is no annotation.
func told(c control.Control, names map[string]string) []admissionv1.AuditAnnotation {
	if c.Told == "" {
		return nil
	}
	return []admissionv1.AuditAnnotation{{Key: c.Told, ValueExpression: control.Rename(`variables.violations.join('\n')`, names)}}
}

// also is a text where it counts.
func also(counts bool, text string) string {
	if counts {
		return text
	}
	return ""
}

// conditions end the evaluation of what the group's policies do not judge and, where it can be asked, of what is created
// and passes every rule, which is nearly everything: the server evaluates all message expressions of a policy whose
// conditions match, also those of rules that hold.
func conditions(g control.Group, controls []control.Control) (all []admissionv1.MatchCondition) {
	add := func(name, expression string) {
		all = append(all, admissionv1.MatchCondition{Name: name, Expression: expression})
	}
	if g.Unless != "" {
		add("not-the-control-plane", "!("+g.Unless+")")
	}
	if g.When != "" {
		add("has-this-template", g.When)
	}
	if g.Quick == "" {
		return all
	}
	if well, err := clean.Group(g, controls); err == nil { // a rule that cannot be read is what Compile refuses
		add("something-is-wrong", "request.operation != 'CREATE' || !"+well)
	}
	return all
}

// gate lets a control's validation pass where its action in the Guard is weaker than the bundle's. A control that the
// Guard does not name denies.
func gate(id string, action finding.Action) string {
	const actions = "params.spec.?actions[?'%'].orValue('Deny')"
	if action == finding.Deny {
		return strings.Replace(actions, "%", id, 1) + " != 'Deny' || "
	}
	return strings.Replace(actions, "%", id, 1) + " == 'Audit' || "
}

// binding gives a policy its parameter: the Guard of the object's namespace, or Ringfence's own for what lies in none.
func binding(name string, clusterScoped bool, exempt []string, action finding.Action) *admissionv1.ValidatingAdmissionPolicyBinding {
	do := []admissionv1.ValidationAction{admissionv1.Deny}
	if action == finding.Warn {
		do = []admissionv1.ValidationAction{admissionv1.Warn, admissionv1.Audit}
	}
	guardIn := ""
	if clusterScoped {
		guardIn = v1alpha1.SystemNamespace
	}
	return &admissionv1.ValidatingAdmissionPolicyBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicyBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name,
			ParamRef: &admissionv1.ParamRef{
				Name:                    v1alpha1.GuardName,
				Namespace:               guardIn,
				ParameterNotFoundAction: new(admissionv1.DenyAction),
			},
			MatchResources: &admissionv1.MatchResources{
				MatchPolicy:       new(admissionv1.Equivalent),
				ObjectSelector:    &metav1.LabelSelector{},
				NamespaceSelector: outside(exempt),
			},
			ValidationActions: do,
		},
	}
}

// outside selects what does not lie in these namespaces. A binding leaves out all that are exempt. A policy leaves out the pinned ones
// itself, too: an API server that was just started refuses what a policy matches, whatever its bindings say, until it knows the kind
// of the parameter, and the control plane could not get the tokens with which it starts.
func outside(namespaces []string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpNotIn, Values: namespaces,
	}}}
}

// policy is a policy without variables and validations: the fixed parts.
func policy(name string) *admissionv1.ValidatingAdmissionPolicy {
	return &admissionv1.ValidatingAdmissionPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: new(admissionv1.Fail),
			ParamKind:     &admissionv1.ParamKind{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Guard"},
			MatchConstraints: &admissionv1.MatchResources{
				MatchPolicy:       new(admissionv1.Equivalent),
				NamespaceSelector: &metav1.LabelSelector{},
				ObjectSelector:    &metav1.LabelSelector{},
			},
		},
	}
}

// rules adds to have every door to the kinds, or to those of them that only names, one rule an API group, version and scope.
// Kinds that say nothing of versions are matched in version.
func rules(have []admissionv1.NamedRuleWithOperations, kinds []control.Kind, only []string, version string) []admissionv1.NamedRuleWithOperations {
	for _, k := range kinds {
		if len(only) > 0 && !slices.Contains(only, k.Kind) {
			continue
		}
		version, scope := cmp.Or(k.Version, version), admissionv1.NamespacedScope
		group, names := k.Door()
		var operations []admissionv1.OperationType
		for _, name := range names {
			operations = append(operations, admissionv1.OperationType(name))
		}
		if k.ClusterScoped {
			scope = admissionv1.ClusterScope
		}
		i := slices.IndexFunc(have, func(r admissionv1.NamedRuleWithOperations) bool {
			return r.APIGroups[0] == group && r.APIVersions[0] == version && *r.Scope == scope && slices.Equal(r.Operations, operations)
		})
		if i < 0 {
			i = len(have)
			have = append(have, admissionv1.NamedRuleWithOperations{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: operations,
				Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Scope: &scope},
			}})
		}
		have[i].Resources = append(have[i].Resources, k.Resource)
		for _, sub := range k.Subresources {
			have[i].Resources = append(have[i].Resources, k.Resource+"/"+sub)
		}
	}
	return have
}

func variables(vars []control.Variable) []admissionv1.Variable {
	out := make([]admissionv1.Variable, 0, len(vars))
	for _, v := range vars {
		out = append(out, admissionv1.Variable{Name: v.Name, Expression: v.Expression})
	}
	return out
}
