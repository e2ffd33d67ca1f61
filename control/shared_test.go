package control_test

import (
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/control"
)

// TestShared: a single group's variables are its own; those of several groups have each name once, stand before those that
// use them, and where the groups mean different things the kind decides.
func TestShared(t *testing.T) {
	for _, g := range control.Groups() {
		if got := control.Shared([]string{g.Name}); !slices.Equal(got, g.Twins()) {
			t.Errorf("Shared(%s) differs from the group's own variables", g.Name)
		}
	}
	vars := control.Shared([]string{"workloads", "cluster"})
	place := map[string]int{}
	for i, v := range vars {
		if _, twice := place[v.Name]; twice {
			t.Errorf("%s appears twice", v.Name)
		}
		place[v.Name] = i
		for _, use := range strings.Split(v.Expression, "variables.")[1:] {
			name := use[:len(use)-len(strings.TrimLeft(use, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))]
			if at, known := place[name]; !known || at >= i {
				t.Errorf("%s uses %s, which comes later", v.Name, name)
			}
		}
	}
	for name, want := range map[string]string{
		"volumes":       "'PersistentVolume', ",
		"volumePaths":   ") : variables.eachVolume.map(i, '/spec')",
		"volumesBefore": "oldObject.kind in [",
	} {
		if got := vars[place[name]].Expression; !strings.HasPrefix(got, "!(o") || !strings.Contains(got, want) {
			t.Errorf("%s = %s, want a choice by kind with %q", name, got, want)
		}
	}
}
