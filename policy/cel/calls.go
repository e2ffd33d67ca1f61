package cel

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// call plans operators and functions.
func (p *planner) call(e ast.Expr) expr {
	call := e.AsCall()
	args := call.Args()
	name := call.FunctionName()
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	switch name {
	case "orValue", "hasValue", "value":
		if p.isOptional(args[0]) {
			return p.unwrap(name, args)
		}
	case operators.Index:
		if of, key := p.plan(args[0]), p.key(args[1]); of != nil && key != nil {
			return binary(index, of, key, nil)
		}
		return nil
	}
	plans := p.plans(args)
	if plans == nil {
		return nil
	}
	switch name {
	case operators.Conditional:
		return conditional(plans[0], plans[1], plans[2])
	case operators.LogicalAnd:
		return until(false, plans)
	case operators.LogicalOr:
		return until(true, plans)
	case overloads.TypeConvertDyn:
		return plans[0]
	}
	var other expr
	switch name {
	case operators.Equals, operators.NotEquals, operators.In: // of these cel-go calls no function
	default:
		other = p.function(e, name, plans)
	}
	switch fast := operations[name]; {
	case fast == nil:
		return other
	case len(plans) == 1:
		return unary(fast, plans[0], other)
	default:
		return binary(fast, plans[0], plans[1], other)
	}
}

// operations are functions over plain values; what they are not sure of is left to the function itself.
var operations = map[string]func(a, b any) (any, bool){
	operators.LogicalNot:    func(a, _ any) (any, bool) { yes, ok := a.(bool); return !yes, ok },
	operators.Equals:        func(a, b any) (any, bool) { return equal(a, b) },
	operators.NotEquals:     func(a, b any) (any, bool) { same, ok := equal(a, b); return !same, ok },
	operators.In:            func(a, b any) (any, bool) { return in(a, b) },
	operators.Add:           add,
	operators.Subtract:      subtract,
	operators.Less:          func(a, b any) (any, bool) { c, ok := compare(a, b); return c < 0, ok },
	operators.LessEquals:    func(a, b any) (any, bool) { c, ok := compare(a, b); return c <= 0, ok },
	operators.Greater:       func(a, b any) (any, bool) { c, ok := compare(a, b); return c > 0, ok },
	operators.GreaterEquals: func(a, b any) (any, bool) { c, ok := compare(a, b); return c >= 0, ok },
	overloads.Size:          size,
	overloads.StartsWith:    strings2(strings.HasPrefix),
	overloads.EndsWith:      strings2(strings.HasSuffix),
	overloads.Contains:      strings2(strings.Contains),
	overloads.TypeConvertString: func(a, _ any) (any, bool) {
		if i, ok := a.(int64); ok {
			return strconv.FormatInt(i, 10), true
		}
		_, ok := a.(string)
		return a, ok
	},
}

func strings2(test func(s, part string) bool) func(a, b any) (any, bool) {
	return func(a, b any) (any, bool) {
		s, ok := a.(string)
		part, ok2 := b.(string)
		return ok && ok2 && test(s, part), ok && ok2
	}
}

func unary(fast func(a, b any) (any, bool), of, other expr) expr {
	return func(f *frame) (any, bool) {
		v, sure := of(f)
		if !sure {
			return nil, false
		}
		if out, ok := fast(v, nil); ok || other == nil {
			return out, ok
		}
		return other(f)
	}
}

func binary(fast func(a, b any) (any, bool), left, right, other expr) expr {
	return func(f *frame) (any, bool) {
		a, sure := left(f)
		if !sure {
			return nil, false
		}
		b, sure := right(f)
		if !sure {
			return nil, false
		}
		if out, ok := fast(a, b); ok || other == nil {
			return out, ok
		}
		return other(f)
	}
}

func conditional(test, yes, no expr) expr {
	return func(f *frame) (any, bool) {
		v, sure := test(f)
		switch {
		case !sure:
			return nil, false
		case v == true:
			return yes(f)
		case v == false:
			return no(f)
		}
		return nil, false
	}
}

