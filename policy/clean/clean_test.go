package clean_test

import (
	"strings"
	"testing"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/policy/clean"
)

// TestRule is what is asked for a rule: the same where that can be shorter, and never true where the rule may find something.
func TestRule(t *testing.T) {
	for _, c := range []struct{ why, found, want string }{
		{"one place", "variables.podSpec.?hostPID.orValue(false) ? ['true at /spec/hostPID'] : []", `!variables.podSpec.?hostPID.orValue(false)`},
		{"or none", "object.kind == 'Pod' ? [] : ['x at /kind']", `object.kind == "Pod"`},
		{"always", "object.kind == 'Pod' ? ['x at /a'] : ['x at /b']", "false"},
		{"an index of one list", "variables.each.filter(i, variables.containers[i].?tty.orValue(false)).map(i, string(i) + ' at /')",
			`!(variables.containers.exists(i, i.?tty.orValue(false)))`},
		{"an index of two lists", "variables.each.filter(i, variables.containers[i].tty && variables.pinned[i])",
			"!(variables.each.exists(i, variables.containers[i].tty && variables.pinned[i]))"},
		{"the index itself", "variables.each.filter(i, variables.containers[i].tty && i > 0)", "!(variables.each.exists(i, variables.containers[i].tty && i > 0))"},
		{"a list without elements", "variables.counting.filter(j, j < 3)", "!(variables.counting.exists(j, j < 3))"},
		{"a list to its end", "variables.counting.filter(j, j < object.a.size() && object.a[j] != 0 && object.a[j] < 7)", "!(object.a.exists(j, j != 0 && j < 7))"},
		{"a list to the end of another", "variables.counting.filter(j, j < object.a.size() && object.b[j] == 0)",
			"!(variables.counting.exists(j, j < object.a.size() && object.b[j] == 0))"},
		{"lists to their ends", "variables.counting.filter(j, j < object.a[j].size() && object.a[j].size() == 0)",
			"!(variables.counting.exists(j, j < object.a[j].size() && object.a[j].size() == 0))"},
		{"two lists", "object.a.filter(x, x > 0) + object.b", "!(object.a.exists(x, x > 0)) && object.b.size() == 0"},
		// Not a conjunction: it would be false, and all well, where the first side cannot be evaluated and the second is false.
		{"a filter of a filter", "object.a.filter(x, x.p).filter(x, x.q)", "!(object.a.exists(x, x.p ? x.q : false))"},
		{"other names", "object.a.filter(x, x.p).filter(y, y.q)", "!(object.a.filter(x, x.p).exists(y, y.q))"},
		{"lines", "object.a.map(x, x.p).join('\\n').split('\\n').filter(l, l != '')", "object.a.size() == 0"},
		{"lines with another end", "object.a.join('\\n').split('\\n').filter(l, l != 'x')", `!(object.a.join("\n").split("\n").exists(l, l != "x"))`},
		{"a split", "object.a.join(',').split(',')", "false"},
		{"unknown", "object.a", "object.a.size() == 0"},
	} {
		got, err := clean.Rule(control.Control{Variables: []control.Variable{{Name: control.FoundVariable, Expression: c.found}}}, map[string]string{"each": "containers", "counting": control.AnyList})
		if err != nil || got != c.want {
			t.Errorf("%s: %s\n got  %s %v\n want %s", c.why, c.found, got, err, c.want)
		}
	}
}

// TestVariables is when a control's own variable is asked for what it holds.
func TestVariables(t *testing.T) {
	bad := control.Variable{Name: "bad", Expression: "object.a.filter(x, x.p)"}
	for _, c := range []struct {
		why  string
		vars []control.Variable
		want string
	}{
		{"asked once", []control.Variable{bad, {Name: "found", Expression: "variables.bad.size() == 0 ? [] : variables.bad.map(x, x.q).join(',').split(',')"}},
			"!(object.a.exists(x, x.p))"},
		{"asked twice", []control.Variable{bad, {Name: "found", Expression: "variables.bad + variables.bad"}}, "variables.bad.size() == 0 && variables.bad.size() == 0"},
		{"used by another", []control.Variable{bad, {Name: "more", Expression: "variables.bad.map(x, x.q)"}, {Name: "found", Expression: "variables.bad + object.c.filter(x, x in variables.more)"}},
			"variables.bad.size() == 0 && !(object.c.exists(x, x in variables.more))"},
		{"suspicious", []control.Variable{{Name: "suspicious", Expression: "object.a == 'x'"}, {Name: "found", Expression: "object.b"}}, `!(object.a == "x")`},
	} {
		got, err := clean.Rule(control.Control{Variables: c.vars}, nil)
		if err != nil || got != c.want {
			t.Errorf("%s: %s %v\nwant %s", c.why, got, err, c.want)
		}
	}
}

// TestFaults: what cannot be read is an error that names the variable, from both doors.
func TestFaults(t *testing.T) {
	for want, vars := range map[string][]control.Variable{
		"variable found:":          {{Name: "found", Expression: "object."}},
		"variable suspicious:":     {{Name: "suspicious", Expression: "("}, {Name: "found", Expression: "[]"}},
		"variable bad:":            {{Name: "bad", Expression: "'"}, {Name: "found", Expression: "variables.bad"}},
		"there is no variable fou": {{Name: "other", Expression: "[]"}},
	} {
		c := control.Control{ID: "RF-XX-01", Variables: vars}
		if got, err := clean.Rule(c, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %s %v, want an error with %q", vars, got, err, want)
		}
		if got, err := clean.Group(control.Group{Quick: "true"}, []control.Control{c}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %s %v, want an error with %q", vars, got, err, want)
		}
	}
}
