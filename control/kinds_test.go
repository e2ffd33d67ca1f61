package control_test

import (
	"slices"
	"testing"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
)

// TestKinds: what no control judges is not among the kinds, and each is there once.
func TestKinds(t *testing.T) {
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	names := func(ids ...string) (pods, rest []string) {
		cut := &control.Catalogue{Templates: cat.Templates}
		for _, id := range ids {
			c, ok := cat.Find(id)
			if !ok {
				t.Fatal(id)
			}
			cut.Controls = append(cut.Controls, c)
		}
		workloads, others := cut.Kinds()
		for _, k := range workloads {
			pods = append(pods, k.APIGroup+"/"+k.Kind)
		}
		for _, k := range others {
			rest = append(rest, k.APIGroup+"/"+k.Kind)
		}
		return pods, rest
	}
	pods, others := names("RF-WL-02", "RF-WL-01")
	if !slices.Contains(pods, "/Pod") || !slices.Contains(pods, "argoproj.io/Rollout") || len(others) > 0 {
		t.Errorf("of two controls for pods: %q and %q", pods, others)
	}
	if once := slices.Compact(slices.Sorted(slices.Values(pods))); len(once) != len(pods) {
		t.Errorf("a kind is there twice: %q", pods)
	}
	if pods, others := names("RF-SE-03"); len(pods) > 0 || !slices.Equal(others, []string{"/Secret"}) {
		t.Errorf("of a control for Secrets: %q and %q", pods, others)
	}
}
