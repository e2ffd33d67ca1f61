package fix

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/manifest"
)

// maxRounds bounds how often an object is judged and repaired anew. One round nearly always suffices: a second is needed
// where a repair brings a rule into play that did not speak before.
const maxRounds = 8

// ErrUnsteady means that the repairs of an object never come to rest, or undo each other.
var ErrUnsteady = errors.New("the repairs of its controls undo each other")

// Change is one change to an object: Value is written at the pointer, and parents that are missing are made, or what is
// there is removed. Pointers are those of the object before any change.
type Change struct {
	Pointer string
	Value   any
	Remove  bool
}

// Plan repairs a copy of object until find names no place with a repair any more, and returns the copy with the changes
// that make it of object, none of them inside another. find is asked about each state of the copy and must not keep it.
func Plan(object map[string]any, find func(map[string]any) (map[string]control.Fix, error)) (map[string]any, []Change, error) {
	copied := Copy(object).(map[string]any)
	p := plan{changes: map[string]Change{}, gone: map[string][]int{}}
	for range maxRounds {
		fixes, err := find(copied)
		if err != nil {
			return nil, nil, err
		}
		before := Copy(copied)
		p.round(copied, fixes)
		if reflect.DeepEqual(before, copied) {
			changes := p.outermost()
			proof := Copy(object).(map[string]any)
			if !Make(proof, changes) || !reflect.DeepEqual(proof, copied) {
				return nil, nil, ErrUnsteady
			}
			return copied, changes, nil
		}
	}
	return nil, nil, ErrUnsteady
}

// Make makes changes to an object in place, and reports whether all could be made.
func Make(object map[string]any, changes []Change) bool {
	changes = slices.Clone(changes)
	slices.SortFunc(changes, func(a, b Change) int { return backwards(a.Pointer, b.Pointer) })
	done := true
	for _, c := range changes {
		set := func() any { return Copy(c.Value) }
		if c.Remove {
			set = nil
		}
		done = change(object, manifest.PointerSteps(c.Pointer), set) && done
	}
	return done
}

// Copy is a deep copy of a decoded value.
func Copy(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			m[key] = Copy(value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = Copy(item)
		}
		return list
	}
	return v
}

// plan gathers what was done to an object, in the places that it had at first.
type plan struct {
	changes map[string]Change
	// gone are the items that were removed of each list, by their first indices, in order.
	gone map[string][]int
}

// round makes the repairs that can be made, from the last item of a list to the first.
func (p *plan) round(object map[string]any, fixes map[string]control.Fix) {
	first := map[string]string{} // translated before anything moves
	for pointer := range fixes {
		first[pointer] = p.first(pointer)
	}
	for _, pointer := range slices.SortedFunc(maps.Keys(fixes), backwards) {
		f, at := fixes[pointer], first[pointer]
		steps := manifest.PointerSteps(pointer)
		if len(steps) == 0 || f.Remove && !exists(object, steps) {
			continue
		}
		if !change(object, steps, value(f)) {
			continue
		}
		p.changes[at] = Change{Pointer: at, Value: f.Value(), Remove: f.Remove}
		list, last, _ := cutLast(at)
		if i, err := strconv.Atoi(last); err == nil && f.Remove && isList(object, steps[:len(steps)-1]) {
			p.gone[list] = append(p.gone[list], i)
		}
	}
	for _, list := range p.gone {
		slices.Sort(list)
	}
}

// first is what a pointer was before items of lists were removed.
func (p *plan) first(pointer string) string {
	at := ""
	for _, step := range strings.Split(pointer, "/")[1:] {
		if gone := p.gone[at]; len(gone) > 0 {
			if i, err := strconv.Atoi(step); err == nil {
				for _, g := range gone {
					if g <= i {
						i++
					}
				}
				step = strconv.Itoa(i)
			}
		}
		at += "/" + step
	}
	return at
}

// outermost are the changes that are in no other, in order.
func (p *plan) outermost() []Change {
	var out []Change
	for _, at := range slices.Sorted(maps.Keys(p.changes)) {
		inside := false
		for parent, _, ok := cutLast(at); ok && !inside; parent, _, ok = cutLast(parent) {
			_, inside = p.changes[parent]
		}
		if !inside {
			out = append(out, p.changes[at])
		}
	}
	return out
}

// cutLast cuts the last step off a pointer.
func cutLast(pointer string) (parent, last string, ok bool) {
	i := strings.LastIndexByte(pointer, '/')
	if i < 0 {
		return "", "", false
	}
	return pointer[:i], pointer[i+1:], true
}

// exists reports whether there is anything at the end of the steps.
func exists(at any, steps []string) bool {
	_, there := lookUp(at, steps)
	return there
}

func isList(at any, steps []string) bool {
	v, _ := lookUp(at, steps)
	_, list := v.([]any)
	return list
}

func lookUp(at any, steps []string) (any, bool) {
	for _, step := range steps {
		switch v := at.(type) {
		case map[string]any:
			child, there := v[step]
			if !there {
				return nil, false
			}
			at = child
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return nil, false
			}
			at = v[i]
		default:
			return nil, false
		}
	}
	return at, true
}
