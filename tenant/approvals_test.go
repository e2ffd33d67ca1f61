package tenant

import (
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

// TestApprovals: what takes two people takes them in the same words of every kind, and a policy says of itself what only its kind says.
func TestApprovals(t *testing.T) {
	objects, err := Protection()
	if err != nil {
		t.Fatal(err)
	}
	policies := map[string]*admissionregistrationv1.ValidatingAdmissionPolicy{}
	for _, o := range objects {
		if p, ok := o.(*admissionregistrationv1.ValidatingAdmissionPolicy); ok {
			policies[p.Name] = p
		}
	}
	waivers, elevations := policies["ringfence-waivers"], policies["ringfence-elevations"]
	if waivers == nil || elevations == nil {
		t.Fatal("there is no policy of waivers, or none of elevations")
	}
	shared := 0
	for _, v := range waivers.Spec.Validations {
		for _, other := range elevations.Spec.Validations {
			if v.Expression == strings.ReplaceAll(other.Expression, "'elevations'", "'waivers'") {
				shared++
			}
		}
	}
	if shared != 10 {
		t.Errorf("%d validations are the same of both, want the 10 of approvals.yaml", shared)
	}
	for name, p := range policies {
		seen := map[string]bool{}
		for _, v := range p.Spec.Variables {
			if seen[v.Name] {
				t.Errorf("%s: variable %s stands there twice", name, v.Name)
			}
			seen[v.Name] = true
		}
		for _, v := range p.Spec.Validations {
			for _, word := range []string{"NOUN", "KINDS", "COMMAND", "ROLE"} {
				if strings.Contains(v.Message+v.MessageExpression+v.Expression, word) {
					t.Errorf("%s: %s is left in %s", name, word, v.Message)
				}
			}
		}
	}
}
