package bundle_test

import (
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/tenant"
)

func load(t testing.TB) *control.Catalogue {
	t.Helper()
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

// TestCompile compiles every bundle and every single policy as the oldest supported API server would.
func TestCompile(t *testing.T) {
	cat := load(t)
	for _, b := range bundle.Build(cat, nil) {
		if err := bundle.Compile(b.Policy); err != nil {
			t.Error(err)
		}
	}
	for _, c := range cat.Controls {
		if err := bundle.Compile(bundle.Single(c)); err != nil {
			t.Error(err)
		}
	}
}

// TestCompileProtection compiles what stands beside the bundles in the same way.
func TestCompileProtection(t *testing.T) {
	objects, err := tenant.Protection()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if p, ok := o.(*admissionv1.ValidatingAdmissionPolicy); ok {
			if err := bundle.Compile(p); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestCompileRefuses shows that Compile can fail: in a variable, a validation, a message and an audit annotation.
func TestCompileRefuses(t *testing.T) {
	cat := load(t)
	for name, spoil := range map[string]func(b bundle.Bundle){
		"variable":   func(b bundle.Bundle) { b.Policy.Spec.Variables[0].Expression = "object.(" },
		"validation": func(b bundle.Bundle) { b.Policy.Spec.Validations[0].Expression = "variables.none == 1" },
		"message":    func(b bundle.Bundle) { b.Policy.Spec.Validations[0].MessageExpression = "1" },
		"audit annotation": func(b bundle.Bundle) {
			b.Policy.Spec.AuditAnnotations = []admissionv1.AuditAnnotation{{Key: "a", ValueExpression: "1"}}
		},
	} {
		b := bundle.Build(cat, nil)[0]
		spoil(b)
		if err := bundle.Compile(b.Policy); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Compile with a broken %s = %v, want an error that names it", name, err)
		}
	}
}

// TestUnsignedImages: the bundles of workloads and of pod templates that warn name images whole in the audit log, and nothing else does.
func TestUnsignedImages(t *testing.T) {
	var named []string
	for _, b := range bundle.Build(load(t), nil) {
		for _, a := range b.Policy.Spec.AuditAnnotations {
			if named = append(named, b.Policy.Name); a.Key != control.UnsignedImages || !strings.HasSuffix(b.Policy.Name, "-warn") || len(b.Policy.Spec.AuditAnnotations) != 1 {
				t.Errorf("%s names %s", b.Policy.Name, a.Key)
			}
		}
	}
	if !slices.Contains(named, "ringfence-workloads-warn") || !slices.Contains(named, "ringfence-templates-warn") {
		t.Errorf("named in %q", named)
	}
}

// TestBuild: two bundles a group, each control in those of its groups, exempt namespaces in every binding, and the pinned
// ones even where the Platform names none.
func TestBuild(t *testing.T) {
	cat := load(t)
	for _, b := range bundle.Build(cat, []string{"monitoring", "kube-system"}) {
		got := b.Binding.Spec.MatchResources.NamespaceSelector.MatchExpressions[0].Values
		if want := []string{"kube-system", "monitoring", "ringfence-system"}; !slices.Equal(got, want) {
			t.Errorf("%s: exempt = %v, want %v", b.Binding.Name, got, want)
		}
		name := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(b.Policy.Name, "ringfence-"), "-deny"), "-warn")
		want := 0
		for _, g := range cat.Groups() {
			for _, c := range cat.Controls {
				if g.Name == name && g.Holds(c) {
					want++
				}
			}
		}
		if got := len(b.Policy.Spec.Validations); got != want || want == 0 {
			t.Errorf("%s: %d validations, want %d", b.Policy.Name, got, want)
		}
	}
}
