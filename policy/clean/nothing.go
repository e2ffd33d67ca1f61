package clean

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/parser"

	"ringfence.dev/ringfence/control"
)

// The functions and macros that are rewritten.
const (
	sizeFunction  = "size"
	joinFunction  = "join"
	splitFunction = "split"
	mapMacro      = "map"
	filterMacro   = "filter"
	existsMacro   = "exists"
)

// writer reads CEL without expanding macros, so that it can be written again, and rewrites it.
type writer struct {
	ast.ExprFactory
	parser *parser.Parser
	// elements names for each list of indices the list whose they are.
	elements map[string]string
	// words and numbers are the lists of literals that hoist took out.
	words, numbers []ast.Expr
	last           int64 // the last id given
}

func newWriter(elements map[string]string) (*writer, error) {
	p, err := parser.NewParser(parser.Macros(), parser.EnableOptionalSyntax(true))
	return &writer{ExprFactory: ast.NewExprFactory(), parser: p, elements: elements}, err
}

func (w *writer) id() int64 {
	w.last++
	return w.last
}

func (w *writer) parse(expression string) (ast.Expr, error) {
	parsed, faults := w.parser.Parse(common.NewTextSource(expression))
	if len(faults.GetErrors()) > 0 {
		return nil, errors.New(faults.ToDisplayString())
	}
	return parsed.Expr(), nil
}

func text(e ast.Expr) (string, error) {
	return parser.Unparse(e, ast.NewSourceInfo(common.NewTextSource("")))
}

// rule is true only where the control's rule finds nothing.
func (w *writer) rule(c control.Control) (ast.Expr, error) {
	for _, v := range c.Variables {
		if v.Name != control.SuspiciousVariable {
			continue
		}
		suspicious, err := w.parse(v.Expression)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", v.Name, err)
		}
		return w.call(operators.LogicalNot, suspicious), nil
	}
	at := slices.IndexFunc(c.Variables, func(v control.Variable) bool { return v.Name == control.FoundVariable })
	if at < 0 {
		return nil, fmt.Errorf("there is no variable %s", control.FoundVariable)
	}
	found, err := w.parse(c.Variables[at].Expression)
	if err != nil {
		return nil, fmt.Errorf("variable %s: %w", control.FoundVariable, err)
	}
	return w.merge(w.nothing(found), c.Variables[:at])
}

// merge asks of a list that has a name only to be asked whether it is empty what it holds, the last first.
func (w *writer) merge(rule ast.Expr, own []control.Variable) (ast.Expr, error) {
	for i, v := range slices.Backward(own) {
		if count(rule, v.Name) != 1 {
			continue
		}
		needed, err := w.needed(rule, own)
		if err != nil {
			return nil, err
		}
		list := needed[v.Name]
		if slices.ContainsFunc(own[i:], func(u control.Variable) bool {
			return needed[u.Name] != nil && count(needed[u.Name], v.Name) > 0
		}) {
			continue
		}
		rewrite(rule, func(e ast.Expr) ast.Expr {
			if of := sized(e); of != nil && variable(of) == v.Name {
				return w.nothing(list)
			}
			return nil
		})
	}
	return rule, nil
}

// needed are those of a control's own variables that an expression uses, directly or not, and theirs.
func (w *writer) needed(e ast.Expr, own []control.Variable) (map[string]ast.Expr, error) {
	needed, names := map[string]ast.Expr{}, uses(e)
	for _, v := range slices.Backward(own) {
		if !names[v.Name] {
			continue
		}
		e, err := w.parse(v.Expression)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", v.Name, err)
		}
		needed[v.Name] = e
		maps.Copy(names, uses(e))
	}
	return needed, nil
}

// nothing is true only where the list is empty and can be evaluated. What only says where something was found, the last
// map of a chain, is left out, and a filter is asked whether anything passes. Where it would be long it is false.
func (w *writer) nothing(list ast.Expr) ast.Expr {
	if list.Kind() == ast.ListKind {
		return w.NewLiteral(w.id(), types.Bool(list.AsList().Size() == 0))
	}
	if list.Kind() == ast.CallKind {
		call := list.AsCall()
		args := call.Args()
		switch {
		case call.FunctionName() == operators.Add:
			return w.call(operators.LogicalAnd, w.nothing(args[0]), w.nothing(args[1]))
		case call.FunctionName() == operators.Conditional:
			return w.conditional(args[0], w.nothing(args[1]), w.nothing(args[2]))
		case call.IsMemberFunction() && call.FunctionName() == mapMacro && len(args) == 2:
			return w.nothing(call.Target())
		case call.FunctionName() == splitFunction: // it has one element at least
			return w.NewLiteral(w.id(), types.False)
		case call.IsMemberFunction() && call.FunctionName() == filterMacro && len(args) == 2:
			if joined := lines(call.Target(), args[0], args[1]); joined != nil {
				return w.nothing(joined)
			}
			return w.call(operators.LogicalNot, w.exists(call.Target(), args[0], args[1]))
		}
	}
	return w.call(operators.Equals, w.NewMemberCall(w.id(), sizeFunction, list), w.NewLiteral(w.id(), types.IntZero))
}

