package cel

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"ringfence.dev/ringfence/control"
)

// values are what an object may hold, and what Go may hold that JSON cannot.
var values = []any{
	nil, true, false,
	int64(0), int64(1), int64(-1), int64(2), int64(math.MaxInt64), int64(math.MinInt64), int64(1 << 53), int64(1<<53 + 1),
	0.0, math.Copysign(0, -1), 1.0, -1.0, 1.5, 1e300, float64(1 << 53), 9223372036854775807.0, math.NaN(), math.Inf(1),
	"", "a", "b", "1", "-1", "1.5", "true", "null", "é", "e\u0301", "日本語", "🏦", "\xff", "a\xffb", "a\x00b", "\ufffd", " A ", "a,b,,c", "(", "^a$", "a\n",
	"100m", "1Gi", "1e3", "-1Ki", "0", "9223372036854775808", "1.1.1.1", "10.0.0.0/8", "::1", "https://a.b/c?d=e", "2026-01-02T03:04:05Z", "1h",
	[]any{}, []any{int64(1)}, []any{int64(1), int64(1)}, []any{1.0, "1", nil}, []any{"a", "a", "b"}, []any{nil}, []any{[]any{int64(1)}, []any{}},
	[]any{map[string]any{"a": int64(1)}, map[string]any{}, nil}, []any{true, false, "x"}, []any{false, "x"},
	map[string]any{}, map[string]any{"a": nil}, map[string]any{"a": int64(1)}, map[string]any{"a": 1.0}, map[string]any{"a": map[string]any{"b": "c"}, "": true},
	map[string]any{"a": []any{"x"}, "b": false}, map[string]any{"1": int64(1)},
	// not of JSON
	1, int32(1), uint64(1), uint64(math.MaxUint64), float32(1), json.Number("1"), []byte("a"), []any(nil), map[string]any(nil), []string{"a"},
	map[any]any{"a": int64(1)}, map[string]string{"a": "x"}, map[int64]any{1: "a"}, []int64{1}, types.Uint(1), types.Bytes("a"), types.OptionalNone, types.OptionalOf(types.Int(1)),
	types.String("a"), types.Int(1), types.NullValue, types.True,
}

