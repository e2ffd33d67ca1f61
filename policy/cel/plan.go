package cel

import (
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/decls"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
)

// An expr answers with the value of an expression as plain Go: nil, bool, int64, float64, string, []any, map[string]any,
// or a ref.Val of cel-go that has no such form. It is false where it is not sure: whatever cel-go would call an error or
// reads in a way that is not planned here is left to cel-go, whose answer then holds. So a plan is only ever faster.
type expr func(f *frame) (any, bool)

// A maybe is an expr of CEL's optional type: the value, whether there is one, whether it is sure.
type maybe func(f *frame) (value any, present, sure bool)

// planner turns one checked expression into Go closures. It gives nil for what it has no plan for.
type planner struct {
	functions map[string]*decls.FunctionDecl
	ast       *ast.AST
	names     map[string]int // the slots of variables.<name>

	locals      map[string]int // where the variables of comprehensions are on the stack
	depth, most int
}

func (p *planner) plan(e ast.Expr) expr {
	if v, ok := constant(e); ok {
		return func(*frame) (any, bool) { return v, true }
	}
	switch e.Kind() {
	case ast.IdentKind:
		return p.ident(e.AsIdent())
	case ast.SelectKind:
		return p.selection(e.AsSelect())
	case ast.CallKind:
		return p.call(e)
	case ast.ListKind:
		return p.list(e.AsList())
	case ast.MapKind:
		return p.mapping(e.AsMap())
	case ast.ComprehensionKind:
		return p.comprehension(e.AsComprehension())
	}
	return nil
}

// constant is the value of a literal, or of a list of literals.
func constant(e ast.Expr) (any, bool) {
	switch e.Kind() {
	case ast.LiteralKind:
		return plain(e.AsLiteral())
	case ast.ListKind:
		list := e.AsList()
		items := make([]any, 0, list.Size())
		for _, item := range list.Elements() {
			v, ok := constant(item)
			if !ok {
				return nil, false
			}
			items = append(items, v)
		}
		return items, len(list.OptionalIndices()) == 0
	case ast.MapKind:
		return map[string]any{}, e.AsMap().Size() == 0
	}
	return nil, false
}

func (p *planner) ident(name string) expr {
	if at, ok := p.locals[name]; ok {
		return func(f *frame) (any, bool) { return f.stack[f.base+at], true }
	}
	switch name {
	case "object":
		return func(f *frame) (any, bool) { return f.object, true }
	case "oldObject":
		return func(f *frame) (any, bool) { return f.oldObject, true }
	case "params":
		return func(f *frame) (any, bool) { return f.params, true }
	case "request":
		return func(f *frame) (any, bool) { return f.request, true }
	}
	return nil
}

// selection is x.field and has(x.field).
func (p *planner) selection(s ast.SelectExpr) expr {
	key := s.FieldName()
	if !s.IsTestOnly() && p.isVariables(s.Operand()) {
		slot, ok := p.names[key]
		if !ok {
			return nil
		}
		return func(f *frame) (any, bool) {
			v, err := f.value(slot)
			return v, err == nil
		}
	}
	of := p.plan(s.Operand())
	if of == nil {
		return nil
	}
	return func(f *frame) (any, bool) {
		v, sure := of(f)
		m, isMap := v.(map[string]any)
		if !sure || !isMap {
			return nil, false
		}
		v, there := m[key]
		if s.IsTestOnly() {
			return there, true
		}
		return v, there
	}
}

func (p *planner) isVariables(e ast.Expr) bool {
	_, local := p.locals["variables"]
	return !local && e.Kind() == ast.IdentKind && e.AsIdent() == "variables"
}

// isOptional reports whether an expression is of CEL's optional type.
func (p *planner) isOptional(e ast.Expr) bool {
	t := p.ast.GetType(e.ID())
	return t.Kind() == types.OpaqueKind && t.TypeName() == "optional_type"
}

