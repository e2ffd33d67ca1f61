package bundle

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// withDefaults is a copy of a policy or binding with what the API server would fill in (k8s.io/kubernetes
// pkg/apis/admissionregistration/v1/defaults.go), so that it can be compared with what is stored. Other kinds have no
// defaults.
func withDefaults(o client.Object) client.Object {
	o = o.DeepCopyObject().(client.Object)
	switch o := o.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		if o.Spec.FailurePolicy == nil {
			o.Spec.FailurePolicy = new(admissionv1.Fail)
		}
		matchDefaults(o.Spec.MatchConstraints)
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		matchDefaults(o.Spec.MatchResources)
	case *admissionv1.MutatingAdmissionPolicy:
		matchDefaults(o.Spec.MatchConstraints)
	case *admissionv1.MutatingAdmissionPolicyBinding:
		matchDefaults(o.Spec.MatchResources)
	}
	return o
}

func matchDefaults(m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	if m.MatchPolicy == nil {
		m.MatchPolicy = new(admissionv1.Equivalent)
	}
	if m.NamespaceSelector == nil {
		m.NamespaceSelector = &metav1.LabelSelector{}
	}
	if m.ObjectSelector == nil {
		m.ObjectSelector = &metav1.LabelSelector{}
	}
	for _, rules := range [][]admissionv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			if rules[i].Scope == nil {
				rules[i].Scope = new(admissionv1.AllScopes)
			}
		}
	}
}
