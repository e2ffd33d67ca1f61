package tenant

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	corev1 "k8s.io/api/core/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
)

// TestAccepted: a Platform with a mistake is not in force, the last one without is, and every mistake is named.
func TestAccepted(t *testing.T) {
	a := NewAccepted([]control.Control{{ID: "RF-WL-01"}})
	of := func(generation int64, change func(*v1alpha1.PlatformSpec)) *v1alpha1.Platform {
		p := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Generation: generation}}
		change(&p.Spec)
		return p
	}
	typo := func(s *v1alpha1.PlatformSpec) {
		s.Controls = map[string]v1alpha1.ControlRollout{"RF-WL-91": {}, "RF-WL-90": {}, "RF-WL-01": {}}
		s.Separation.Production.SecretPaths, s.Separation.NonProduction.SecretPaths = []string{"prod-"}, []string{"dev-", "prod-"}
	}
	if got, err := a.Of(of(1, typo)); got != nil || err == nil {
		t.Errorf("the first with a mistake: %v, %v", got, err)
	}
	good := of(2, func(s *v1alpha1.PlatformSpec) { s.Registries = []v1alpha1.Registry{"registry.bank.example"} })
	if got, err := a.Of(good); got != good || err != nil {
		t.Errorf("one without: %v, %v", got, err)
	}
	got, err := a.Of(of(3, typo))
	if got == nil || got.Generation != 2 || !slices.Equal(got.Spec.Registries, good.Spec.Registries) || len(got.Spec.Controls) != 0 {
		t.Errorf("the next with a mistake: %+v; want the spec and generation of before", got)
	}
	for _, want := range []string{"RF-WL-90", "RF-WL-91", "secretPaths prod-"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("mistakes %v; want %q among them", err, want)
		}
	}
	if got, err := a.Of(nil); got != nil || err != nil {
		t.Errorf("none: %v, %v", got, err)
	}
}

// TestVanishedTenant: the Guard of a namespace whose tenant went with its kind stays, less what has ended; where it went too, it
// is made again as it was.
func TestVanishedTenant(t *testing.T) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team-prod", Labels: map[string]string{v1alpha1.LabelTenant: "team"}}}
	was := v1alpha1.GuardSpec{Actions: map[string]v1alpha1.Action{"RF-WL-01": v1alpha1.Deny}, Production: true, Registries: []v1alpha1.Registry{"narrow.example"},
		Egress: map[string]string{"a.example:443": "2026-01-01T00:00:00Z", "b.example:443": ""}}
	in := Input{Controls: []control.Control{{ID: "RF-WL-01"}}, Platform: &v1alpha1.Platform{}, Now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), Last: &was}
	for _, platform := range []*v1alpha1.Platform{in.Platform, nil} {
		in.Platform = platform
		for _, guard := range []*v1alpha1.Guard{nil, {Spec: was}} {
			changes := planUnowned(in, ns, guard, nil, false)
			if len(changes) != 1 {
				t.Fatalf("%d changes; want the Guard's", len(changes))
			}
			got := changes[0].Object.(*v1alpha1.Guard).Spec
			if _, ended := got.Egress["a.example:443"]; !got.Production || !slices.Equal(got.Registries, was.Registries) || ended || len(got.Egress) != 1 {
				t.Errorf("with Guard %v, Platform %v: %+v", guard != nil, platform != nil, got)
			}
		}
	}
}

// TestKindAway: the answers of an API server to a write whose kind is going or gone, as it gives them.
func TestKindAway(t *testing.T) {
	guards := schema.GroupResource{Group: "ringfence.dev", Resource: "guards"}
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{apierrors.NewForbidden(guards, "guard", fmt.Errorf("create not allowed while custom resource definition is terminating")), true},
		{apierrors.NewGenericServerResponse(404, "post", guards, "guard", "404 page not found", 0, true), true},
		{apierrors.NewMethodNotSupported(guards, "create"), true},
		{apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "a"), false},
		{apierrors.NewForbidden(guards, "guard", fmt.Errorf("no")), false},
		{fmt.Errorf("no"), false},
	} {
		if got := kindAway(fmt.Errorf("create Guard: %w", tc.err)); got != tc.want {
			t.Errorf("%v: %v", tc.err, got)
		}
	}
}