// optional plans an expression of the optional type.
func (p *planner) optional(e ast.Expr) maybe {
	if s := e.AsSelect(); e.Kind() == ast.SelectKind && !s.IsTestOnly() && p.isOptional(s.Operand()) {
		return p.step(s.Operand(), func(*frame) (any, bool) { return s.FieldName(), true })
	}
	if e.Kind() != ast.CallKind {
		return nil
	}
	call := e.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case operators.Index:
		if p.isOptional(args[0]) { // else it is the item that is optional, not the index
			return p.step(args[0], p.key(args[1]))
		}
	case operators.OptSelect, operators.OptIndex:
		return p.step(args[0], p.key(args[1]))
	case operators.Conditional:
		test, yes, no := p.plan(args[0]), p.optional(args[1]), p.optional(args[2])
		if test == nil || yes == nil || no == nil {
			return nil
		}
		return func(f *frame) (any, bool, bool) {
			if v, sure := test(f); !sure {
				return nil, false, false
			} else if v == true {
				return yes(f)
			} else if v == false {
				return no(f)
			}
			return nil, false, false
		}
	case "optional.none":
		return func(*frame) (any, bool, bool) { return nil, false, true }
	case "optional.of":
		if of := p.plan(args[0]); of != nil {
			return func(f *frame) (any, bool, bool) {
				v, sure := of(f)
				return v, sure, sure
			}
		}
	}
	return nil
}

// key plans what stands in brackets. Of a constant that can be no key cel-go makes no program, whether or not it is asked for.
func (p *planner) key(e ast.Expr) expr {
	if v, fixed := constant(e); fixed {
		switch v.(type) {
		case string, int64:
		default:
			return nil
		}
	}
	return p.plan(e)
}

// step is x.?key, x[?key], and x.key and x[key] of an x that is optional itself.
func (p *planner) step(of ast.Expr, key expr) maybe {
	var from maybe
	if p.isOptional(of) {
		from = p.optional(of)
	} else if plan := p.plan(of); plan != nil {
		from = func(f *frame) (any, bool, bool) {
			v, sure := plan(f)
			return v, true, sure
		}
	}
	if from == nil || key == nil {
		return nil
	}
	return func(f *frame) (any, bool, bool) {
		v, present, sure := from(f)
		if !present || !sure {
			return nil, false, sure
		}
		k, sure := key(f)
		if !sure {
			return nil, false, false
		}
		switch v := v.(type) {
		case map[string]any:
			if name, ok := k.(string); ok {
				field, there := v[name]
				return field, there, true
			}
		case []any:
			if i, ok := k.(int64); ok {
				if i < 0 || i >= int64(len(v)) {
					return nil, false, true
				}
				return v[i], true, true
			}
		case nil, bool, int64, float64, string: // nothing is in them, and asking for what can be a key is no error
			switch k.(type) {
			case string, int64:
				return nil, false, true
			}
		}
		return nil, false, false
	}
}

func (p *planner) plans(es []ast.Expr) []expr {
	all := make([]expr, len(es))
	for i, e := range es {
		if all[i] = p.plan(e); all[i] == nil {
			return nil
		}
	}
	return all
}

func (p *planner) list(l ast.ListExpr) expr {
	items := p.plans(l.Elements())
	if items == nil || len(l.OptionalIndices()) > 0 {
		return nil
	}
	return func(f *frame) (any, bool) {
		out := make([]any, len(items))
		for i, item := range items {
			v, sure := item(f)
			if !sure {
				return nil, false
			}
			out[i] = v
		}
		return out, true
	}
}

// mapping is a map with literal strings for keys.
func (p *planner) mapping(m ast.MapExpr) expr {
	var keys []string
	var values []ast.Expr
	for _, e := range m.Entries() {
		entry := e.AsMapEntry()
		key, _ := constant(entry.Key())
		name, ok := key.(string)
		if !ok || entry.IsOptional() {
			return nil
		}
		keys, values = append(keys, name), append(values, entry.Value())
	}
	plans := p.plans(values)
	if plans == nil {
		return nil
	}
	return func(f *frame) (any, bool) {
		out := make(map[string]any, len(keys))
		for i, value := range plans {
			v, sure := value(f)
			if !sure {
				return nil, false
			}
			out[keys[i]] = v
		}
		return out, len(out) == len(keys)
	}
}