// one are expressions over object.a, two are those over object.a and object.b; each is held to cel-go's answer over all
// values.
var one = strings.Split(strings.TrimSpace(`
object.a
object.x
has(object.a)
has(object.x)
has(object.a.a)
has(object.a.a.b)
has(object.x.a)
object.a.a
object.?a
object.?a.orValue(1)
object.?a.?a.orValue(1)
object.?a.a.orValue(1)
object.?x.?a.orValue(1)
object.?a.?a.?b.orValue('none')
object.?a.a.b.orValue('none')
object.?a[0].orValue(1)
object.?a[?0].orValue(1)
object.?a[?-1].hasValue()
object.?a[?'a'].hasValue()
object.?a['a'].hasValue()
object.a[?0].orValue('none')
object.a[?1].orValue('none')
object.a[?-1].orValue('none')
object.a[?'a'].orValue('none')
object.a[?1.0].orValue('none')
object.a[?null].orValue('none')
object.a[?9223372036854775807].orValue('none')
object.?a.hasValue()
object.?x.hasValue()
object.?a.value()
object.?x.value()
object.?a.?a.value()
object.?a == optional.none()
object.?x == optional.none()
object.?a == optional.of(null)
object.?a.optMap(x, x)
object.?a.optMap(x, x + 1).orValue(7)
object.?a.optMap(x, x.a).orValue(7)
object.?a.optMap(x, 1).orValue(7)
object.?x.optMap(x, x.a).orValue(7)
object.?a.optMap(x, [x, x].map(y, y == x)).orValue([])
object.?a.optFlatMap(x, x.?a).orValue(7)
object.?a.or(optional.of(3)).value()
optional.of(object.a).?a.orValue(2)
optional.of(object.a).a.orValue(2)
optional.ofNonZeroValue(object.a).orValue(2)
[optional.of(object.a)][0].orValue(3)
[optional.none()][0].orValue(object.a)
[optional.of(1), optional.none()][?1].orValue(optional.of(object.a))
{'a': optional.of(object.a)}.a.orValue(3)
{'a': optional.none()}.a.orValue(object.a)
{'a': optional.none()}.?a.hasValue()
{'a': optional.of(object.a)}.?a.value().value()
[optional.of(object.a)].map(x, x.orValue(1))
[optional.none()].exists(x, x.hasValue())
(object.a == 1 ? optional.none() : object.?a).orValue(5)
(object.a == 1 ? object.?x : optional.of(object.a)).orValue(5)
(object.a ? object.?x : object.?a).orValue(5)
[?object.?a]
[?object.?x, 1]
{?'a': object.?a}
{'a': object.a}
{'a': object.a, 'a': 2}
{object.a: 1}
{'a': object.a}.a
{'a': object.a} == object
{1: object.a}
[object.a, object.a]
[object.a] == [1]
object.a == null
null == object.a
object.a != null
object.a == 1
object.a == 1.0
object.a == 1u
object.a == 'a'
object.a == b'a'
object.a == '1'
object.a == true
object.a == []
object.a == [1]
object.a == {}
object.a == {'a': 1}
object.a != 1
object.a != []
object.a in [1, 2]
object.a in [1.0]
object.a in [1u]
object.a in ['a', 'b']
object.a in ['a', '1', '']
object.a in [true]
object.a in [null]
object.a in []
object.a in [dyn(1), dyn('a'), dyn(null)]
object.a in [[1], []]
object.a in [9007199254740993]
object.a in [9007199254740992]
object.a in [9223372036854775807]
object.a in [b'a']
object.a in {'a': 1}
object.a in {}
object.a in {1: 'a'}
object.a in dyn({1: 'a', 'a': 2})
1 in object.a
1.0 in object.a
1u in object.a
'a' in object.a
null in object.a
[] in object.a
[1] in object.a
!(object.a in [1])
!object.a
-object.a
object.a && true
true && object.a
false && object.a
object.a && false
object.a || true
true || object.a
false || object.a
object.a || false
object.x || true
true || object.x
object.x || object.a
object.a || object.x
object.x && false
false && object.x
object.a && object.x
object.x && object.a
object.a && object.x && false
object.x || object.a || true
(object.a == 1 && object.x) || object.a == 1
object.a ? 1 : 2
object.x ? 1 : 2
object.a ? object.x : 2
!object.a ? object.x : 2
object.a == 1 ? object.a : object.x
object.a[0]
object.a[-1]
object.a[1]
object.a[0.0]
object.a[0u]
object.a['a']
object.a[null]
object.a[true]
object.a[9223372036854775807]
object.a[0][0]
object['a']
object[?'a'].orValue(1)
[1, 2, 3][object.a]
{'a': 1, 'b': 2}[object.a]
{1: 'x', 2: 'y'}[object.a]
[1, 2, 3][?object.a].orValue(0)
{'a': 1}[?object.a].orValue(0)
{1: 'x'}[?object.a].orValue('')
object.a + 1
1 + object.a
object.a + 'x'
'x' + object.a
object.a + []
[] + object.a
object.a + [1]
[1] + object.a
object.a + object.a
object.a - 1
1 - object.a
object.a - object.a
object.a * 2
object.a / 0
object.a % 2
object.a < 1
object.a <= 1
object.a > 1
object.a >= 1
object.a < 1.5
object.a < 'b'
object.a < true
object.a < object.a
1 < object.a
1.5 >= object.a
size(object.a)
object.a.size()
object.a.size() == 0
object.a.size() < 2
string(object.a)
int(object.a)
double(object.a)
uint(object.a)
bool(object.a)
bytes(object.a)
type(object.a) == type(1)
type(object.a) == type([])
type(object.a) == type({})
type(object.a) == type('')
type(object.a) == string
dyn(object.a)
dyn(object.a) == dyn(1)
timestamp(object.a)
duration(object.a)
string(1.0)
string(1e21)
string(object.a) + 'x'
int('9223372036854775808')
int(9223372036854775807.0)
9223372036854775807 + object.a
-9223372036854775808 - object.a
object.a.startsWith('a')
object.a.endsWith('a')
object.a.contains('a')
object.a.contains('')
'aé🏦'.contains(object.a)
object.a.matches('^a$')
object.a.matches('(?i)A')
object.a.matches('a|b$')
object.a.matches('.')
object.a.matches('[^\\x00-\\x7F]')
object.a.matches('\\p{L}')
object.a.matches('')
matches(object.a, 'a')
'a'.matches(object.a)
object.a.find('[a-z]')
object.a.findAll('[a-z]')
object.a.findAll('[a-z]', 1)
object.a.split(',')
object.a.split('')
object.a.split(',', 2)
object.a.split(',', 0)
object.a.split(',', -1)
object.a.lowerAscii()
object.a.upperAscii()
object.a.trim()
object.a.replace('a', 'b')
object.a.replace('', '-')
object.a.replace('a', 'b', 1)
object.a.indexOf('a')
object.a.indexOf('')
object.a.indexOf('a', 1)
object.a.indexOf('a', -1)
object.a.indexOf('a', 100)
object.a.lastIndexOf('a')
object.a.lastIndexOf('')
object.a.substring(1)
object.a.substring(-1)
object.a.substring(0, 1)
object.a.substring(1, 0)
object.a.substring(0, 100)
object.a.charAt(0)
object.a.charAt(9)
object.a.charAt(-1)
object.a.join()
object.a.join(',')
strings.quote(object.a)
'%s'.format([object.a])
'%d'.format([object.a])
object.a.isSorted()
object.a.sum()
object.a.min()
object.a.max()
object.a.indexOf(1)
object.a.lastIndexOf(1)
isQuantity(object.a)
quantity(object.a)
quantity(object.a).asInteger()
quantity(object.a).isInteger()
quantity(object.a).sign()
quantity(object.a).isGreaterThan(quantity('1'))
quantity(object.a).compareTo(quantity('1Gi'))
quantity(object.a) == quantity('1000')
quantity('1').add(quantity('1')).asInteger()
quantity('100m').asInteger()
quantity(string(object.a)).isLessThan(quantity('2'))
isIP(object.a)
ip(object.a)
ip(object.a).family()
string(ip(object.a))
isCIDR(object.a)
cidr(object.a).containsIP('10.1.1.1')
cidr(object.a).prefixLength()
cidr('10.0.0.0/8').containsCIDR(object.a)
isURL(object.a)
url(object.a).getHost()
sets.contains(object.a, [1])
sets.equivalent(object.a, ['a', 'b'])
sets.intersects([1, 2], object.a)
object.a.exists(x, x == 1)
object.a.exists(x, x.a == 1)
object.a.exists(x, x)
object.a.all(x, x == 1)
object.a.all(x, x)
object.a.all(x, x.size() > 0)
object.a.exists_one(x, x == 1)
object.a.map(x, x)
object.a.map(x, [x])
object.a.map(x, x == 1, x)
object.a.map(x, x, x)
object.a.map(x, x + 1)
object.a.filter(x, x == 1)
object.a.filter(x, true)
object.a.filter(x, x)
object.a.filter(x, x || x)
object.a.filter(x, x.a == 1 || x == 1)
object.a.filter(x, x == 1 || x.a == 1)
object.a.filter(x, object.x || x == 1)
object.a.filter(x, object.x && x == 1)
object.a.filter(x, !(object.x || x == 1))
object.a.filter(x, object.a.all(y, y.a == 1) || x == 1)
object.a.map(x, x == 1 || object.x, x)
object.a.map(x, x == 1 || object.x)
object.a.filter(x, x != null).size()
object.a.map(x, object.a.map(y, [x, y]))
object.a.map(x, [1, 2].map(x, x)).size()
object.a.map(x, [1, 2].filter(y, y == x))
object.a.exists(object, object == 1)
object.a.map(object, has(object.a))
object.a.map(variables, variables.a)
object.a.map(x, {'k': x}).exists(m, m.k == 1)
object.a.all(x, object.a.exists(y, y == x))
object.a.map(x, x).map(x, x)
object.a.filter(x, object.a.filter(y, y == x).size() > 1)
object.a.exists(x, x == 'a') || object.a.all(x, x == 1)
[1, 2, 3].filter(i, i < object.a.size()).map(i, object.a[i])
[0, 1].filter(i, i < object.a.size()).exists(i, object.a[i].?a.orValue(false) == 1)
[object.a].all(x, x == 1)
[object.x].all(x, true)
[object.a, object.x].exists(x, true)
[1, 0].exists(x, 1 / x == 1)
[0, 1].exists(x, 1 / x == 1)
[0, 1].all(x, 1 / x == 2)
[0, 0].all(x, 1 / x == 1)
['a', 1].exists(x, dyn(x) == object.a)
{'a': 1, 'b': 0}.exists(k, k == object.a)
{1: 'a'}.exists(k, k == object.a)
{}.all(k, k == object.a)
[].exists(x, object.x)
[[1], [2]].map(l, l[0] + object.a)
[1, 2].map(i, string(i) + object.a)
lists.range(object.a)
variables.v
variables.v.a
variables.v == object.a
variables.v[0]
has(variables.v)
has(variables.none)
has(variables.v.a)
variables.?v.orValue(1)
variables.bad
variables.bad || true
true || variables.bad
variables.bad == 1
[variables.bad].size()
variables.opt
variables.opt.orValue(1)
variables.opt.hasValue()
variables.opt.?a.orValue(1)
variables.opt.a
variables.opt[0]
has(variables.opt.a)
has(variables.opt)
variables.opt == object.?a
variables.opt in [optional.of(1)]
dyn(variables.opt).orValue(1)
variables.q.isGreaterThan(quantity('1'))
variables.q == quantity('1')
variables.list[0]
variables.list + object.a
object.a + variables.list
object.a in variables.list
variables.list.exists(x, x == object.a)
variables.list.all(x, type(x) == type(object.a))
variables.map.a
variables.map == {'a': object.a}
object.a in variables.map
variables.imap[1]
variables.imap[object.a]
object.a in variables.imap
variables.imap.exists(k, k == 1)
variables.imap.map(k, k)
variables.bytes == b'a'
variables.bytes in ['a']
variables.u == object.a
variables.u in [1]
variables.u + 1u
variables.u < object.a
variables
size(variables)
request.namespace == object.a
params.spec.?x.orValue(object.a)
oldObject == null
oldObject.?a.orValue(object.a)
has(oldObject.a)
oldObject.a
`), "\n")

