package adopt

import (
	"strings"

	"ringfence.dev/ringfence/finding"
)

// This file reads values of decoded objects of which nothing is known: what is not there or of another type is zero.

func clean(s string) string { return finding.Clean(s) }

func mapOf(v any) map[string]any { m, _ := v.(map[string]any); return m }

func listOf(v any) []any { l, _ := v.([]any); return l }

func textOf(v any) string { s, _ := v.(string); return s }

// at walks down fields.
func at(v any, fields ...string) any {
	for _, f := range fields {
		v = mapOf(v)[f]
	}
	return v
}

// texts are the strings of a list.
func texts(v any) (out []string) {
	for _, one := range listOf(v) {
		if s, ok := one.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// words are the strings of a map, such as labels.
func words(v any) map[string]string {
	m := mapOf(v)
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, one := range m {
		if s, ok := one.(string); ok && k != "kubectl.kubernetes.io/last-applied-configuration" {
			out[k] = s
		}
	}
	return out
}

// groupOf is the API group of an apiVersion.
func groupOf(apiVersion string) string {
	group, _, found := strings.Cut(apiVersion, "/")
	if !found {
		return ""
	}
	return group
}
