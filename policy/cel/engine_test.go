package cel

import (
	"reflect"
	"sync"
	"testing"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/policy"
)

// expressions are read by a plan and by cel-go: what a plan is sure of must be what cel-go says.
var expressions = []string{
	`object.text + 'x'`, `object.list.map(i, i + 1)`, `object.list.filter(i, i > 1)`, `object.list.map(i, i > 1, string(i))`,
	`object.list.exists(i, i == 3)`, `object.list.all(i, i < 3)`, `object.list.exists(i, i.x == 3 || true)`, `object.list.exists_one(i, i == 1)`,
	`object.list.exists(i, object.list.exists(j, i == j && j == 2))`, `object.map.exists(k, k == 'a')`, `object.map.all(k, object.map[k] == 1)`,
	`object.?map.?a.orValue(0)`, `object.?none.?a.orValue('d')`, `object.map.?a.hasValue()`, `object.?text.?a.hasValue()`, `object.?list.?a.hasValue()`,
	`object.?list[?7].orValue(9)`, `object.?list[0].orValue(9)`, `object.list[?0].optMap(v, v + 1).orValue(0)`, `object.?none.optMap(v, v + 1).orValue(0)`,
	`(object.flag ? object.?map : object.?none).?a.orValue(5)`, `object.?map.?a == optional.of(1)`, `object.?nil.hasValue()`, `object.nil == null`,
	`has(object.map.a)`, `has(object.map.z)`, `has(object.text.z)`, `has(object.none.z)`, `'a' in object.map`, `2 in object.list`, `'x' in object.text`,
	`object.list[1]`, `object.list[9]`, `object.list[object.map.a]`, `object.map['a']`, `object.map['z']`, `object.map[1]`, `object.none`,
	`object.flag && object.none`, `object.none || object.flag`, `!object.flag`, `!object.text`, `object.flag ? 1 : object.none`, `object.text ? 1 : 2`,
	`object.map.a == 1.0`, `object.real == 1.5`, `object.real > 1`, `object.real + 1.0`, `object.text < 'z'`, `object.text < 1`, `1 < 1.5`,
	`object.list == [1, 2, 3]`, `object.list + ['x']`, `object.map == {'a': 1}`, `object.list != []`, `{'k': dyn(object.text)}.k`,
	`size(object.text)`, `'größe'.size()`, `object.list.size()`, `object.map.size()`, `object.flag.size()`, `object.text.matches('^t.x')`, `object.text.matches(object.text)`,
	`object.text.startsWith('te')`, `object.list.startsWith('te')`, `object.text.contains('ex')`, `object.text.endsWith('t')`, `object.text.split('x')`,
	`object.text.substring(1, 3)`, `object.text.substring(9)`, `object.text.lowerAscii()`, `object.text.replace('t', 'T')`, `object.text.indexOf('x')`,
	`['a', 'b'].join('/')`, `object.list.indexOf(2)`, `object.list.isSorted()`, `object.list.sum()`, `object.list.max()`, `string(object.real)`, `int(object.text)`,
	`quantity('1Gi').isGreaterThan(quantity('500Mi'))`, `isQuantity(object.text)`, `quantity(object.text)`, `quantity('1') == quantity('1000m')`,
	`ip('10.0.0.1').isLoopback()`, `isIP(object.text)`, `cidr('10.0.0.0/8').containsIP('10.1.2.3')`, `sets.contains(object.list, [1])`, `url('https://a/b').getHost()`,
	`duration('1h') > duration('1m')`, `timestamp('2026-01-01T00:00:00Z').getFullYear()`, `type(object.text) == string`, `b'abc'.size()`, `1u + 2u == 3u`,
	`9223372036854775807 + 1`, `-9223372036854775807 - 2`, `object.list.map(i, -i)`, `object.list.map(i, i * 2 % 3)`, `7 / 0`, `dyn(1) == dyn('1')`,
	`object.list.map(object, object)`, `object.list.map(i, object.list.map(i, i + 1))`, `object.list.map(i, variables.once + i)`, `variables.bad`, `variables.none == 1`,
	`'%s is %d'.format([object.text, object.map.a])`, `object.items`, `object.items.map(x, x.?n.orValue(0))`, `object.items.filter(x, has(x.n)).map(x, x.n)`,
	`request.operation`, `oldObject == null`, `oldObject.x`, `params.spec`, `[object.none]`, `{'a': object.none}`, `[object.flag ? [1] : [], [2]].map(l, l.size())`,
}

