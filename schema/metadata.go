package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"ringfence.dev/ringfence/schema/fault"
)

// metadata judges the metadata of work as ObjectMeta. Faults are wrong types and unknown fields, exactly placed; when
// there are none, errs is what the server says of the values. It leaves in work what the server would have there when it
// asks the rules: a namespace only where the kind has one, a name where one would be generated.
func (k *kind) metadata(work map[string]any) (errs field.ErrorList, faults []fault.Fault) {
	raw, ok := work["metadata"]
	if !ok || raw == nil {
		return field.ErrorList{field.Required(field.NewPath("metadata", "name"), "")}, nil
	}
	given, ok := raw.(map[string]any)
	if !ok {
		return nil, []fault.Fault{{Path: "/metadata", Message: fmt.Sprintf("found %s; want fields such as name", fault.Show(raw, nil))}}
	}
	meta := metav1.ObjectMeta{}
	known := fieldsOf(reflect.TypeFor[metav1.ObjectMeta]())
	for _, key := range sortedKeys(given) {
		at := "/metadata/" + fault.Escape(key)
		if len(faults) > manyErrors {
			break
		}
		if !slices.Contains(known, key) {
			faults = append(faults, fault.Unknown(key, at, known))
			continue
		}
		faults = append(faults, decodeField(key, given[key], at, &meta)...)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	judged := maps.Clone(given)
	work["metadata"] = judged
	if meta.Name == "" && meta.GenerateName != "" {
		meta.Name = meta.GenerateName + "xxxxx" // the server appends five letters and digits
		judged["name"] = meta.Name
	}
	if !k.namespaced {
		meta.Namespace = ""
		delete(judged, "namespace")
	} else if meta.Namespace == "" {
		meta.Namespace = metav1.NamespaceDefault
	}
	return apivalidation.ValidateObjectMeta(&meta, k.namespaced, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata")), nil
}

// decodeField decodes one field of metadata; of a map of texts each entry for itself, so that its place is known.
func decodeField(key string, value any, at string, into *metav1.ObjectMeta) []fault.Fault {
	if entries, ok := value.(map[string]any); ok && (key == "labels" || key == "annotations") {
		var faults []fault.Fault
		for _, name := range sortedKeys(entries) {
			if v := entries[name]; v != nil && reflect.TypeOf(v).Kind() != reflect.String && len(faults) <= manyErrors {
				faults = append(faults, fault.Fault{Path: at + "/" + fault.Escape(name), Message: fmt.Sprintf("found %s; want text%s", fault.Show(v, nil), fault.QuoteIt(v))})
			}
		}
		if len(faults) > 0 {
			return faults
		}
	}
	text, err := json.Marshal(map[string]any{key: value})
	if err != nil {
		return []fault.Fault{{Path: at, Message: fmt.Sprintf("cannot be written as JSON: %v; correct it", err)}}
	}
	strict, err := kjson.UnmarshalStrict(text, into)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return []fault.Fault{{Path: at, Message: fmt.Sprintf("found %s; want %s%s", fault.Show(value, nil), goType(wrong.Type), fault.QuoteIt(value))}}
	}
	if err != nil {
		return []fault.Fault{{Path: at, Message: fmt.Sprintf("found %s, which is not what metadata.%s holds: %v; correct or remove it", fault.Show(value, nil), key, err)}}
	}
	var faults []fault.Fault
	for _, e := range strict {
		faults = append(faults, fault.Fault{Path: at, Message: fmt.Sprintf("%v; remove it or correct its name", e)})
	}
	return faults
}

// fieldsOf are the JSON names of a struct's fields, sorted.
func fieldsOf(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// goType says what a decoder wanted in words.
func goType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Int64, reflect.Int32, reflect.Int:
		return "a whole number"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	}
	return "a map"
}
