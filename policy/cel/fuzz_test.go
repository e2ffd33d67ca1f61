package cel

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"ringfence.dev/ringfence/policy"
)

// odd are values that an object may be given anywhere: of every type of JSON, and what rules look for.
var odd = []any{
	nil, true, false, "", "a", "/", "~", "true", "0", "é", "日本語", "\xff", "a\x00", "%s", "'", "x at /y", " at /", "*", "..", "root", "latest",
	"registry.bank.example/a@sha256:0", "docker.io/a:b@", "ALL", "NET_ADMIN", "Always", "0.0.0.0/0", "10.20.1.1/32", "::/0", "10.0.0.0/33", "payments",
	"cluster-admin", "system:masters", "oidc:payments-admins", "100m", "1Gi", "-1", "1e400", "9223372036854775808", "v1", "extensions/v1beta1", "RuntimeDefault",
	"-----BEGIN PRIVATE KEY-----", "2099-01-01T00:00:00Z", "https://u:p@h/", "runtime/default",
	int64(0), int64(1), int64(-1), int64(443), int64(65536), int64(1<<53 + 1), int64(-1 << 63), int64(1<<63 - 1), 0.0, 1.0, 0.5, -1.5, 1e300, 9.3e18,
	[]any{}, []any{nil}, []any{"a", "a"}, []any{"*"}, []any{int64(0), "b", 1.0}, []any{map[string]any{}}, []any{[]any{}},
	map[string]any{}, map[string]any{"a": nil}, map[string]any{"": "x"}, map[string]any{"name": "a", "image": "a", "securityContext": map[string]any{}},
}

// mutation reads changes of an object from the bytes of a fuzzer.
type mutation struct {
	data  []byte
	names []string
}

func (m *mutation) next(below int) int {
	if len(m.data) == 0 || below <= 0 {
		return 0
	}
	b := int(m.data[0])
	m.data = m.data[1:]
	if below > 256 && len(m.data) > 0 {
		b = b<<8 | int(m.data[0])
		m.data = m.data[1:]
	}
	return b % below
}

// apply is a copy of v with one place of it changed.
func (m *mutation) apply(v any, depth int) any {
	stay := depth > 1 && m.next(4) == 0
	switch v := v.(type) {
	case map[string]any:
		if len(v) > 0 && !stay {
			key := slices.Sorted(maps.Keys(v))[m.next(len(v))]
			out := maps.Clone(v)
			out[key] = m.apply(v[key], depth+1)
			return out
		}
	case []any:
		if len(v) > 0 && !stay {
			out := slices.Clone(v)
			at := m.next(len(v))
			out[at] = m.apply(v[at], depth+1)
			return out
		}
	}
	return m.change(v)
}

// change is another value in the place of v.
func (m *mutation) change(v any) any {
	how := m.next(8)
	switch v := v.(type) {
	case map[string]any:
		out := maps.Clone(v)
		switch {
		case how < 3 && len(v) > 0:
			delete(out, slices.Sorted(maps.Keys(v))[m.next(len(v))])
			return out
		case how < 6:
			out[m.names[m.next(len(m.names))]] = m.value()
			return out
		}
	case []any:
		switch {
		case how < 2 && len(v) > 0:
			at := m.next(len(v))
			return slices.Concat(v[:at+1], v[at:])
		case how < 3 && len(v) > 0:
			at := m.next(len(v))
			return slices.Delete(slices.Clone(v), at, at+1)
		case how < 4 && len(v) > 0:
			return slices.Repeat(v, 1+m.next(120/len(v)+1))
		case how < 6:
			return append(slices.Clone(v), m.value())
		}
	case string:
		other, _ := m.value().(string)
		switch at := m.next(len(v) + 1); how {
		case 0:
			return v[:at]
		case 1:
			return v[at:] + other
		case 2:
			return v[:at] + other + v[at:]
		}
	}
	return m.value()
}

func (m *mutation) value() any { return odd[m.next(len(odd))] }

// fields are the keys of everything in an object.
func fields(v any, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			into[key] = true
			fields(value, into)
		}
	case []any:
		for _, item := range v {
			fields(item, into)
		}
	}
}

// FuzzPlan changes the objects of the catalogue's cases and holds every rule of their groups to cel-go, the verdict to
// the derived policy, and each verdict to itself, evaluated again and by many at once.
func FuzzPlan(f *testing.F) {
	all, cases := hold(f)
	known := map[string]bool{}
	for i, c := range cases {
		fields(c.Object.Value, known)
		f.Add(uint16(i), fmt.Append(nil, c.File, i*i))
	}
	names := slices.Sorted(maps.Keys(known))
	f.Fuzz(func(t *testing.T, which uint16, data []byte) {
		c := cases[int(which)%len(cases)]
		in := inputs(t, c)[0]
		m := &mutation{data: data, names: names}
		switch m.next(8) {
		case 0:
			in.Guard = nil
		case 1, 2, 3:
			in.Operation, in.OldObject = "UPDATE", in.Object
			if c.Update() {
				in.OldObject = c.Old.Value
			}
		}
		if in.OldObject != nil && m.next(4) == 0 {
			if changed, ok := m.apply(in.OldObject, 0).(map[string]any); ok {
				in.OldObject = changed
			}
		}
		for range 8 {
			if changed, ok := m.apply(in.Object, 0).(map[string]any); ok && len(m.data) > 0 {
				in.Object = changed
			}
		}
		for _, h := range all {
			if h.judges(c.Object.Subject()) {
				h.agree(t, in, &tally{})
				h.again(t, in, h.verdict(t, in))
			}
		}
	})
}

// again judges once more, and twice at once.
func (h held) again(t *testing.T, in policy.Input, want []string) {
	var both sync.WaitGroup
	got := make([][]string, 2)
	for i := range got {
		both.Go(func() { got[i] = lines(h.Judge(in)) })
	}
	both.Wait()
	for _, again := range append(got, lines(h.Judge(in))) {
		if !slices.Equal(again, want) {
			t.Errorf("%s: judged again: %q, want %q", h.group.Name, again, want)
		}
	}
}