// sized is the list in list.size() == 0, nil for anything else.
func sized(e ast.Expr) ast.Expr {
	if !calls(e, operators.Equals) {
		return nil
	}
	size, zero := e.AsCall().Args()[0], e.AsCall().Args()[1]
	if !calls(size, sizeFunction) || !size.AsCall().IsMemberFunction() ||
		zero.Kind() != ast.LiteralKind || zero.AsLiteral() != types.IntZero {
		return nil
	}
	return size.AsCall().Target()
}

// lines is the list in list.join(...).split(...).filter(line, line != ”), which is empty where list is; nil for anything else.
func lines(list, name, passes ast.Expr) ast.Expr {
	for _, function := range []string{splitFunction, joinFunction} {
		if !calls(list, function) || !list.AsCall().IsMemberFunction() {
			return nil
		}
		list = list.AsCall().Target()
	}
	if !calls(passes, operators.NotEquals) {
		return nil
	}
	line, empty := passes.AsCall().Args()[0], passes.AsCall().Args()[1]
	if line.Kind() != ast.IdentKind || line.AsIdent() != name.AsIdent() || empty.Kind() != ast.LiteralKind || empty.AsLiteral() != types.String("") {
		return nil
	}
	return list
}

// conditional is condition ? a : b, in brief where both are known.
func (w *writer) conditional(condition, a, b ast.Expr) ast.Expr {
	switch {
	case isBool(a, true) && isBool(b, false):
		return condition
	case isBool(a, false) && isBool(b, true):
		return w.call(operators.LogicalNot, condition)
	case isBool(a, false) && isBool(b, false):
		return a
	}
	return w.call(operators.Conditional, condition, a, b)
}

func isBool(e ast.Expr, b bool) bool {
	return e.Kind() == ast.LiteralKind && e.AsLiteral() == types.Bool(b)
}

// exists is true where an element passes. A filter of a filter asks both at once; an index that serves only to find its
// element is that element.
func (w *writer) exists(list, name, passes ast.Expr) ast.Expr {
	for calls(list, filterMacro) {
		call := list.AsCall()
		args := call.Args()
		if !call.IsMemberFunction() || len(args) != 2 || args[0].AsIdent() != name.AsIdent() {
			break
		}
		// Not a conjunction: that is false also where one side cannot be evaluated.
		passes = w.call(operators.Conditional, args[1], passes, w.NewLiteral(w.id(), types.False))
		list = call.Target()
	}
	elements, rest := w.indexed(list, name, passes)
	if elements == nil || !onlyIndexes(rest, elements, name) {
		return w.NewMemberCall(w.id(), existsMacro, list, name, passes)
	}
	rewrite(rest, func(e ast.Expr) ast.Expr {
		if indexes(e, elements, name) {
			return name
		}
		return nil
	})
	return w.NewMemberCall(w.id(), existsMacro, elements, name, rest)
}

// indexed is the list whose indices are asked, and what is asked of each: of variables.counting, where it is first asked
// to be less than the size of a list, that list and the rest. It is nil where there is no such list.
func (w *writer) indexed(indices, index, passes ast.Expr) (elements, rest ast.Expr) {
	switch of := w.elements[variable(indices)]; of {
	case "":
		return nil, nil
	default:
		return w.NewSelect(w.id(), w.NewIdent(w.id(), "variables"), of), passes
	case control.AnyList:
	}
	all := conjuncts(passes)
	if len(all) < 2 || !calls(all[0], operators.Less) {
		return nil, nil
	}
	less := all[0].AsCall().Args()
	if less[0].Kind() != ast.IdentKind || less[0].AsIdent() != index.AsIdent() || !calls(less[1], sizeFunction) || !less[1].AsCall().IsMemberFunction() {
		return nil, nil
	}
	rest = all[1]
	for _, e := range all[2:] {
		rest = w.call(operators.LogicalAnd, rest, e)
	}
	return less[1].AsCall().Target(), rest
}

// conjuncts are what e joins with &&, or e alone.
func conjuncts(e ast.Expr) []ast.Expr {
	if !calls(e, operators.LogicalAnd) {
		return []ast.Expr{e}
	}
	var all []ast.Expr
	for _, arg := range e.AsCall().Args() {
		all = append(all, conjuncts(arg)...)
	}
	return all
}

