package schema

import (
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// TestOddDefinitions judges objects by definitions that no API server would store: none ends the program.
func TestOddDefinitions(t *testing.T) {
	for name, root := range map[string]string{
		"items of the object itself":  "{type: object, maxItems: 100, items: {type: string}}",
		"entries of the object":       "{type: object, maxProperties: 100, additionalProperties: {type: string}}",
		"a default of the wrong type": "{type: object, properties: {a: {type: object, default: [1], properties: {b: {type: string, default: {}}}}}}",
		"a limit below nothing":       "{type: object, properties: {a: {type: array, maxItems: -5, items: {type: string}}, b: {type: string, maxLength: -5}}}",
		"items of text":               "{type: object, properties: {a: {type: string, maxItems: 100, items: {type: string}}}}",
		"a pattern that is none":      "{type: object, properties: {b: {type: string, pattern: '('}}}",
		"no type":                     "{}",
	} {
		text := strings.Replace(widgets, "{openAPIV3Schema: {type: object}}", "{openAPIV3Schema: "+root+"}", 1)
		text = strings.Replace(text, "name: v0, served: false", "name: v0, served: true", 1)
		var crd map[string]any
		if err := yaml.Unmarshal([]byte(text), &crd); err != nil {
			t.Fatal(name, err)
		}
		var c Custom
		added := c.Add(crd)
		obj := map[string]any{"apiVersion": "bank.example/v0", "kind": "Widget", "metadata": map[string]any{"name": "a"}, "a": []any{"x", "y"}, "b": "text"}
		faults := c.Judge("bank.example", "bank.example/v0", "Widget", obj)
		if len(added)+len(faults) == 0 {
			t.Errorf("%s: neither the definition nor an object of it is at fault", name)
		}
	}
}

// hungry is a definition whose objects fill with defaults: each level has items, each of which has those of the next.
func hungry(items, levels int) string {
	schema := "{type: string}"
	list := "[" + strings.Repeat("{},", items) + "]"
	for range levels {
		schema = "{type: array, default: " + list + ", items: {type: object, properties: {b: {type: string, default: " + strings.Repeat("x", 100) + "}, a: " + schema + "}}}"
	}
	return "{type: object, properties: {a: " + schema + "}}"
}

// TestManyWrong: lists without a bound, with faults in every item, are judged in time that grows with them.
func TestManyWrong(t *testing.T) {
	c := newCustom(t, strings.Replace(widgets, "port: {x-kubernetes-int-or-string: true}", "ports: {type: array, items: {type: integer}}\n              once: {type: array, uniqueItems: true, items: {type: integer}}\n              hosts: {type: array, items: {type: object, properties: {paths: {type: array, items: {type: object, required: [a], properties: {a: {type: string}}}}}}}", 1))
	ports, paths, once := make([]any, 40_000), make([]any, 40_000), make([]any, 40_000)
	for i := range ports {
		ports[i], paths[i], once[i] = "x", map[string]any{}, int64(i)
	}
	for name, spec := range map[string]map[string]any{
		"ports": {"size": int64(1), "ports": ports},
		"once":  {"size": "no", "once": once},
		"paths": {"size": int64(1), "hosts": []any{map[string]any{"paths": paths}}},
	} {
		start := time.Now()
		faults := c.Judge("bank.example", "bank.example/v1", "Widget", map[string]any{"apiVersion": "bank.example/v1", "kind": "Widget", "metadata": map[string]any{"name": "a"}, "spec": spec})
		if took := time.Since(start); len(faults) == 0 || took > 30*time.Second {
			t.Errorf("%s: %d faults after %v", name, len(faults), took)
		} else {
			t.Log(name, took)
		}
	}
}

// TestHungryDefaults: an object that its definition's defaults would make too large is refused, and not filled.
func TestHungryDefaults(t *testing.T) {
	text := strings.Replace(widgets, "{openAPIV3Schema: {type: object}}", "{openAPIV3Schema: "+hungry(60, 3)+"}", 1)
	c := newCustom(t, strings.Replace(text, "name: v0, served: false", "name: v0, served: true", 1))
	faults := c.Judge("bank.example", "bank.example/v0", "Widget", map[string]any{"apiVersion": "bank.example/v0", "kind": "Widget", "metadata": map[string]any{"name": "a"}})
	if len(faults) != 1 || !strings.Contains(faults[0].Message, "with its defaults") {
		t.Errorf("%v, want one fault", faults)
	}
}
