package cel

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"ringfence.dev/ringfence/control"
)

// values are what an object may hold, and what Go may hold that JSON cannot.
var values = []any{
	nil, true, false,
	int64(0), int64(1), int64(-1), int64(2), int64(math.MaxInt64), int64(math.MinInt64), int64(1 << 53), int64(1<<53 + 1),
	0.0, math.Copysign(0, -1), 1.0, -1.0, 1.5, 1e300, float64(1 << 53), 9223372036854775807.0, math.NaN(), math.Inf(1),
	"", "a", "b", "1", "-1", "1.5", "true", "null", "é", "e\u0301", "日本語", "🏦", "\xff", "a\xffb", "a\x00b", "\ufffd", " A ", "a,b,,c", "(", "^a$", "a\n",
	"100m", "1Gi", "1e3", "-1Ki", "0", "9223372036854775808", "1.1.1.1", "10.0.0.0/8", "::1", "https://a.b/c?d=e", "2026-01-02T03:04:05Z", "1h",
	[]any{}, []any{int64(1)}, []any{int64(1), int64(1)}, []any{1.0, "1", nil}, []any{"a", "a", "b"}, []any{nil}, []any{[]any{int64(1)}, []any{}},
	[]any{map[string]any{"a": int64(1)}, map[string]any{}, nil}, []any{true, false, "x"}, []any{false, "x"},
	map[string]any{}, map[string]any{"a": nil}, map[string]any{"a": int64(1)}, map[string]any{"a": 1.0}, map[string]any{"a": map[string]any{"b": "c"}, "": true},
	map[string]any{"a": []any{"x"}, "b": false}, map[string]any{"1": int64(1)},
	// not of JSON
	1, int32(1), uint64(1), uint64(math.MaxUint64), float32(1), json.Number("1"), []byte("a"), []any(nil), map[string]any(nil), []string{"a"},
	map[any]any{"a": int64(1)}, map[string]string{"a": "x"}, map[int64]any{1: "a"}, []int64{1}, types.Uint(1), types.Bytes("a"), types.OptionalNone, types.OptionalOf(types.Int(1)),
	types.String("a"), types.Int(1), types.NullValue, types.True,
}

// beside are the variables that the expressions above may read.
var beside = []control.Variable{
	{Name: "v", Expression: "object.a"},
	{Name: "bad", Expression: "object.x"},
	{Name: "opt", Expression: "object.?a"},
	{Name: "q", Expression: "quantity('1.5')"},
	{Name: "list", Expression: "[dyn(1), dyn('a'), dyn(1u), dyn(1.0), dyn(null)]"},
	{Name: "map", Expression: "{'a': object.a}"},
	{Name: "imap", Expression: "{1: 'x', 2: 'y'}"},
	{Name: "bytes", Expression: "b'a'"},
	{Name: "u", Expression: "1u"},
}

// pair is expressions compiled both ways, each a variable e<i> beside the others.
type pair struct {
	texts    []string
	programs []*program
	oracle   *oracle
}

// compile compiles those of the expressions that the checker takes.
func compile(tb testing.TB, texts []string) *pair {
	tb.Helper()
	c, err := newCompiler()
	if err != nil {
		tb.Fatal(err)
	}
	out := &pair{}
	names := map[string]int{}
	vars := slices.Clone(beside)
	var unmade []string // cel-go checks them and makes no program of them
	for i, v := range beside {
		p, err := c.compile(v, map[string]int{"v": 0})
		if err != nil {
			tb.Fatal(err)
		}
		out.programs = append(out.programs, p)
		names[v.Name] = i
	}
	for _, text := range texts {
		v := control.Variable{Name: fmt.Sprintf("e%d", len(out.texts)), Expression: text}
		p, err := c.compile(v, names)
		if err != nil {
			continue // what the checker refuses is no rule
		}
		out.texts, out.programs = append(out.texts, text), append(out.programs, p)
		if _, err := p.exact(); err == nil {
			vars = append(vars, v)
		} else {
			unmade = append(unmade, v.Name)
		}
	}
	out.oracle = newOracle(tb, nil, vars)
	for _, name := range unmade {
		out.oracle.programs[name] = nil
	}
	return out
}

// hold holds every expression to cel-go's answer over an object, and counts.
func (p *pair) hold(tb testing.TB, object any, n *tally) {
	tb.Helper()
	request, params := map[string]any{"namespace": "a"}, map[string]any{"spec": map[string]any{}}
	f := &frame{programs: p.programs, slots: make([]slot, len(p.programs)), object: object, params: params, request: request}
	input := map[string]any{"object": object, "oldObject": nil, "params": params, "request": request}
	s := p.oracle.state(input, nil)
	for i, text := range p.texts {
		at, name := len(beside)+i, fmt.Sprintf("e%d", i)
		want := s.value(tb, name)
		got, sure := f.run(p.programs[at])
		if !sure {
			n.fell++
			got, err := f.value(at)
			if diff := differ(got, err, want); diff != "" && !hashes(want) && p.steady(tb, name, input) {
				tb.Errorf("%s over %#v, no plan: %s", text, object, diff)
			}
			continue
		}
		n.sure++
		if diff := differ(got, nil, want); diff != "" && p.steady(tb, name, input) {
			tb.Errorf("%s over %#v: %s", text, object, diff)
		}
	}
}

// hashes reports the fault of cel-go that asks a map for bytes. Here variables.map is a map of Go, which only lacks them; no
// object has bytes.
func hashes(v ref.Val) bool {
	fault, bad := v.(*types.Err)
	return bad && strings.Contains(fault.Error(), "unhashable type types.Bytes")
}

func (p *pair) steady(tb testing.TB, name string, input map[string]any) bool {
	return steady(func() ref.Val { return p.oracle.state(input, nil).value(tb, name) })
}

// TestExpressions holds the corners of the language to cel-go's answer over all values: testdata/one.txt has expressions
// over object.a, a line each, testdata/two.txt those over object.a and object.b.
func TestExpressions(t *testing.T) {
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile("testdata/" + name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			texts := strings.Split(strings.TrimSpace(string(text)), "\n")
			p := compile(t, texts)
			var n tally
			for _, a := range values {
				if name == "one" {
					p.hold(t, map[string]any{"a": a}, &n)
					continue
				}
				for _, b := range values {
					p.hold(t, map[string]any{"a": a, "b": b}, &n)
				}
			}
			if name == "one" {
				for _, object := range values {
					p.hold(t, object, &n)
				}
			}
			planned := 0
			for _, e := range p.programs[len(beside):] {
				if e.plan != nil {
					planned++
				}
			}
			t.Logf("%d of %d expressions compile, %d have a plan; %d answers of a plan, %d of cel-go", len(p.texts), len(texts), planned, n.sure, n.fell)
		})
	}
}