// onlyIndexes reports whether every use of the index within e is elements[index].
func onlyIndexes(e, elements, index ast.Expr) bool {
	all, indexing := 0, 0
	visit(e, func(e ast.Expr) {
		if e.Kind() == ast.IdentKind && e.AsIdent() == index.AsIdent() {
			all++
		} else if indexes(e, elements, index) {
			indexing++
		}
	})
	return all == indexing
}

// indexes reports whether e is elements[index].
func indexes(e, elements, index ast.Expr) bool {
	if !calls(e, operators.Index) {
		return false
	}
	args := e.AsCall().Args()
	if args[1].Kind() != ast.IdentKind || args[1].AsIdent() != index.AsIdent() {
		return false
	}
	a, errA := text(args[0])
	b, errB := text(elements)
	return errA == nil && errB == nil && a == b
}

// calls reports whether e calls a function or operator.
func calls(e ast.Expr, function string) bool {
	return e.Kind() == ast.CallKind && e.AsCall().FunctionName() == function
}

// The names of the lists of lists of literals that hoist takes out.
const (
	wordsName   = "words"
	numbersName = "numbers"
)

// hoist replaces the lists of three or more strings or numbers within e by elements of words and numbers. The type checker
// copies all that it has found so far for each element of a list, so a list costs nearly nothing at the beginning of an
// expression and much at its end.
func (w *writer) hoist(e ast.Expr) ast.Expr {
	rewrite(e, func(e ast.Expr) ast.Expr {
		if e.Kind() != ast.ListKind || e.AsList().Size() < 3 {
			return nil
		}
		switch {
		case literals[types.String](e):
			return w.element(wordsName, &w.words, e)
		case literals[types.Int](e):
			return w.element(numbersName, &w.numbers, e)
		}
		return nil
	})
	return e
}

// literals reports whether every element of a list is a literal of one type.
func literals[T types.String | types.Int](list ast.Expr) bool {
	return !slices.ContainsFunc(list.AsList().Elements(), func(e ast.Expr) bool {
		if e.Kind() != ast.LiteralKind {
			return true
		}
		_, ok := e.AsLiteral().(T)
		return !ok
	})
}

// element is lists[n], where list stands; it is added where it is not among them.
func (w *writer) element(name string, lists *[]ast.Expr, list ast.Expr) ast.Expr {
	want, _ := text(list) // of literals, which can be written
	n := slices.IndexFunc(*lists, func(have ast.Expr) bool { t, _ := text(have); return t == want })
	if n < 0 {
		n = len(*lists)
		*lists = append(*lists, w.CopyExpr(list))
	}
	return w.call(operators.Index, w.NewIdent(w.id(), name), w.NewLiteral(w.id(), types.Int(n)))
}

// constants binds what hoist took out.
func (w *writer) constants() (out []bind) {
	if len(w.numbers) > 0 {
		out = append(out, bind{numbersName, w.NewList(w.id(), w.numbers, nil)})
	}
	if len(w.words) > 0 {
		out = append(out, bind{wordsName, w.NewList(w.id(), w.words, nil)})
	}
	return out
}

// substitute puts an expression in the place of each variable that is named.
func (w *writer) substitute(e ast.Expr, by map[string]ast.Expr) ast.Expr {
	rewrite(e, func(e ast.Expr) ast.Expr {
		if to := by[variable(e)]; to != nil {
			return w.CopyExpr(to)
		}
		return nil
	})
	return e
}

func (w *writer) call(function string, args ...ast.Expr) ast.Expr {
	return w.NewCall(w.id(), function, args...)
}

// variable is the name in variables.<name>, "" for anything else.
func variable(e ast.Expr) string {
	if e.Kind() != ast.SelectKind {
		return ""
	}
	s := e.AsSelect()
	if s.Operand().Kind() != ast.IdentKind || s.Operand().AsIdent() != "variables" {
		return ""
	}
	return s.FieldName()
}

// uses are the variables that an expression names.
func uses(e ast.Expr) map[string]bool {
	names := map[string]bool{}
	visit(e, func(e ast.Expr) { names[variable(e)] = true })
	delete(names, "")
	return names
}

// count is how often an expression names a variable.
func count(e ast.Expr, name string) (n int) {
	visit(e, func(e ast.Expr) {
		if variable(e) == name {
			n++
		}
	})
	return n
}

func visit(e ast.Expr, do func(ast.Expr)) { ast.PostOrderVisit(e, ast.NewExprVisitor(do)) }

// rewrite replaces every expression within e, and e itself, for which to is not nil.
func rewrite(e ast.Expr, to func(ast.Expr) ast.Expr) {
	visit(e, func(e ast.Expr) {
		if by := to(e); by != nil {
			e.SetKindCase(by)
		}
	})
}
