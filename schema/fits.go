package schema

import (
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// fits reports whether the defaults that fill would put into a value, and into those defaults again, take no more than the
// room that is left, in bytes. A definition of a few lines can ask for any number of them.
func fits(v any, s *structuralschema.Structural, room *int) bool {
	if s == nil || *room < 0 {
		return *room >= 0
	}
	switch v := v.(type) {
	case map[string]any:
		for name, p := range s.Properties {
			if !fits(defaulted(v[name], &p, room), &p, room) {
				return false
			}
		}
		if s.AdditionalProperties == nil {
			break
		}
		for name, one := range v {
			if _, known := s.Properties[name]; !known && !fits(defaulted(one, s.AdditionalProperties.Structural, room), s.AdditionalProperties.Structural, room) {
				return false
			}
		}
	case []any:
		for _, one := range v {
			if !fits(defaulted(one, s.Items, room), s.Items, room) {
				return false
			}
		}
	}
	return *room >= 0
}

// defaulted is v, or where it is null or absent the default that takes its place, of which the room is taken.
func defaulted(v any, s *structuralschema.Structural, room *int) any {
	if v != nil || s == nil || s.Default.Object == nil {
		return v
	}
	take(s.Default.Object, room)
	return s.Default.Object
}

// take takes the room that a value needs, at least two bytes for each of its parts, and ends once there is none.
func take(v any, room *int) {
	if *room -= 2; *room < 0 {
		return
	}
	switch v := v.(type) {
	case string:
		*room -= len(v)
	case map[string]any:
		for name, one := range v {
			*room -= len(name) + len(`"":`)
			take(one, room)
		}
	case []any:
		for _, one := range v {
			take(one, room)
		}
	}
}
