package schema

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.bank.example}
spec:
  group: bank.example
  scope: Namespaced
  names: {plural: widgets, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, minimum: 1, description: Size is how large it is.}
              colour: {type: string, enum: [red, green]}
              port: {x-kubernetes-int-or-string: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              labels: {type: object, additionalProperties: {type: string}}
              template: {type: object, x-kubernetes-embedded-resource: true, properties: {spec: {type: object, properties: {a: {type: string}}}}}
              maybe: {type: string, nullable: true}
            x-kubernetes-validations: [{rule: "self.size < 10 || self.colour != 'red'", message: no large red widgets}]
          status: {type: object, properties: {phase: {type: string}}}
  - {name: v0, served: false, storage: false, schema: {openAPIV3Schema: {type: object}}}
`

func newCustom(t testing.TB, text string) *Custom {
	t.Helper()
	c := &Custom{}
	var crd map[string]any
	if err := yaml.Unmarshal([]byte(text), &crd); err != nil {
		t.Fatal(err)
	}
	for _, f := range c.Add(crd) {
		t.Errorf("%s %s", f.Path, f.Message)
	}
	return c
}

// TestCustom judges objects of a kind by its definition, with what definitions may say.
func TestCustom(t *testing.T) {
	c := newCustom(t, widgets)
	for _, one := range []struct {
		name, spec string
		want       []string
	}{
		{name: "good", spec: "{size: 3, colour: red, port: http, free: {a: {b: 1}}, labels: {x: a}, maybe: null, template: {apiVersion: v1, kind: A, metadata: {name: a}, spec: {a: b}}}"},
		{name: "unknown", spec: "{size: 3, color: red}", want: []string{"/spec/color unknown field \"color\"; did you mean `colour`?"}},
		{name: "type", spec: `{size: "3"}`, want: []string{`/spec/size found "3"; want a whole number; write it without quotes; Size is how large it is`}},
		{name: "enum", spec: `{size: 3, colour: blue}`, want: []string{`/spec/colour found "blue"; want one of red, green`}},
		{name: "missing", spec: `{colour: red}`, want: []string{"/spec field size is missing; add it; Size is how large it is"}},
		{name: "int or string", spec: `{size: 3, port: true}`, want: []string{"/spec/port found true; want a number or text"}},
		{name: "in an embedded object", spec: "{size: 3, template: {apiVersion: v1, kind: A, spec: {b: c}}}", want: []string{"/spec/template/spec/b unknown field \"b\"; did you mean `a`?"}},
		{name: "rule", spec: "{size: 11, colour: red}", want: []string{"/spec no large red widgets"}},
	} {
		t.Run(one.name, func(t *testing.T) {
			var got []string
			obj := object(t, "{apiVersion: bank.example/v1, kind: Widget, metadata: {name: a}, spec: "+one.spec+"}")
			for _, f := range c.Judge("bank.example", "bank.example/v1", "Widget", obj) {
				got = append(got, f.Path+" "+f.Message)
			}
			if diff := cmp.Diff(one.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := c.Judge("bank.example", "bank.example/v0", "Widget", nil); len(got) != 1 || !strings.Contains(got[0].Message, "want bank.example/v1") {
		t.Errorf("a version that is not served: %v", got)
	}
	if got := c.Judge("other.example", "other.example/v1", "Widget", nil); got != nil {
		t.Errorf("a kind without definition: %v", got)
	}
}

// FuzzCustom takes whatever JSON calls a definition, and judges an object by it.
func FuzzCustom(f *testing.F) {
	rule := strings.Index(widgets, "            x-kubernetes-validations")
	text, err := yaml.YAMLToJSON([]byte(widgets[:rule] + widgets[strings.Index(widgets, "          status:"):])) // CEL is slow to compile here
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text, []byte(`{"apiVersion":"bank.example/v1","kind":"Widget","metadata":{"name":"a"},"spec":{"size":1}}`))
	f.Fuzz(func(t *testing.T, definition, text []byte) {
		var crd, obj map[string]any
		if json.Unmarshal(definition, &crd) != nil || json.Unmarshal(text, &obj) != nil {
			return
		}
		c := &Custom{}
		c.Add(crd)
		for key := range c.kinds {
			apiVersion, kind, _ := strings.Cut(key, " ")
			group, _, _ := strings.Cut(apiVersion, "/")
			c.Judge(group, apiVersion, kind, obj)
		}
	})
}
