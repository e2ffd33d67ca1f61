package faults

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// asked counts how often Ringfence asks which kinds the cluster serves.
type asked struct {
	next  http.RoundTripper
	times *atomic.Int64
}

func (a asked) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/apis" {
		a.times.Add(1)
	}
	return a.next.RoundTrip(r)
}

// kindArrives: the policy for a kind that the cluster does not serve is not installed, changes of the Platform do not ask for it anew, and
// it is in place soon after the kind is defined.
func (b *bed) kindArrives(times *atomic.Int64) func(*testing.T) {
	const policy = "ringfence-templates-1-deny" // of JobSets alone
	return func(t *testing.T) {
		there := func() error {
			return b.Get(t.Context(), client.ObjectKey{Name: policy}, &admissionv1.ValidatingAdmissionPolicy{})
		}
		if err := there(); !apierrors.IsNotFound(err) {
			t.Fatalf("%s: %v; want none where no JobSet is served", policy, err)
		}
		before, changes := times.Load(), int64(10)
		for i := range changes {
			action := []v1alpha1.Action{v1alpha1.Warn, v1alpha1.Deny}[i%2]
			b.edit(t, func(s *v1alpha1.PlatformSpec) {
				s.Controls = map[string]v1alpha1.ControlRollout{"RF-WL-16": {Action: action}}
			})
			ringfencetest.Eventually(t, "the change to be in force", b.enforced(t))
		}
		b.edit(t, func(s *v1alpha1.PlatformSpec) { s.Controls = nil })
		if n := times.Load() - before; before == 0 || n >= changes { // by the clock, and not for each kind at each change
			t.Errorf("%d changes of the Platform asked %d times which kinds there are, %d times before", changes, n, before)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: "jobsets.jobset.x-k8s.io", Annotations: map[string]string{"api-approved.kubernetes.io": "unapproved, for a test"}},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: "jobset.x-k8s.io", Scope: apiextensionsv1.NamespaceScoped,
				Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "jobsets", Singular: "jobset", Kind: "JobSet", ListKind: "JobSetList"},
				Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1alpha2", Served: true, Storage: true,
					Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true)}}}},
			},
		}
		begun := time.Now()
		if err := b.Create(t.Context(), crd); err != nil {
			t.Fatal(err)
		}
		ringfencetest.Eventually(t, policy+" to be in place", there)
		t.Logf("the policy of a kind is in place %v after its definition was sent", time.Since(begun).Round(time.Millisecond))
	}
}