var two = strings.Split(strings.TrimSpace(`
object.a == object.b
object.a != object.b
object.a in object.b
[object.a] == [object.b]
{'k': object.a} == {'k': object.b}
object.a in [object.b]
object.a + object.b
object.a - object.b
object.a * object.b
object.a / object.b
object.a < object.b
object.a >= object.b
object.a[object.b]
object.a[?object.b].orValue('none')
object.?a[object.b].orValue('none')
object.?a[?object.b].hasValue()
object.a && object.b
object.a || object.b
object.a ? object.b : 1
object.a.contains(object.b)
object.a.startsWith(object.b)
object.a.matches(object.b)
object.a.split(object.b)
object.a.indexOf(object.b)
object.a.join(object.b)
object.a.substring(object.b)
object.a.substring(0, object.b)
object.a.exists(x, x == object.b)
object.a.all(x, x in object.b)
object.a.map(x, x + object.b)
object.a.filter(x, x == object.b)
sets.contains(object.a, object.b)
object.?a.?x.orValue(object.b)
object.?a.?a.orValue(object.b)
object.a.filter(x, !(x in object.b))
`), "\n")

// beside are the variables that the expressions above may read.
var beside = []control.Variable{
	{Name: "v", Expression: "object.a"},
	{Name: "bad", Expression: "object.x"},
	{Name: "opt", Expression: "object.?a"},
	{Name: "q", Expression: "quantity('1.5')"},
	{Name: "list", Expression: "[dyn(1), dyn('a'), dyn(1u), dyn(1.0), dyn(null)]"},
	{Name: "map", Expression: "{'a': object.a}"},
	{Name: "imap", Expression: "{1: 'x', 2: 'y'}"},
	{Name: "bytes", Expression: "b'a'"},
	{Name: "u", Expression: "1u"},
}

