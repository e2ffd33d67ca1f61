// Package clean asks in CEL whether controls find nothing, in fewer and cheaper words than the rules that say what they
// find and where.
//
// It decides nothing itself: what is not clean is judged by the rules. Package bundle puts the question in front of a
// native policy, so that the API server evaluates it in full only for what is refused or warned of; package cel asks it
// before each rule.
package clean

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"

	"ringfence.dev/ringfence/control"
)

// Rule is a CEL expression over the variables of a control that is true only where its variable found is an empty list.
// elements names for each list of indices the list whose they are; see control.Group. The error is the parser's.
func Rule(c control.Control, elements map[string]string) (string, error) {
	w, err := newWriter(elements)
	if err != nil {
		return "", err
	}
	rule, err := w.rule(c)
	if err != nil {
		return "", err
	}
	return text(rule)
}

// Group is a CEL expression without variables that is true only where no rule of the controls finds anything in an object
// of the group, which must have a Quick. Where it is false something may be wrong, or the object is too large to ask. The
// error is the parser's.
//
// A variable becomes the element of a list of one, over which the rest is asked; one that is Late is put, in brief, where it is used.
func Group(g control.Group, controls []control.Control) (string, error) {
	w, err := newWriter(g.Elements())
	if err != nil {
		return "", err
	}
	shared, binds := map[string]ast.Expr{}, []bind{}
	for _, v := range g.Variables {
		e, err := w.parse(cmp.Or(v.Brief, v.Expression))
		if err != nil {
			return "", fmt.Errorf("group %s: variable %s: %w", g.Name, v.Name, err)
		}
		shared[v.Name] = w.substitute(e, shared)
		if !v.Late && e.Kind() != ast.LiteralKind {
			binds = append(binds, bind{v.Name, w.hoist(e)})
			shared[v.Name] = w.NewIdent(w.id(), v.Name)
		}
	}
	quick, err := w.parse(g.Quick)
	if err != nil {
		return "", fmt.Errorf("group %s: quick: %w", g.Name, err)
	}
	asked, used := []string{"(" + g.Quick + ")"}, identifiers(quick, map[string]bool{})
	for _, c := range controls {
		one, err := w.inlined(c, shared, used)
		if err != nil {
			return "", fmt.Errorf("control %s: %w", c.ID, err)
		}
		if only := g.Only(c); only != nil {
			one = "(!(object.kind in ['" + strings.Join(only, "', '") + "']) ? true : " + one + ")"
		}
		asked = append(asked, one)
	}
	return bound(append(w.constants(), needed(binds, used)...), strings.Join(asked, "\n&& "))
}

// inlined is the rule of a control with shared variables in the place of theirs, and with its own variables that it needs
// under names that no other control has. It adds to used what it names.
func (w *writer) inlined(c control.Control, shared map[string]ast.Expr, used map[string]bool) (string, error) {
	rule, err := w.rule(c)
	if err != nil {
		return "", err
	}
	needed, err := w.needed(rule, c.Variables)
	if err != nil {
		return "", err
	}
	names, binds := maps.Clone(shared), []bind{}
	for _, v := range c.Variables {
		if e := needed[v.Name]; e != nil {
			name := strings.ToLower(strings.ReplaceAll(c.ID, "-", "_")) + "_" + v.Name
			binds = append(binds, bind{name, w.hoist(w.substitute(e, names))})
			names[v.Name] = w.NewIdent(w.id(), name)
			identifiers(e, used)
		}
	}
	body := w.hoist(w.substitute(rule, names))
	identifiers(body, used)
	return scoped(binds, body)
}

// scoped is body with each variable bound as far inside as all that needs it allows: of a question that ends early the
// least is evaluated, and a name is found the faster the fewer others there are around it.
func scoped(vars []bind, body ast.Expr) (string, error) {
	parts, write := operands(body)
	if parts == nil {
		inner, err := text(body)
		if err != nil {
			return "", err
		}
		return bound(vars, inner)
	}
	uses, users := make([]map[string]bool, len(parts)), map[string]int{}
	for i, part := range parts {
		uses[i] = identifiers(part, map[string]bool{})
		for _, v := range needed(vars, uses[i]) {
			users[v.name]++
		}
	}
	var outer []bind
	for _, v := range vars {
		if users[v.name] > 1 {
			outer = append(outer, v)
		}
	}
	texts := make([]string, len(parts))
	for i, part := range parts {
		var own []bind
		for _, v := range needed(vars, uses[i]) {
			if users[v.name] == 1 {
				own = append(own, v)
			}
		}
		var err error
		if texts[i], err = scoped(own, part); err != nil {
			return "", err
		}
	}
	return bound(outer, write(texts))
}

// operands are the parts of a condition that are evaluated as it is, and how it is written of them; none where there is but
// one part.
func operands(e ast.Expr) (parts []ast.Expr, write func([]string) string) {
	switch {
	case calls(e, operators.LogicalAnd):
		return conjuncts(e), func(s []string) string { return strings.Join(s, " && ") }
	case calls(e, operators.LogicalOr):
		return e.AsCall().Args(), func(s []string) string { return strings.Join(s, " || ") }
	case calls(e, operators.LogicalNot):
		return e.AsCall().Args(), func(s []string) string { return "!" + s[0] }
	case calls(e, operators.Conditional):
		return e.AsCall().Args(), func(s []string) string { return s[0] + " ? " + s[1] + " : " + s[2] }
	}
	return nil, nil
}

// needed are the variables among vars that are used, and those that they need.
func needed(vars []bind, used map[string]bool) (out []bind) {
	used = maps.Clone(used)
	for _, v := range slices.Backward(vars) {
		if used[v.name] {
			out = append(out, v)
			identifiers(v.expr, used)
		}
	}
	slices.Reverse(out)
	return out
}

// identifiers adds to names those that an expression uses.
func identifiers(e ast.Expr, names map[string]bool) map[string]bool {
	visit(e, func(e ast.Expr) {
		if e.Kind() == ast.IdentKind {
			names[e.AsIdent()] = true
		}
	})
	return names
}

// bind gives an expression a name within another.
type bind struct {
	name string
	expr ast.Expr
}

// bound is body with each variable bound, the first outermost.
func bound(vars []bind, body string) (string, error) {
	for _, v := range slices.Backward(vars) {
		value, err := text(v.expr)
		if err != nil {
			return "", err
		}
		body = "[" + value + "].all(" + v.name + ", " + body + ")"
	}
	return "(" + body + ")", nil
}
