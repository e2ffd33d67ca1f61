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
		if !v.Late {
			binds = append(binds, bind{v.Name, w.hoist(e)})
			shared[v.Name] = w.NewIdent(w.id(), v.Name)
		}
	}
	asked := []string{"(" + g.Quick + ")"}
	for _, c := range controls {
		one, err := w.inlined(c, shared)
		if err != nil {
			return "", fmt.Errorf("control %s: %w", c.ID, err)
		}
		if only := g.Only(c); only != nil {
			one = "(!(object.kind in ['" + strings.Join(only, "', '") + "']) ? true : " + one + ")"
		}
		asked = append(asked, one)
	}
	return bound(append(w.constants, binds...), strings.Join(asked, "\n&& "))
}

// bind gives an expression a name within another.
type bind struct {
	name string
	expr ast.Expr
}

// inlined is the rule of a control with shared variables in the place of theirs, and around it its own variables that it
// needs, under names that no other control has.
func (w *writer) inlined(c control.Control, shared map[string]ast.Expr) (string, error) {
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
		}
	}
	body, err := text(w.hoist(w.substitute(rule, names)))
	if err != nil {
		return "", err
	}
	return bound(binds, body)
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