// comprehension plans what the macros map, filter, exists, all and optMap become.
func (p *planner) comprehension(c ast.ComprehensionExpr) expr {
	if c.HasIterVar2() {
		return nil
	}
	over := p.plan(c.IterRange())
	if over == nil {
		return nil
	}
	if v, ok := constant(c.LoopCondition()); ok && v == false {
		return p.bound(c)
	}
	isAccu := func(e ast.Expr) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == c.AccuVar() }
	init, ok := constant(c.AccuInit())
	if !ok || !isAccu(c.Result()) || c.LoopStep().Kind() != ast.CallKind {
		return nil
	}
	step := c.LoopStep().AsCall()
	args := step.Args()
	switch step.FunctionName() {
	case operators.Add: // map
		if isAccu(args[0]) && args[1].Kind() == ast.ListKind && args[1].AsList().Size() == 1 {
			return p.gather(c, over, nil, args[1].AsList().Elements()[0])
		}
	case operators.Conditional: // filter, and map with a filter
		if !isAccu(args[2]) || args[1].Kind() != ast.CallKind || args[1].AsCall().FunctionName() != operators.Add {
			return nil
		}
		if add := args[1].AsCall().Args(); isAccu(add[0]) && add[1].Kind() == ast.ListKind && add[1].AsList().Size() == 1 {
			return p.gather(c, over, args[0], add[1].AsList().Elements()[0])
		}
	case operators.LogicalOr, operators.LogicalAnd: // exists, all
		if until := step.FunctionName() == operators.LogicalOr; isAccu(args[0]) && init == !until {
			return p.quantifier(c, over, args[1], until)
		}
	}
	return nil
}

// local plans with one more variable on the stack.
func (p *planner) local(name string, plan func(at int)) {
	outer, shadowed := p.locals[name]
	at := p.depth
	p.depth++
	p.most = max(p.most, p.depth)
	p.locals[name] = at
	plan(at)
	p.depth--
	delete(p.locals, name)
	if shadowed {
		p.locals[name] = outer
	}
}

// bound is a value with a name: what optMap makes of what it maps.
func (p *planner) bound(c ast.ComprehensionExpr) (out expr) {
	init := p.plan(c.AccuInit())
	if init == nil {
		return nil
	}
	p.local(c.AccuVar(), func(at int) {
		result := p.plan(c.Result())
		if result == nil {
			return
		}
		out = func(f *frame) (any, bool) {
			v, sure := init(f)
			if !sure {
				return nil, false
			}
			f.stack[f.base+at] = v
			return result(f)
		}
	})
	return out
}

// each calls do with every item of a list, or key of a map, in the variable at. It is false where do is, or v is neither.
func each(f *frame, v any, at int, do func() bool) bool {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			if f.stack[f.base+at] = item; !do() {
				return false
			}
		}
	case map[string]any:
		for key := range v {
			if f.stack[f.base+at] = key; !do() {
				return false
			}
		}
	default:
		return false
	}
	return true
}

// gather is the list of item for each that passes test, a nil test passes all.
func (p *planner) gather(c ast.ComprehensionExpr, over expr, test, item ast.Expr) (out expr) {
	p.local(c.IterVar(), func(at int) {
		none := any([]any{}) // made once: most rules find nothing
		pass, make := expr(nil), p.plan(item)
		if test != nil {
			if pass = p.plan(test); pass == nil {
				return
			}
		}
		if make == nil {
			return
		}
		out = func(f *frame) (any, bool) {
			v, sure := over(f)
			if !sure {
				return nil, false
			}
			var all []any
			sure = each(f, v, at, func() bool {
				if pass != nil {
					yes, sure := pass(f)
					if !sure || yes != true {
						return sure && yes == false
					}
				}
				item, sure := make(f)
				all = append(all, item)
				return sure
			})
			if len(all) == 0 {
				return none, sure
			}
			return all, sure
		}
	})
	return out
}

// quantifier is until where the test of any item is, else the opposite: exists is until true, all until false.
func (p *planner) quantifier(c ast.ComprehensionExpr, over expr, test ast.Expr, until bool) (out expr) {
	p.local(c.IterVar(), func(at int) {
		pass := p.plan(test)
		if pass == nil {
			return
		}
		out = func(f *frame) (any, bool) {
			v, sure := over(f)
			if !sure {
				return nil, false
			}
			found := false
			sure = each(f, v, at, func() bool {
				yes, sure := pass(f)
				found = sure && yes == until
				return sure && yes == !until
			})
			return found == until, sure || found
		}
	})
	return out
}
