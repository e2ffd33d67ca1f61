package control

import (
	"cmp"
	"slices"
	"strings"
)

// Clean is a CEL expression without variables that is true where no rule of the controls finds anything in an object of
// the group, which must have a Quick. A policy that asks it first is evaluated in full, message expressions and all, only for what is refused or
// warned of. Where it is false something may be wrong, or the object is too large to ask.
//
// A variable becomes the element of a list of one, over which the rest is asked; one that is Late is put, in brief, where it is used.
func Clean(g Group, controls []Control) string {
	names, late := map[string]string{}, map[string]string{}
	for _, v := range g.Variables {
		names[v.Name] = v.Name
	}
	var binds []Variable
	for _, v := range g.Variables {
		if text := inline(cmp.Or(v.Brief, v.Expression), names, late); v.Late {
			late[v.Name] = "(" + text + ")"
		} else {
			binds = append(binds, Variable{Name: v.Name, Expression: text})
		}
	}
	var clean []string
	for _, c := range controls {
		clean = append(clean, "("+unlessKind(g.Only(c), "true")+c.clean(names, late)+")")
	}
	return bind(binds, g.Quick+" && "+strings.Join(clean, "\n&& "))
}

// clean is true where the control's own rule finds nothing.
func (c Control) clean(shared, late map[string]string) string {
	names := map[string]string{}
	for from, to := range shared {
		names[from] = to
	}
	var binds []Variable
	found := ""
	for _, v := range c.Variables {
		text := inline(v.Expression, names, late)
		if v.Name == FoundVariable {
			found = text
			continue
		}
		names[v.Name] = strings.ToLower(strings.ReplaceAll(c.ID, "-", "_")) + "_" + v.Name
		binds = append(binds, Variable{Name: names[v.Name], Expression: text})
	}
	return bind(binds, "("+found+").size() == 0")
}

// inline puts names, and the text of late variables, in the place of variables.<name>.
func inline(expression string, names, late map[string]string) string {
	return variableWord.ReplaceAllStringFunc(expression, func(use string) string {
		name := strings.TrimPrefix(use, "variables.")
		if text, ok := late[name]; ok {
			return text
		}
		return names[name]
	})
}

// bind asks body with each variable bound, the first outermost.
func bind(vars []Variable, body string) string {
	for _, v := range slices.Backward(vars) {
		body = "[" + v.Expression + "].all(" + v.Name + ", " + body + ")"
	}
	return body
}
