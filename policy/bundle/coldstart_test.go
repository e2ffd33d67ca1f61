package bundle

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
)

// TestColdStart: no policy with a parameter matches anything in kube-system or our own namespace. An API server that does not know
// the parameter's kind yet refuses what a policy matches, and the control plane's own tokens and pods would be among it.
func TestColdStart(t *testing.T) {
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	var all []client.Object
	for _, b := range Build(cat, nil) {
		all = append(all, b.Policy)
	}
	all = append(append(all, Copied(cat, nil, NativeDoor)...), Defaulted(nil, NativeDoor)...)
	looked := 0
	for _, o := range all {
		var match *admissionv1.MatchResources
		switch p := o.(type) {
		case *admissionv1.ValidatingAdmissionPolicy:
			match = p.Spec.MatchConstraints
		case *admissionv1.MutatingAdmissionPolicy:
			match = p.Spec.MatchConstraints
		default:
			continue
		}
		looked++
		selector, err := metav1.LabelSelectorAsSelector(match.NamespaceSelector)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range v1alpha1.PinnedExemptNamespaces {
			if selector.Matches(labels.Set{"kubernetes.io/metadata.name": name}) {
				t.Errorf("%s matches what lies in %s", o.GetName(), name)
			}
		}
		if !selector.Matches(labels.Set{"kubernetes.io/metadata.name": "payments-prod"}) {
			t.Errorf("%s matches nothing of a tenant", o.GetName())
		}
	}
	if looked < 10 {
		t.Errorf("%d policies", looked)
	}
}
