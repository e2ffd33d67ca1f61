package controls_test

import (
	"testing"

	"ringfence.dev/ringfence/compliance"
	"ringfence.dev/ringfence/frameworks"
)

// TestMappings holds every mapping.yaml to the frameworks: each names folders of frameworks/, and clauses that are there.
func TestMappings(t *testing.T) {
	all, err := compliance.Load(frameworks.FS)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range catalogue(t).Controls {
		_, faults := all.Of(c.Mapping)
		for _, fault := range faults {
			t.Errorf("%s/mapping.yaml: %v", c.Dir, fault)
		}
	}
}