// until is end where the first operand that is not its opposite is end: && is until false, || until true.
func until(end bool, plans []expr) expr {
	return func(f *frame) (any, bool) {
		for _, plan := range plans {
			if v, sure := plan(f); !sure || v != !end {
				return end, sure && v == end
			}
		}
		return !end, true
	}
}

// unwrap is orValue, hasValue and value of an optional.
func (p *planner) unwrap(name string, args []ast.Expr) expr {
	of := p.optional(args[0])
	if of == nil {
		return nil
	}
	var otherwise expr
	if name == "orValue" {
		if otherwise = p.plan(args[1]); otherwise == nil {
			return nil
		}
	}
	return func(f *frame) (any, bool) {
		v, present, sure := of(f)
		switch {
		case !sure:
			return nil, false
		case name == "hasValue":
			return present, true
		case present:
			return v, true
		case otherwise != nil:
			return otherwise(f)
		}
		return nil, false
	}
}

// function plans any other function of the environment: the one that cel-go itself would call.
func (p *planner) function(e ast.Expr, name string, args []expr) expr {
	if planned := p.search(e, name, args); planned != nil {
		return planned
	}
	impl := p.overload(e.ID(), name)
	if impl == nil || impl.NonStrict || impl.Async != nil || len(args) == 0 {
		return nil
	}
	run := func(f *frame) (any, bool) {
		var few [3]ref.Val
		vals := few[:0]
		for _, arg := range args {
			v, sure := arg(f)
			if !sure {
				return nil, false
			}
			vals = append(vals, val(v))
		}
		if impl.OperandTrait != 0 && !vals[0].Type().HasTrait(impl.OperandTrait) {
			return nil, false
		}
		switch {
		case len(vals) == 1 && impl.Unary != nil:
			return plain(impl.Unary(vals[0]))
		case len(vals) == 2 && impl.Binary != nil:
			return plain(impl.Binary(vals[0], vals[1]))
		case impl.Function != nil:
			return plain(impl.Function(slices.Clone(vals)...))
		}
		return nil, false
	}
	call := e.AsCall()
	_, fixed := constant(e)
	if !call.IsMemberFunction() && !fixed {
		fixed = !slices.ContainsFunc(call.Args(), func(a ast.Expr) bool { _, ok := constant(a); return !ok })
	}
	if !fixed {
		return run
	}
	v, sure := run(nil) // a function of constants is one itself, or cel-go makes no program of it
	if !sure {
		return nil
	}
	return func(*frame) (any, bool) { return v, true }
}

// search plans the search for a constant regular expression, which is compiled once, as cel-go does too.
func (p *planner) search(e ast.Expr, name string, args []expr) expr {
	find := map[string]func(*regexp.Regexp, string) any{
		"matches": func(r *regexp.Regexp, s string) any { return r.MatchString(s) },
		"find":    func(r *regexp.Regexp, s string) any { return r.FindString(s) },
		"findAll": func(r *regexp.Regexp, s string) any {
			all := []any{}
			for _, one := range r.FindAllString(s, -1) {
				all = append(all, one)
			}
			return all
		},
	}[name]
	given := e.AsCall().Args()
	if find == nil || len(args) != 2 || len(given) == 0 {
		return nil
	}
	pattern, _ := constant(given[len(given)-1])
	text, ok := pattern.(string)
	if !ok {
		return nil
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil
	}
	return func(f *frame) (any, bool) {
		v, sure := args[0](f)
		s, is := v.(string)
		if !sure || !is {
			return nil, false
		}
		return find(compiled, s), true
	}
}

// overload is the implementation of a call: the checker's choice where there is one, else the one that chooses by type.
func (p *planner) overload(id int64, name string) *functions.Overload {
	decl := p.functions[name]
	if decl == nil {
		return nil
	}
	bindings, err := decl.Bindings()
	if err != nil {
		return nil
	}
	if chosen := p.ast.GetOverloadIDs(id); len(chosen) == 1 {
		for _, b := range bindings {
			if b.Operator == chosen[0] {
				return b
			}
		}
	}
	for _, b := range bindings {
		if b.Operator == name {
			return b
		}
	}
	return nil
}