// pair is expressions compiled both ways, each a variable e<i> beside the others.
type pair struct {
	texts    []string
	programs []*program
	oracle   *oracle
}

// compile compiles those of the expressions that the checker takes.
func compile(tb testing.TB, texts []string) *pair {
	tb.Helper()
	c, err := newCompiler()
	if err != nil {
		tb.Fatal(err)
	}
	out := &pair{}
	names := map[string]int{}
	vars := slices.Clone(beside)
	for i, v := range beside {
		p, err := c.compile(v, map[string]int{"v": 0})
		if err != nil {
			tb.Fatal(err)
		}
		out.programs = append(out.programs, p)
		names[v.Name] = i
	}
	for _, text := range texts {
		v := control.Variable{Name: fmt.Sprintf("e%d", len(out.texts)), Expression: text}
		p, err := c.compile(v, names)
		if err != nil {
			continue // what the checker refuses is no rule
		}
		if _, err := p.exact(); err != nil {
			continue
		}
		out.texts, out.programs, vars = append(out.texts, text), append(out.programs, p), append(vars, v)
	}
	out.oracle = newOracle(tb, nil, vars)
	return out
}

// hold holds every expression to cel-go's answer over an object, and counts.
func (p *pair) hold(tb testing.TB, object any, n *tally) {
	tb.Helper()
	request, params := map[string]any{"namespace": "a"}, map[string]any{"spec": map[string]any{}}
	f := &frame{programs: p.programs, slots: make([]slot, len(p.programs)), object: object, params: params, request: request}
	input := map[string]any{"object": object, "oldObject": nil, "params": params, "request": request}
	s := p.oracle.state(input, nil)
	for i, text := range p.texts {
		at, name := len(beside)+i, fmt.Sprintf("e%d", i)
		want := s.value(tb, name)
		got, sure := f.run(p.programs[at])
		if !sure {
			n.fell++
			got, err := f.value(at)
			if diff := differ(got, err, want); diff != "" && !hashes(want) && p.steady(tb, name, input) {
				tb.Errorf("%s over %#v, no plan: %s", text, object, diff)
			}
			continue
		}
		n.sure++
		if diff := differ(got, nil, want); diff != "" && p.steady(tb, name, input) {
			tb.Errorf("%s over %#v: %s", text, object, diff)
		}
	}
}

