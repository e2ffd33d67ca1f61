package cel

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"ringfence.dev/ringfence/control"
)

// oracle is what the plans must agree with: variables that cel-go alone compiles and evaluates. It shares no code with
// the engine but newEnv. One that a control owns has the group's for its parent.
type oracle struct {
	parent   *oracle
	programs map[string]cel.Program
}

// newOracle compiles variables as a native policy has them, twins included.
func newOracle(tb testing.TB, parent *oracle, vars []control.Variable) *oracle {
	tb.Helper()
	env, err := newEnv()
	if err != nil {
		tb.Fatal(err)
	}
	o := &oracle{parent, map[string]cel.Program{}}
	for _, v := range vars {
		checked, issues := env.Compile(v.Expression)
		if issues.Err() != nil {
			tb.Fatalf("%s: %v", v.Name, issues.Err())
		}
		if o.programs[v.Name], err = env.Program(checked, cel.EvalOptions(cel.OptOptimize)); err != nil {
			tb.Fatalf("%s: %v", v.Name, err)
		}
	}
	return o
}

// state is one evaluation of an oracle: each variable at most once, as the API server does.
type state struct {
	*oracle
	parent *state
	input  map[string]any
	values map[string]ref.Val
}

var _ cel.Activation = (*state)(nil)

func (o *oracle) state(input map[string]any, parent *state) *state {
	return &state{o, parent, input, map[string]ref.Val{}}
}

func (s *state) Parent() cel.Activation { return nil }

func (s *state) ResolveName(name string) (any, bool) {
	if name == "variables" {
		return asked{types.NewStringInterfaceMap(types.DefaultTypeAdapter, map[string]any{}), s}, true
	}
	v, ok := s.input[name]
	return v, ok
}

// asked is the map of an oracle's variables.
type asked struct {
	traits.Mapper
	*state
}

func (a asked) Find(key ref.Val) (ref.Val, bool) {
	name, _ := key.Value().(string)
	return a.find(name)
}

func (s *state) find(name string) (ref.Val, bool) {
	program, ok := s.programs[name]
	if !ok && s.parent != nil {
		return s.parent.find(name)
	}
	if !ok {
		return nil, false
	}
	v, ok := s.values[name]
	if !ok {
		v = eval(program, s)
		s.values[name] = v
	}
	return v, true
}

// value is a variable's, an error of cel-go where it has none.
func (s *state) value(tb testing.TB, name string) ref.Val {
	v, ok := s.find(name)
	if !ok {
		tb.Fatalf("the oracle has no variables.%s", name)
	}
	return v
}

// eval is an error where cel-go makes no program of what it checked.
func eval(program cel.Program, in any) ref.Val {
	if program == nil {
		return types.NewErr("no program")
	}
	out, _, err := program.Eval(in)
	if err != nil {
		return types.WrapErr(err)
	}
	return out
}

// differ says how an answer of the engine differs from cel-go's, "" where it does not: type, value and order, deeply, and
// whether it is an error.
func differ(got any, err error, want ref.Val) string {
	if fault, bad := want.(*types.Err); bad {
		if err == nil {
			return fmt.Sprintf("got %s, cel-go has the error %v", show(val(got)), fault)
		}
		return ""
	}
	if err != nil {
		return fmt.Sprintf("got the error %v, cel-go has %s", err, show(want))
	}
	if v := val(got); !same(v, want) {
		return fmt.Sprintf("got %s, cel-go has %s", show(v), show(want))
	}
	return ""
}

// steady reports whether cel-go gives the same answer every time; what is made of the keys of a map has no order.
func steady(again func() ref.Val) bool {
	first := again()
	for range 400 { // two keys change places in one of eight iterations
		if !same(again(), first) {
			return false
		}
	}
	return true
}

// same is strict equality: 1 and 1.0 differ, and so do the orders of lists.
func same(a, b ref.Val) bool {
	if types.IsError(a) || types.IsError(b) {
		return types.IsError(a) && types.IsError(b)
	}
	if a.Type().TypeName() != b.Type().TypeName() {
		return false
	}
	switch a := a.(type) {
	case traits.Lister:
		return slices.EqualFunc(items(a), items(b.(traits.Lister)), same)
	case traits.Mapper:
		return sameMaps(a, b.(traits.Mapper))
	case *types.Optional:
		b := b.(*types.Optional)
		return a.HasValue() == b.HasValue() && (!a.HasValue() || same(a.GetValue(), b.GetValue()))
	case types.Double:
		return a == b || a != a && b != b //nolint:staticcheck // NaN
	}
	return types.Equal(a, b) == types.True
}

// sameMaps compares key by key: cel-go takes lists for keys, and finds none again.
func sameMaps(a, b traits.Mapper) bool {
	keys := func(m traits.Mapper) (all []ref.Val) {
		for it := m.Iterator(); it.HasNext() == types.True; {
			all = append(all, it.Next())
		}
		return all
	}
	left, right := keys(a), keys(b)
	for _, key := range left {
		if !slices.ContainsFunc(right, func(k ref.Val) bool {
			v, ok := a.Find(key)
			w, ok2 := b.Find(k)
			return same(key, k) && ok == ok2 && (!ok || same(v, w))
		}) {
			return false
		}
	}
	return len(left) == len(right)
}

func items(l traits.Lister) (all []ref.Val) {
	for it := l.Iterator(); it.HasNext() == types.True; {
		all = append(all, it.Next())
	}
	return all
}

func show(v ref.Val) string {
	return fmt.Sprintf("%s %.300q", v.Type().TypeName(), fmt.Sprint(v.Value()))
}