// val is a value as cel-go has it.
func val(v any) ref.Val {
	switch v := v.(type) {
	case ref.Val:
		return v
	case string:
		return types.String(v)
	case bool:
		return types.Bool(v)
	case int64:
		return types.Int(v)
	default:
		return types.DefaultTypeAdapter.NativeToValue(v)
	}
}

// plain is a value of cel-go as plain Go; one that has no plain form stays as it is. It is false for an error.
func plain(v ref.Val) (any, bool) {
	switch v := v.(type) {
	case types.String:
		return string(v), true
	case types.Bool:
		return bool(v), true
	case types.Int:
		return int64(v), true
	case types.Double:
		return float64(v), true
	case types.Null:
		return nil, true
	case *types.Err, *types.Unknown:
		return nil, false
	case traits.Lister:
		items := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			item, ok := plain(it.Next())
			if !ok {
				return nil, false
			}
			items = append(items, item)
		}
		return items, true
	case traits.Mapper:
		if m, ok := v.Value().(map[string]any); ok {
			return m, true
		}
	}
	return v, true
}

func equal(a, b any) (same, sure bool) {
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return a == b, true
		}
	case bool:
		if b, ok := b.(bool); ok {
			return a == b, true
		}
	case int64:
		if b, ok := b.(int64); ok {
			return a == b, true
		}
	}
	yes, ok := types.Equal(val(a), val(b)).(types.Bool)
	return bool(yes), ok
}

// in is a in b. Of an a that JSON has not cel-go may say otherwise: it hashes, and no bytes can be.
func in(a, b any) (found, sure bool) {
	switch a.(type) {
	case nil, bool, int64, float64, string, []any, map[string]any:
	default:
		return false, false
	}
	switch b := b.(type) {
	case []any:
		for _, item := range b {
			if same, ok := equal(a, item); same || !ok {
				return same, ok
			}
		}
		return false, true
	case map[string]any:
		if key, ok := a.(string); ok {
			_, found = b[key]
			return found, true
		}
	}
	return false, false
}

func index(a, b any) (any, bool) {
	switch a := a.(type) {
	case []any:
		if i, ok := b.(int64); ok && i >= 0 && i < int64(len(a)) {
			return a[i], true
		}
	case map[string]any:
		if key, ok := b.(string); ok {
			v, there := a[key]
			return v, there
		}
	}
	return nil, false
}

// exact bounds integers whose sums cannot overflow.
const exact = 1 << 53

func add(a, b any) (any, bool) {
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			return x + y, true
		}
	case int64:
		if y, ok := b.(int64); ok && max(x, y) < exact && min(x, y) > -exact {
			return x + y, true
		}
	case []any:
		y, ok := b.([]any)
		switch {
		case !ok:
			return nil, false
		case len(x) == 0:
			return b, true
		case len(y) == 0:
			return a, true
		}
		return slices.Concat(x, y), true
	}
	return nil, false
}

func subtract(a, b any) (any, bool) {
	x, ok := a.(int64)
	y, ok2 := b.(int64)
	if !ok || !ok2 || max(x, y) >= exact || min(x, y) <= -exact {
		return nil, false
	}
	return x - y, true
}

// compare orders two integers or two strings.
func compare(a, b any) (int, bool) {
	switch a := a.(type) {
	case int64:
		if b, ok := b.(int64); ok {
			switch {
			case a < b:
				return -1, true
			case a > b:
				return 1, true
			}
			return 0, true
		}
	case string:
		if b, ok := b.(string); ok {
			return strings.Compare(a, b), true
		}
	}
	return 0, false
}

func size(v, _ any) (any, bool) {
	switch v := v.(type) {
	case string:
		return int64(utf8.RuneCountInString(v)), true
	case []any:
		return int64(len(v)), true
	case map[string]any:
		return int64(len(v)), true
	}
	return nil, false
}
