package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"

	"ringfence.dev/ringfence/schema/fault"
)

const (
	// maxBytes is 3 MiB, the largest request that the API server reads (its MaxRequestBodyBytes).
	maxBytes = 3 << 20
	// maxDepth is 100 levels; the deepest legal place, in metadata.managedFields, is about 30 down.
	maxDepth = 100
)

// measure refuses an object that is too large or too deep before anything else walks it. It stops as soon as it knows.
func measure(obj map[string]any) []fault.Fault {
	left, deep := maxBytes, false
	var walk func(v any, depth int)
	walk = func(v any, depth int) {
		if left -= 2; left < 0 {
			return
		}
		if depth > maxDepth {
			deep = true
			return
		}
		switch v := v.(type) {
		case string:
			left -= len(v)
		case map[string]any:
			for key, item := range v {
				left -= len(key) + len(`"":`)
				if walk(item, depth+1); left < 0 {
					return
				}
			}
		case []any:
			for _, item := range v {
				if walk(item, depth+1); left < 0 {
					return
				}
			}
		}
	}
	walk(obj, 0)
	switch {
	case left < 0:
		return []fault.Fault{{Path: "", Message: "the object is larger than 3 MiB, more than the API server reads; split or shorten it"}}
	case deep:
		return []fault.Fault{{Path: "", Message: fmt.Sprintf("found more than %d levels of nesting; no field goes that deep; flatten it", maxDepth)}}
	}
	return nil
}

// trimmer copies an object without what the schema does not know, which becomes faults, and without what goes beyond
// its limits: of a list, map or text that is too long it keeps one more than allowed, enough to be refused for it.
type trimmer struct {
	faults []fault.Fault
	// lengths are the true lengths of the values that were cut, by pointer.
	lengths map[string]int
}

func (c *trimmer) trim(v any, s *structuralschema.Structural, at string, root bool) any {
	switch v := v.(type) {
	case map[string]any:
		return c.object(v, s, at, root)
	case []any:
		n := limit(s, func(x *structuralschema.ValueValidation) *int64 { return x.MaxItems }, len(v))
		if n < len(v) {
			c.lengths[at] = len(v)
		}
		out := make([]any, n)
		for i := range out {
			var items *structuralschema.Structural
			if s != nil {
				items = s.Items
			}
			out[i] = c.trim(v[i], items, at+"/"+strconv.Itoa(i), false)
		}
		return out
	case string:
		n := limit(s, func(x *structuralschema.ValueValidation) *int64 { return x.MaxLength }, len(v))
		if n == len(v) {
			return v
		}
		if runes := utf8.RuneCountInString(v); runes > n {
			c.lengths[at] = runes
			return string([]rune(v)[:n])
		}
		return v
	case int:
		return int64(v)
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	}
	return v
}

func (c *trimmer) object(v map[string]any, s *structuralschema.Structural, at string, root bool) any {
	keys := sortedKeys(v)
	if s == nil || s.XPreserveUnknownFields || s.Properties == nil && s.AdditionalProperties == nil && s.Type != "object" {
		return v // the type is wrong, or anything goes: the validator says so
	}
	out := make(map[string]any, min(len(keys), 64))
	values := s.AdditionalProperties
	if values != nil {
		if n := limit(s, func(x *structuralschema.ValueValidation) *int64 { return x.MaxProperties }, len(keys)); n < len(keys) {
			c.lengths[at] = len(keys)
			keys = keys[:n]
		}
	}
	for _, key := range keys {
		p, known := s.Properties[key]
		switch below := at + "/" + fault.Escape(key); {
		case root && key == "metadata", !known && (root || s.XEmbeddedResource) && slices.Contains([]string{"apiVersion", "kind", "metadata"}, key):
			out[key] = v[key] // judged by its own rules
		case known:
			out[key] = c.trim(v[key], &p, below, false)
		case values != nil:
			out[key] = c.trim(v[key], values.Structural, below, false)
		case len(c.faults) < manyErrors:
			c.faults = append(c.faults, fault.Unknown(key, below, slices.Sorted(maps.Keys(s.Properties))))
		}
	}
	return out
}

// limit is how much of a value of that length to keep: one more than the schema allows, or all.
func limit(s *structuralschema.Structural, of func(*structuralschema.ValueValidation) *int64, length int) int {
	if s == nil || s.ValueValidation == nil || of(s.ValueValidation) == nil {
		return length
	}
	return min(length, int(max(*of(s.ValueValidation), -1))+1)
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
