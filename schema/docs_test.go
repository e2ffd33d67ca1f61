package schema

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// TestDocs: the contract that users read names every field and every value of a choice, and its examples are accepted.
func TestDocs(t *testing.T) {
	s := newSet(t)
	for _, name := range s.Kinds() {
		file := filepath.Join("..", "docs", "spec", "v1alpha1", strings.ToLower(name)+".md")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc := string(data)
		properties := s.kinds[name].structural.Properties
		for _, part := range []string{"spec", "status"} {
			if p, ok := properties[part]; ok {
				missing(&p, part, doc, func(path, word string) { t.Errorf("%s says nothing of %s (%s)", file, path, word) })
			}
		}
		examples := 0
		for _, block := range strings.Split(doc, "\n\n") {
			if !strings.HasPrefix(block, "    apiVersion:") {
				continue
			}
			examples++
			if faults := s.Validate(object(t, strings.ReplaceAll(block, "\n    ", "\n")[4:])); len(faults) > 0 {
				t.Errorf("%s: the example is refused:\n%s", file, text(faults))
			}
		}
		if examples == 0 {
			t.Errorf("%s has no whole example", file)
		}
	}
}

func missing(s *structuralschema.Structural, path, doc string, report func(path, word string)) {
	if s == nil || strings.HasSuffix(path, "conditions") {
		return
	}
	if s.ValueValidation != nil {
		for _, v := range s.ValueValidation.Enum {
			if word, _ := v.Object.(string); !strings.Contains(doc, word) {
				report(path, word)
			}
		}
	}
	for field, below := range s.Properties {
		if !strings.Contains(doc, field) {
			report(path+"."+field, field)
		}
		missing(&below, path+"."+field, doc, report)
	}
	missing(s.Items, path+"[]", doc, report)
	if s.AdditionalProperties != nil {
		missing(s.AdditionalProperties.Structural, path+".*", doc, report)
	}
}
