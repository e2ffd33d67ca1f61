package schema

import (
	"maps"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// large is the length from which a list or map is judged item by item: the server's validator compares every error with
// every other, which for a thousand items is a million comparisons and for ten thousand takes longer than a user waits.
const large = 100

// part is a list or map of the schema that may be large, or holds one that may, taken out of it to be judged item by item.
type part struct {
	path  []string
	list  bool
	items validation.SchemaValidator
	parts []part // of each item
}

// compile makes the server's validator of a schema, with its large lists and maps as parts.
func compile(props *apiextensions.JSONSchemaProps) (whole validation.SchemaValidator, parts []part, err error) {
	props = props.DeepCopy()
	if parts, err = takeParts(props, nil); err != nil {
		return nil, nil, err
	}
	whole, _, err = validation.NewSchemaValidator(props)
	return whole, parts, err
}

func takeParts(props *apiextensions.JSONSchemaProps, path []string) (parts []part, err error) {
	props.UniqueItems = false // which no server stores: it compares every item with every other
	var items **apiextensions.JSONSchemaProps
	var most *int64
	list := props.Items != nil && props.Items.Schema != nil
	switch {
	case list:
		items, most = &props.Items.Schema, props.MaxItems
	case props.AdditionalProperties != nil && props.AdditionalProperties.Schema != nil:
		items, most = &props.AdditionalProperties.Schema, props.MaxProperties
	}
	if items != nil {
		each, below, err := compile(*items)
		if err != nil {
			return nil, err
		}
		if most == nil || *most >= large || len(below) > 0 {
			yes := true
			*items = &apiextensions.JSONSchemaProps{XPreserveUnknownFields: &yes}
			parts = append(parts, part{path, list, each, below})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(props.Properties)) {
		below := props.Properties[name]
		more, err := takeParts(&below, append(slices.Clone(path), name))
		if err != nil {
			return nil, err
		}
		props.Properties[name] = below
		parts = append(parts, more...)
	}
	return parts, nil
}

// judge judges the items of one part of a value until there are more errors than anyone is told.
func (p part) judge(value any, at *field.Path) (errs field.ErrorList) {
	if len(p.path) > 0 {
		at = at.Child(p.path[0], p.path[1:]...)
	}
	one := func(item any, at *field.Path) {
		errs = append(errs, validation.ValidateCustomResource(at, item, p.items)...)
		for _, below := range p.parts {
			errs = append(errs, below.judge(item, at)...)
		}
	}
	switch v := lookup(value, p.path).(type) {
	case []any:
		for i := 0; p.list && i < len(v) && len(errs) <= manyErrors; i++ {
			one(v[i], at.Index(i))
		}
	case map[string]any:
		if p.list {
			break
		}
		for _, key := range sortedKeys(v) {
			if len(errs) > manyErrors {
				break
			}
			one(v[key], at.Child(key))
		}
	}
	return errs
}
