package bundle

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
)

// TestMutationsCompile compiles all that is installed beside the bundles of the catalogue.
func TestMutationsCompile(t *testing.T) {
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, o := range mutations(cat, []v1alpha1.NamespaceName{"monitoring"}, NativeDoor) {
		kinds[o.GetObjectKind().GroupVersionKind().Kind]++
		var err error
		switch p := o.(type) {
		case *admissionv1.ValidatingAdmissionPolicy:
			err = Compile(p)
		case *admissionv1.MutatingAdmissionPolicy:
			err = CompileMutation(p)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if kinds["MutatingAdmissionPolicy"] == 0 || kinds["MutatingAdmissionPolicy"] != kinds["MutatingAdmissionPolicyBinding"] {
		t.Errorf("kinds = %v, want as many mutations as bindings", kinds)
	}
	if kinds["ValidatingAdmissionPolicy"] == 0 {
		t.Error("nothing refuses metadata that differs")
	}
	for door, tells := range map[Door]bool{NoDoor: false, WebhookDoor: true, WaitingDoor: true} {
		told := false
		for _, o := range mutations(cat, nil, door) {
			if _, ok := o.(*admissionv1.MutatingAdmissionPolicy); ok {
				t.Errorf("door %d: a MutatingAdmissionPolicy is wanted where another door fills in, or none", door)
			}
			told = told || o.GetName() == NameDefaulted
		}
		if told != tells {
			t.Errorf("door %d: what tells of defaults is wanted: %v, want %v", door, told, tells)
		}
	}
}
