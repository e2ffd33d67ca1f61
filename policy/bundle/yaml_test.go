package bundle_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/policy/bundle"
)

// TestYAML shows that what is written is what was built, for every bundle and every single policy, and the same each time.
func TestYAML(t *testing.T) {
	cat := load(t)
	again := bundle.Build(cat, []string{"monitoring"})
	for i, b := range bundle.Build(cat, []string{"monitoring"}) {
		text, err := b.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if second, _ := again[i].YAML(); !bytes.Equal(text, second) {
			t.Errorf("%s: written twice, it differs", b.Policy.Name)
		}
		parts := strings.Split(string(text), "\n---\n")
		if len(parts) != 3 {
			t.Fatalf("%s: %d parts, want the comment, the policy and the binding", b.Policy.Name, len(parts))
		}
		for line := range strings.Lines(parts[0]) {
			if !strings.HasPrefix(line, "#") {
				t.Errorf("%s: a line of the head is no comment: %s", b.Policy.Name, line)
			}
		}
		var policy admissionv1.ValidatingAdmissionPolicy
		var binding admissionv1.ValidatingAdmissionPolicyBinding
		read(t, parts[1], &policy)
		read(t, parts[2], &binding)
		if diff := cmp.Diff(b.Policy, &policy); diff != "" {
			t.Errorf("%s: policy (-built +written):\n%s", b.Policy.Name, diff)
		}
		if diff := cmp.Diff(b.Binding, &binding); diff != "" {
			t.Errorf("%s: binding (-built +written):\n%s", b.Policy.Name, diff)
		}
	}
	for _, c := range cat.Controls {
		text, err := bundle.SingleYAML(c)
		if err != nil {
			t.Fatal(err)
		}
		var policy admissionv1.ValidatingAdmissionPolicy
		read(t, string(text), &policy)
		if diff := cmp.Diff(bundle.Single(c), &policy); diff != "" {
			t.Errorf("%s: policy (-built +written):\n%s", c.ID, diff)
		}
	}
}

func read(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}
