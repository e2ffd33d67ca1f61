package control_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"ringfence.dev/ringfence/control"
)

// TestFixValue: the numbers of a repair are those that the object it is made in has after it is read again.
func TestFixValue(t *testing.T) {
	for set, want := range map[string]any{
		`1000`:                   int64(1000),
		`1.5`:                    1.5,
		`"1000"`:                 "1000",
		`false`:                  false,
		`9007199254740993`:       int64(9007199254740993),
		`{"runAsUser": 1000}`:    map[string]any{"runAsUser": int64(1000)},
		`[{"a": [1, 2.5, "x"]}]`: []any{map[string]any{"a": []any{int64(1), 2.5, "x"}}},
	} {
		if got := (control.Fix{Set: json.RawMessage(set)}).Value(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, want %#v", set, got, want)
		}
	}
}
