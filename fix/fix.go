// Package fix repairs an object as the catalogue states: at each place that a control found, the field is set or removed.
//
// It decides nothing about whether the object was wrong (package policy does) and writes no file. The catalogue's walker
// proves with it that every stated repair repairs.
package fix

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/control"
)

// backwards orders pointers so that a later item of a list comes before an earlier one.
func backwards(a, b string) int {
	return slices.CompareFunc(strings.Split(b, "/"), strings.Split(a, "/"), func(x, y string) int {
		i, xErr := strconv.Atoi(x)
		j, yErr := strconv.Atoi(y)
		if xErr == nil && yErr == nil {
			return cmp.Compare(i, j)
		}
		return cmp.Compare(x, y)
	})
}

// value is what a repair writes, made anew at each call, and nil where it removes.
func value(f control.Fix) func() any {
	if f.Remove {
		return nil
	}
	return f.Value
}

// change sets a field or item below at, or removes it where set is nil, and reports whether it could.
func change(at map[string]any, steps []string, set func() any) bool {
	step, rest := steps[0], steps[1:]
	if len(rest) == 0 {
		if set == nil {
			delete(at, step)
		} else {
			at[step] = set()
		}
		return true
	}
	switch child := at[step].(type) {
	case map[string]any:
		return change(child, rest, set)
	case []any:
		list, ok := changeList(child, rest, set)
		at[step] = list
		return ok
	case nil:
		if set == nil {
			return true
		}
		made := map[string]any{}
		at[step] = made
		return change(made, rest, set)
	}
	return false
}

// changeList is change within a list; the list it returns takes the place of the old one.
func changeList(list []any, steps []string, set func() any) ([]any, bool) {
	i, err := strconv.Atoi(steps[0])
	if err != nil || i < 0 || i >= len(list) {
		return list, false
	}
	if len(steps) == 1 {
		if set == nil {
			return slices.Delete(list, i, i+1), true
		}
		list[i] = set()
		return list, true
	}
	switch child := list[i].(type) {
	case map[string]any:
		return list, change(child, steps[1:], set)
	case []any:
		inner, ok := changeList(child, steps[1:], set)
		list[i] = inner
		return list, ok
	}
	return list, false
}