// hashes reports the fault of cel-go that asks a map for bytes. Here variables.map is a map of Go, which only lacks them; no
// object has bytes.
func hashes(v ref.Val) bool {
	fault, bad := v.(*types.Err)
	return bad && strings.Contains(fault.Error(), "unhashable type types.Bytes")
}

func (p *pair) steady(tb testing.TB, name string, input map[string]any) bool {
	return steady(func() ref.Val { return p.oracle.state(input, nil).value(tb, name) })
}

// TestExpressions holds the corners of the language to cel-go's answer.
func TestExpressions(t *testing.T) {
	for name, texts := range map[string][]string{"one": one, "two": two} {
		t.Run(name, func(t *testing.T) {
			p := compile(t, texts)
			var n tally
			for _, a := range values {
				if name == "one" {
					p.hold(t, map[string]any{"a": a}, &n)
					continue
				}
				for _, b := range values {
					p.hold(t, map[string]any{"a": a, "b": b}, &n)
				}
			}
			if name == "one" {
				for _, object := range values {
					p.hold(t, object, &n)
				}
			}
			planned := 0
			for _, e := range p.programs[len(beside):] {
				if e.plan != nil {
					planned++
				}
			}
			t.Logf("%d of %d expressions compile, %d have a plan; %d answers of a plan, %d of cel-go", len(p.texts), len(texts), planned, n.sure, n.fell)
		})
	}
}

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
	for seed := range uint64(200) {
		all += byChance(t, seed, &n)
	}
	t.Logf("%d expressions, %d answers of a plan, %d of cel-go", all, n.sure, n.fell)
}

// FuzzExpressions writes expressions by chance and holds them to cel-go.
func FuzzExpressions(f *testing.F) {
	f.Add(uint64(0))
	f.Fuzz(func(t *testing.T, seed uint64) { byChance(t, seed, &tally{}) })
}
