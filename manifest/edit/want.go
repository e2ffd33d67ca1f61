package edit

import (
	"errors"

	"ringfence.dev/ringfence/fix"
	"ringfence.dev/ringfence/manifest"
)

// want is what is wanted at a place: a value or nothing there, or changes below.
type want struct {
	set, remove bool
	value       any
	// steps are the keys of below in the order in which they were asked for.
	steps []string
	below map[string]*want
}

func (w *want) leaf() bool { return w.set || w.remove }

var errOverlap = errors.New("two repairs are of the same place")

// tree orders changes by place.
func tree(changes []fix.Change) (*want, error) {
	root := &want{}
	for _, c := range changes {
		at := root
		for _, step := range manifest.PointerSteps(c.Pointer) {
			if at.leaf() {
				return nil, errOverlap
			}
			next := at.below[step]
			if next == nil {
				if at.below == nil {
					at.below = map[string]*want{}
				}
				next = &want{}
				at.below[step], at.steps = next, append(at.steps, step)
			}
			at = next
		}
		if at == root || at.leaf() || len(at.steps) > 0 {
			return nil, errOverlap
		}
		at.set, at.remove, at.value = !c.Remove, c.Remove, c.Value
	}
	return root, nil
}

// fresh is what is wanted where nothing is yet; ok is false where that is nothing.
func (w *want) fresh() (v any, ok bool) {
	if w.leaf() {
		return w.value, w.set
	}
	var m fields
	for _, step := range w.steps {
		if value, ok := w.below[step].fresh(); ok {
			m = append(m, field{step, value})
		}
	}
	return m, len(m) > 0
}

// field is a key with its value, fields a map that keeps its order.
type (
	field struct {
		key   string
		value any
	}
	fields []field
)
