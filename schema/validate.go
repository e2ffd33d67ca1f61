package schema

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"ringfence.dev/ringfence/schema/fault"
)

// Validate judges obj as the API server judges an object that is created with strict field validation, and answers with
// every fault at once, sorted by place; none means that the server would take it. Its values must be what JSON decodes
// to: map[string]any, []any, string, bool, int64, float64, nil. obj is not changed, and needs no defaults filled in.
//
// As on the server, what is written under status is checked for unknown fields and otherwise ignored. Unlike there,
// a file may carry what a server once added (uid, resourceVersion), and a Guard may leave out its namespace. Rules over
// a part of the object are not asked while that part has the wrong shape. Time and memory are bounded for hostile
// objects: at most maxBytes, maxDepth and fault.Most, lists no longer than the schema allows, CEL within the server's budget.
func (s *Set) Validate(obj map[string]any) []fault.Fault {
	k, faults := s.kindOf(obj)
	if len(faults) > 0 {
		return fault.Sorted(faults)
	}
	return k.validate(obj)
}

// validate is Validate for an object of this kind.
func (k *kind) validate(obj map[string]any) (faults []fault.Fault) {
	if faults := measure(obj); len(faults) > 0 {
		return faults
	}
	v, err := k.validators()
	if err != nil {
		return []fault.Fault{{Path: "", Message: fmt.Sprintf("the schema of %s does not compile: %v; this is a defect of this build, report it", k.name, err)}}
	}
	c := trimmer{lengths: map[string]int{}}
	work, _ := c.trim(obj, k.structural, "", true).(map[string]any)
	faults = append(faults, c.faults...)
	if k.hasStatus {
		delete(work, "status")
	}
	meta, metaFaults := k.metadata(work)
	faults = append(faults, metaFaults...)
	if room := maxBytes; !fits(work, k.structural, &room) {
		return []fault.Fault{{Path: "", Message: "with its defaults the object is larger than 3 MiB, more than the API server stores; state the fields, or shorten the defaults in the definition of " + k.name}}
	}
	fill(work, k)

	t := translator{kind: k, original: obj, work: work, lengths: c.lengths}
	errs := validation.ValidateCustomResource(nil, work, v.whole)
	for _, p := range v.parts {
		errs = append(errs, p.judge(work, nil)...)
	}
	if len(metaFaults) == 0 {
		errs = append(errs, meta...)
	}
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, work)...)
	wrong := shapeOf(errs)
	if len(metaFaults) > 0 {
		wrong.add("metadata")
	}
	slices.SortFunc(errs, func(a, b *field.Error) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Detail, b.Detail))
	})
	for _, e := range errs[:min(len(errs), manyErrors)] { // the rest would not be told
		faults = append(faults, t.fault(e))
	}
	r := ruleRun{wrong: wrong, budget: celconfig.RuntimeCELCostBudget}
	r.run(v.rules, nil, "", work)
	faults = prefer(faults, t.ruleFaults(r.errs))
	return fault.Sorted(faults)
}

// shape says where an object has the wrong shape, by the paths that the server's schema validator writes
// (spec.environments[0].name): true for the value itself, false for what holds it.
type shape map[string]bool

// shapeOf takes what the server counts as wrong shape: rules over it, or over what holds it, would fail for another reason.
func shapeOf(errs field.ErrorList) shape {
	s := shape{}
	for _, e := range errs {
		switch e.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			s.add(e.Field)
		}
	}
	return s
}

func (s shape) add(path string) {
	s[path] = true
	for i, r := range path {
		if holder := path[:i]; (r == '.' || r == '[') && !s[holder] {
			s[holder] = false
		}
	}
	if !s[""] {
		s[""] = false
	}
}

// ruleRun asks the CEL rules of an object wherever its shape allows it. The server asks none at all while anything is
// misshapen; asking those over sound parts shows the user more faults at once and never changes the verdict.
type ruleRun struct {
	wrong  shape
	budget int64
	errs   field.ErrorList
}

func (r *ruleRun) run(v *cel.Validator, path *field.Path, at string, value any) {
	if v == nil || value == nil || r.budget < 0 {
		return
	}
	itself, within := r.wrong[at]
	if !within {
		var errs field.ErrorList
		errs, r.budget = v.Validate(context.Background(), path, nil, value, nil, r.budget)
		r.errs = append(r.errs, errs...)
		return
	}
	if itself {
		return
	}
	switch value := value.(type) {
	case map[string]any:
		for _, key := range sortedKeys(value) {
			if p, ok := v.Properties[key]; ok {
				r.run(&p, path.Child(key), strings.TrimPrefix(at+"."+key, "."), value[key])
			} else if v.AdditionalProperties != nil {
				r.run(v.AdditionalProperties, path.Key(key), at+"."+key, value[key])
			}
		}
	case []any:
		for i, item := range value {
			r.run(v.Items, path.Index(i), fmt.Sprintf("%s[%d]", at, i), item)
		}
	}
}

// prefer puts the faults of schema and rules together. A rule's message was written for people: it takes the place of
// a schema's (a pattern, a minimum) about the same value.
func prefer(schema, rules []fault.Fault) []fault.Fault {
	ruled := map[string]bool{}
	for _, f := range rules {
		ruled[f.Path] = true
	}
	kept := rules
	for _, f := range schema {
		if !f.General || !ruled[f.Path] {
			kept = append(kept, f)
		}
	}
	return kept
}

// node is the schema of the value that a pointer's steps lead to, nil where there is none.
func node(s *structuralschema.Structural, steps []string) *structuralschema.Structural {
	for _, step := range steps {
		if s == nil {
			return nil
		}
		if p, ok := s.Properties[step]; ok {
			s = &p
		} else if s.AdditionalProperties != nil {
			s = s.AdditionalProperties.Structural
		} else {
			s = s.Items
		}
	}
	return s
}
