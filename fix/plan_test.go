package fix

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/control"
)

func object(t *testing.T, text string) (m map[string]any) {
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestPlan shows that changes name places of the object as it was, whatever went before in earlier rounds.
func TestPlan(t *testing.T) {
	remove, set := control.Fix{Remove: true}, func(v string) control.Fix { return control.Fix{Set: json.RawMessage(v)} }
	for _, test := range []struct {
		name, object string
		rounds       []map[string]control.Fix
		want         string
		changes      []Change
	}{
		{"items of one list", `{"l":["a","b","c","d"]}`,
			[]map[string]control.Fix{{"/l/0": remove, "/l/2": remove}, {"/l/1": remove}},
			`{"l":["b"]}`, []Change{{Pointer: "/l/0", Remove: true}, {Pointer: "/l/2", Remove: true}, {Pointer: "/l/3", Remove: true}}},
		{"below items that moved", `{"l":[{"x":1},{"x":2},{"x":3}]}`,
			[]map[string]control.Fix{{"/l/0": remove}, {"/l/1/x": set(`"y"`)}},
			`{"l":[{"x":2},{"x":"y"}]}`, []Change{{Pointer: "/l/0", Remove: true}, {Pointer: "/l/2/x", Value: "y"}}},
		{"in what goes", `{"l":[{"x":1}]}`,
			[]map[string]control.Fix{{"/l/0": remove, "/l/0/x": set(`2`)}},
			`{"l":[]}`, []Change{{Pointer: "/l/0", Remove: true}}},
		{"parents, and what is not there", `{"a":null}`,
			[]map[string]control.Fix{{"/a/b/c": set(`false`), "/d": remove, "/e/0": remove}},
			`{"a":{"b":{"c":false}}}`, []Change{{Pointer: "/a/b/c", Value: false}}},
		{"what cannot be made", `{"a":"x"}`, []map[string]control.Fix{{"/a/b": set(`1`)}}, `{"a":"x"}`, nil},
	} {
		in := object(t, test.object)
		round := 0
		got, changes, err := Plan(in, func(map[string]any) (map[string]control.Fix, error) {
			if round++; round > len(test.rounds) {
				return nil, nil
			}
			return test.rounds[round-1], nil
		})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(object(t, test.want), got) + cmp.Diff(test.changes, changes) + cmp.Diff(object(t, test.object), in); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
}

// TestPlanUnsteady shows that repairs which undo each other are told, and a fault of find is.
func TestPlanUnsteady(t *testing.T) {
	at := 0
	_, _, err := Plan(map[string]any{"a": "x"}, func(map[string]any) (map[string]control.Fix, error) {
		at++
		return map[string]control.Fix{"/a": {Set: json.RawMessage(`"` + string(rune('a'+at%2)) + `"`)}}, nil
	})
	if !errors.Is(err, ErrUnsteady) {
		t.Errorf("Plan = %v, want ErrUnsteady", err)
	}
	fault := errors.New("no")
	if _, _, err := Plan(nil, func(map[string]any) (map[string]control.Fix, error) { return nil, fault }); !errors.Is(err, fault) {
		t.Errorf("Plan = %v, want the fault", err)
	}
}
