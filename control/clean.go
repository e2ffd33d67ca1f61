package control

import (
	"cmp"
	"maps"
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

// clean is true where the control's own rule finds nothing. A variable that the rule does not need for that is left out:
// checking the types of a CEL expression takes time that grows with the square of its length.
func (c Control) clean(shared, late map[string]string) string {
	result, clean := FoundVariable, nothing
	if slices.ContainsFunc(c.Variables, func(v Variable) bool { return v.Name == SuspiciousVariable }) {
		result, clean = SuspiciousVariable, func(suspicious string) string { return "!(" + suspicious + ")" }
	}
	names := maps.Clone(shared)
	needed := map[string]bool{result: true}
	for _, v := range slices.Backward(c.Variables) {
		expression := v.Expression
		if v.Name == result {
			expression = clean(expression)
		}
		for _, use := range variableWord.FindAllStringSubmatch(expression, -1) {
			needed[use[1]] = needed[use[1]] || needed[v.Name]
		}
	}
	var binds []Variable
	text := ""
	for _, v := range c.Variables {
		expression := inline(v.Expression, names, late)
		if v.Name == result {
			text = clean(expression)
		} else if needed[v.Name] {
			names[v.Name] = strings.ToLower(strings.ReplaceAll(c.ID, "-", "_")) + "_" + v.Name
			binds = append(binds, Variable{Name: names[v.Name], Expression: expression})
		}
	}
	return bind(binds, text)
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
