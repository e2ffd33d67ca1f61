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

// part is a list or map of the schema that may be large, taken out of it to be judged item by item.
type part struct {
	path  []string
	items validation.SchemaValidator
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
	anything, yes := apiextensions.JSONSchemaProps{}, true
	anything.XPreserveUnknownFields = &yes
	var items *apiextensions.JSONSchemaProps
	switch {
	case len(path) == 0: // an object is no list, and has no entries but its fields
	case props.Items != nil && props.MaxItems != nil && *props.MaxItems >= large:
		items, props.Items.Schema = props.Items.Schema, &anything
	case props.AdditionalProperties != nil && props.MaxProperties != nil && *props.MaxProperties >= large:
		items, props.AdditionalProperties.Schema = props.AdditionalProperties.Schema, &anything
	}
	if items != nil {
		v, _, err := validation.NewSchemaValidator(items)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{path, v})
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

// judge judges the items of one part until there are more errors than anyone is told.
func (p part) judge(work map[string]any) (errs field.ErrorList) {
	path := field.NewPath(p.path[0], p.path[1:]...)
	switch v := lookup(work, p.path).(type) {
	case []any:
		for i := 0; i < len(v) && len(errs) <= manyErrors; i++ {
			errs = append(errs, validation.ValidateCustomResource(path.Index(i), v[i], p.items)...)
		}
	case map[string]any:
		for _, key := range sortedKeys(v) {
			if len(errs) > manyErrors {
				break
			}
			errs = append(errs, validation.ValidateCustomResource(path.Child(key), v[key], p.items)...)
		}
	}
	return errs
}
