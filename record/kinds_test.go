package record_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"ringfence.dev/ringfence/record"
)

var update = flag.Bool("update", false, "write docs/evidence-kinds.md anew")

// page is what is written of all kinds.
const page = "../docs/evidence-kinds.md"

// kindSchema is what this test reads of a schema.
type kindSchema struct {
	ID                   string                     `json:"$id"`
	Title                string                     `json:"title"`
	Description          string                     `json:"description"`
	AdditionalProperties *bool                      `json:"additionalProperties"`
	Required             []string                   `json:"required"`
	Properties           map[string]json.RawMessage `json:"properties"`
	Examples             []map[string]any           `json:"examples"`
}

// TestKinds walks the kinds: each is a schema, has an example that keeps to it, says what every field means, and stands on
// the page that auditors read.
func TestKinds(t *testing.T) {
	var doc strings.Builder
	doc.WriteString("# Kinds of evidence\n\nWhat the `body` of a record holds, by its `kind`. Written by `go test ./record -update` from the schemas in\n" +
		"[record/kinds](../record/kinds); fields are only added to a version. The predicate type of an entry is\n`https://ringfence.dev/evidence/` and the kind.\n")
	for _, name := range record.Kinds() {
		t.Run(name, func(t *testing.T) { doc.WriteString(walkKind(t, name)) })
	}
	if *update {
		if err := os.WriteFile(page, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(page); err != nil || string(got) != doc.String() {
		t.Errorf("%s is not what the schemas say (%v): go test ./record -update", page, err)
	}
	if _, ok := record.KindSchema("../record"); ok {
		t.Error("KindSchema finds a kind that is none")
	}
}

// walkKind checks one kind and is its part of the page.
func walkKind(t *testing.T, name string) string {
	text, ok := record.KindSchema(name)
	if !ok {
		t.Fatal("no such kind")
	}
	var s kindSchema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	compiled := compileKind(t, name, text)
	if s.ID != "https://ringfence.dev/evidence/"+name || s.Title == "" || s.Description == "" || s.AdditionalProperties == nil || *s.AdditionalProperties {
		t.Error("want $id https://ringfence.dev/evidence/<kind>, title, description, and additionalProperties false")
	}
	if len(s.Examples) == 0 {
		t.Error("want an example")
	}
	for _, example := range s.Examples {
		if err := compiled.Validate(example); err != nil {
			t.Errorf("the example: %v", err)
		}
		for _, field := range s.Required {
			less := maps.Clone(example)
			delete(less, field)
			if compiled.Validate(less) == nil {
				t.Errorf("an example without %s is valid", field)
			}
		}
		example["user"] = "jane"
		if compiled.Validate(example) == nil {
			t.Error("an example with a field that is not in the schema is valid")
		}
	}
	var doc strings.Builder
	fmt.Fprintf(&doc, "\n## %s\n\n%s\n\n| field | always | what |\n|---|---|---|\n", name, s.Description)
	for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
		var p struct {
			Description string `json:"description"`
		}
		if err := json.Unmarshal(s.Properties[field], &p); err != nil || p.Description == "" {
			t.Errorf("%s has no description", field)
		}
		always := ""
		if slices.Contains(s.Required, field) {
			always = "yes"
		}
		fmt.Fprintf(&doc, "| `%s` | %s | %s |\n", field, always, p.Description)
	}
	return doc.String()
}

func compileKind(t *testing.T, name string, text []byte) *jsonschema.Schema {
	t.Helper()
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(name, parsed); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func TestReference(t *testing.T) {
	a, b := record.Reference([]byte("key"), "jane"), record.Reference([]byte("other"), "jane")
	if a == b || a != record.Reference([]byte("key"), "jane") || !strings.HasPrefix(a, "hmac-sha256:") || len(a) != 12+64 {
		t.Errorf("Reference = %s and %s", a, b)
	}
}
