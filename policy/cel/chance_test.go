package cel

import (
	"math/rand/v2"
	"testing"
)

// writer writes expressions by chance.
type writer struct {
	*rand.Rand
	vars []string
}

func (w *writer) pick(from ...string) string { return from[w.IntN(len(from))] }

func (w *writer) leaf() string {
	if len(w.vars) > 0 && w.IntN(2) == 0 {
		return w.pick(w.vars...)
	}
	if w.IntN(2) == 0 {
		return w.pick("object.a", "object.b", "object.c", "object.x", "object", "variables.v")
	}
	literal := w.pick("oldObject", "1", "0", "-1", "2.0", "1u", "'a'", "'b'", "''", "'é'", "true", "false", "null",
		"[]", "{}", "[1, 2]", "['a', 'b']", "{'a': 1}", "{1: 'a'}", "b'a'", "variables.v", "variables.bad", "variables.opt", "variables.q", "variables.list", "variables.map", "variables.imap")
	if w.IntN(4) > 0 {
		return "dyn(" + literal + ")" // else the checker refuses most of them
	}
	return literal
}

func (w *writer) maybe(depth int) string {
	e := func() string { return w.expr(depth - 1) }
	switch w.IntN(8) {
	case 0:
		return "optional.none()"
	case 1:
		return "optional.of(" + e() + ")"
	case 2, 3:
		return "(" + e() + ")" + w.pick(".?a", ".?b", ".?x", "[?0]", "[?'a']")
	case 4:
		if depth > 0 {
			return "(" + w.maybe(depth-1) + ")" + w.pick(".?a", ".a", "[0]", "[?0]", "['a']", ".b")
		}
	case 5:
		if depth > 0 {
			return "(" + e() + " ? " + w.maybe(depth-1) + " : " + w.maybe(depth-1) + ")"
		}
	case 6:
		if depth > 0 {
			name := w.pick("x", "y", "object", "z")
			from := w.maybe(depth - 1)
			outer := w.vars
			w.vars = append(outer[:len(outer):len(outer)], name)
			defer func() { w.vars = outer }()
			return "(" + from + ").optMap(" + name + ", " + w.expr(depth-1) + ")"
		}
	}
	return w.pick("object.?a", "object.?b", "object.?x", "object[?'c']")
}

func (w *writer) expr(depth int) string {
	if depth <= 0 {
		return w.leaf()
	}
	e := func() string { return w.expr(depth - 1) }
	switch w.IntN(17) {
	case 0, 1:
		return "(" + e() + w.pick(" == ", " != ", " in ", " + ", " - ", " < ", " <= ", " > ", " >= ") + e() + ")"
	case 2, 3:
		return "(" + e() + w.pick(" && ", " || ") + e() + ")"
	case 4:
		return w.pick("!", "-") + "(" + e() + ")"
	case 5:
		return "(" + e() + " ? " + e() + " : " + e() + ")"
	case 6:
		return "(" + e() + ")[" + w.pick("0", "1", "-1", "'a'", e()) + "]"
	case 7:
		return "(" + e() + ")." + w.pick("a", "b", "x")
	case 8:
		return "has((" + e() + ")." + w.pick("a", "b", "x") + ")"
	case 9:
		return w.pick("size", "string", "int", "dyn", "type", "double") + "(" + e() + ")"
	case 10:
		return "(" + e() + ")." + w.pick("startsWith", "contains", "endsWith", "indexOf", "split") + "(" + e() + ")"
	case 11:
		return "[" + e() + w.pick("", ", "+e()) + "]"
	case 12:
		return "{" + w.pick("'a'", "'b'", e()) + ": " + e() + "}"
	case 13, 14:
		name := w.pick("x", "y", "x", "object", "variables")
		over := e()
		outer := w.vars
		w.vars = append(outer[:len(outer):len(outer)], name)
		defer func() { w.vars = outer }()
		macro := w.pick("exists", "all", "map", "filter", "exists_one")
		return "(" + over + ")." + macro + "(" + name + ", " + w.expr(depth-1) + ")"
	case 15:
		return "(" + w.maybe(depth) + ").orValue(" + e() + ")"
	default:
		return "(" + w.maybe(depth) + ")." + w.pick("hasValue()", "value()")
	}
}

// byChance writes expressions and objects of a seed and holds the first to cel-go over the second.
func byChance(tb testing.TB, seed uint64, n *tally) int {
	w := &writer{Rand: rand.New(rand.NewPCG(seed, 1))}
	var texts []string
	for range 40 {
		text := w.expr(1 + w.IntN(4))
		texts = append(texts, text)
	}
	p := compile(tb, texts)
	for range 12 {
		p.hold(tb, map[string]any{"a": values[w.IntN(len(values))], "b": values[w.IntN(len(values))], "c": values[w.IntN(len(values))]}, n)
	}
	return len(p.texts)
}

// TestByChance is FuzzExpressions in short, the same each time.
func TestByChance(t *testing.T) {
	var n tally
	all := 0
	for seed := range uint64(40) {
		all += byChance(t, seed, &n)
	}
	t.Logf("%d expressions, %d answers of a plan, %d of cel-go", all, n.sure, n.fell)
}

// FuzzExpressions writes expressions by chance and holds them to cel-go.
func FuzzExpressions(f *testing.F) {
	f.Add(uint64(0))
	f.Fuzz(func(t *testing.T, seed uint64) { byChance(t, seed, &tally{}) })
}
