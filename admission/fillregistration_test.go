package admission

import (
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// TestFillRegistration: it lets everything through while no door answers, asks about nothing in exempt namespaces and of no
// subresource, and of every kind only where the Platform names metadata.
func TestFillRegistration(t *testing.T) {
	at, err := ParseClient("ringfence-system/ringfence", "")
	if err != nil {
		t.Fatal(err)
	}
	p := &v1alpha1.PlatformSpec{ExemptNamespaces: []v1alpha1.NamespaceName{"istio-system"}}
	for _, keys := range [][]string{nil, {"cost-centre"}} {
		p.Metadata.RequiredLabels = keys
		got := FillRegistration(p, at, []byte("ca"), true, false)
		if len(got.Webhooks) != 1 {
			t.Fatalf("%d webhooks", len(got.Webhooks))
		}
		w := got.Webhooks[0]
		if *w.FailurePolicy != admissionv1.Ignore || *w.TimeoutSeconds != 2 || *w.SideEffects != admissionv1.SideEffectClassNone ||
			*w.ReinvocationPolicy != admissionv1.IfNeededReinvocationPolicy || *w.ClientConfig.Service.Path != FillPath {
			t.Errorf("%+v", w)
		}
		if exempt := w.NamespaceSelector.MatchExpressions[0]; exempt.Key != "kubernetes.io/metadata.name" || exempt.Operator != "NotIn" || !slices.Equal(exempt.Values, []string{"istio-system", "kube-system", "ringfence-system"}) {
			t.Errorf("exempt %+v", exempt)
		}
		var asked []string
		for _, rule := range w.Rules {
			if *rule.Scope != admissionv1.NamespacedScope || len(rule.Operations) != 2 {
				t.Errorf("rule %+v", rule)
			}
			asked = append(asked, rule.Resources...)
		}
		if slices.ContainsFunc(asked, func(r string) bool { return strings.Contains(r, "/") }) || slices.Contains(asked, "*") != (keys != nil) {
			t.Errorf("keys %v: asked about %v", keys, asked)
		}
		last := w.MatchConditions[len(w.MatchConditions)-1].Expression
		if strings.Contains(last, "['cost-centre'].exists(k, !(k in object.metadata.?labels.orValue({})))") != (keys != nil) {
			t.Errorf("keys %v: %s", keys, last)
		}
	}
}

// TestTagsRegistration: what tags mean is asked of pods and ephemeral containers alone, beside what is filled in or without it, and all is
// let through while no door answers.
func TestTagsRegistration(t *testing.T) {
	at, err := ParseClient("", "https://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	p := &v1alpha1.PlatformSpec{}
	p.Metadata.RequiredLabels = []string{"cost-centre"}
	for _, fills := range []bool{true, false} {
		got := FillRegistration(p, at, []byte("ca"), fills, true)
		if want := map[bool]int{true: 2, false: 1}[fills]; len(got.Webhooks) != want {
			t.Fatalf("%d webhooks", len(got.Webhooks))
		}
		w := got.Webhooks[len(got.Webhooks)-1]
		if *w.FailurePolicy != admissionv1.Ignore || *w.TimeoutSeconds != 5 || *w.ReinvocationPolicy != admissionv1.IfNeededReinvocationPolicy || *w.ClientConfig.URL != "https://127.0.0.1:1"+TagsPath {
			t.Errorf("%+v", w)
		}
		var asked []string
		for _, rule := range w.Rules {
			asked = append(asked, rule.Resources...)
		}
		if slices.Contains(asked, "*") || !slices.Contains(asked, "pods/ephemeralcontainers") || !slices.Contains(asked, "cronjobs") {
			t.Errorf("asked about %v", asked)
		}
		r := &Reconciler{}
		r.filling.Store(got)
		if r.Filling() != fills {
			t.Errorf("it says that it fills in: %v", r.Filling())
		}
	}
}