// TestPlan evaluates each expression both ways.
func TestPlan(t *testing.T) {
	c, err := newCompiler()
	if err != nil {
		t.Fatal(err)
	}
	compile := func(name, text string, names map[string]int) *program {
		p, err := c.compile(control.Variable{Name: name, Expression: text}, names)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return p
	}
	once, bad := compile("once", "object.list[0] + 1", nil), compile("bad", "object.none", nil)
	names := map[string]int{"once": 0, "bad": 1, "none": 2}
	planned, sures := 0, 0
	for _, text := range expressions {
		p := compile("it", text, names)
		fresh := func() *frame {
			return &frame{programs: []*program{once, bad, compile("none", "0", nil)}, slots: make([]slot, 3), object: map[string]any{
				"text": "text", "flag": true, "real": 1.5, "nil": nil, "map": map[string]any{"a": int64(1)},
				"list": []any{int64(1), int64(2), int64(3)}, "items": []any{map[string]any{"n": int64(1)}, map[string]any{}},
			}, params: map[string]any{"spec": map[string]any{}}, request: map[string]any{"operation": "CREATE"}}
		}
		if p.plan != nil {
			planned++
		}
		got, sure := fresh().run(p)
		want, err := fresh().exactly(p)
		if !sure {
			continue
		}
		if sures++; err != nil {
			t.Errorf("%s = %v, cel-go says %v", text, got, err)
		} else if !reflect.DeepEqual(got, want) {
			if same, ok := equal(got, want); !ok || !same {
				t.Errorf("%s = %#v, cel-go says %#v", text, got, want)
			}
		}
	}
	t.Logf("%d expressions, %d planned, %d sure", len(expressions), planned, sures)
}

// TestPlanned holds every rule of the catalogue to having a plan: one that has none is right, and slow.
func TestPlanned(t *testing.T) {
	sets := embedded(t)
	for _, s := range sets {
		programs, err := s.(*set).compiled()
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, p := range programs.all {
			if p != nil && (p.ready() != nil || p.plan == nil) {
				left = append(left, p.name)
			}
		}
		if len(left) > 0 {
			t.Errorf("%s: variables %v have no plan; what indexes a dyn by a key that may be missing has one as optional.of(x)[?string(key)]", s.(*set).group.Name, left)
		}
	}
}

// TestParallel judges different objects at once: no object's values may show in another's findings.
func TestParallel(t *testing.T) {
	engine := policy.New(embedded(t)...)
	guard, err := policy.NewGuard(casefile.Guard())
	if err != nil {
		t.Fatal(err)
	}
	judge := func(i int) []finding.Finding {
		containers := make([]any, 1+i%5)
		for k := range containers {
			containers[k] = map[string]any{"image": "image", "securityContext": map[string]any{"privileged": k == i%5}}
		}
		object := map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": map[string]any{"containers": containers}}
		return engine.Judge(policy.Input{Object: object, Guard: guard, Namespace: "payments-dev"}, finding.Subject{APIVersion: "v1", Kind: "Pod"})
	}
	want := make([][]finding.Finding, 5)
	for i := range want {
		want[i] = judge(i)
	}
	var work sync.WaitGroup
	for n := range 8 {
		work.Go(func() {
			for i := range 200 {
				if got := judge(i + n); !reflect.DeepEqual(got, want[(i+n)%5]) {
					t.Errorf("object %d: %v, want %v", i+n, got, want[(i+n)%5])
					return
				}
			}
		})
	}
	work.Wait()
}

func embedded(t *testing.T) []policy.Set {
	t.Helper()
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	sets, err := Lazy(cat)
	if err != nil {
		t.Fatal(err)
	}
	return sets
}
