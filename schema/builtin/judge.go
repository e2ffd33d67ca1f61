package builtin

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/schema/fault"
)

const (
	// maxDepth is 200 levels, as deep as package manifest reads.
	maxDepth = 200
	// manyFaults is how many are looked for; the rest would not be told.
	manyFaults = 5 * fault.Most
)

// Judge answers with what is wrong with an object on these servers, sorted by place: what the API server refuses of a create
// with strict field validation, kubectl's own choice. Objects of other groups than Kubernetes' own have no faults here. The
// values must be what JSON decodes to: map[string]any, []any, string, bool, int64, float64, nil. It takes time in proportion
// to the object and goes at most maxDepth levels down.
func (s *Set) Judge(obj map[string]any, on Servers) []fault.Fault {
	var name id
	name.apiVersion, _ = obj["apiVersion"].(string)
	name.kind, _ = obj["kind"].(string)
	k, known := s.kinds[name]
	if !known {
		if !s.groups[name.group()] || name.kind == "" {
			return nil
		}
		return []fault.Fault{s.notServed(name)}
	}
	w := walk{set: s, steps: make([]step, 0, 24), asked: on.each, secret: name.kind == "Secret"}
	if w.asked == 0 {
		w.asked = s.all
	}
	if w.fields(obj, k.of); len(w.found) == 0 && w.asked&^k.in == 0 {
		return nil
	}
	// Something is wrong: once more, in the order of the keys, for the same answer every time.
	w.ordered, w.found = true, nil
	if lacking := w.asked &^ k.in; lacking != 0 {
		w.found = append(w.found, found{s.notEverywhere(name, k.in, w.asked), lacking})
	}
	w.fields(obj, k.of)
	return fault.Sorted(w.decide(on.each != 0))
}

// found is a fault and the servers that refuse the object for it.
type found struct {
	fault.Fault
	on mask
}

// walk goes through one object.
type walk struct {
	set   *Set
	asked mask
	// secret hides values, lax asks for no field and no certain word: what stands below status is the server's to fill.
	secret, lax bool
	// ordered goes through maps by their sorted keys, and does not end at the first fault.
	ordered bool
	steps   []step
	found   []found
}

// enough reports whether to go on is idle.
func (w *walk) enough() bool { return len(w.found) > manyFaults || !w.ordered && len(w.found) > 0 }

// each visits the entries of a map until there is enough.
func (w *walk) each(m map[string]any, visit func(w *walk, key string, v any, in *place), in place) {
	if !w.ordered {
		for key, v := range m {
			if visit(w, key, v, &in); w.enough() {
				return
			}
		}
		return
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if visit(w, key, m[key], &in); w.enough() {
			return
		}
	}
}

// place is what the entries of a map are judged by.
type place struct {
	of     *structure
	values *node
}

// step leads into a map by its key, or into a list by its index, which is -1 in a map.
type step struct {
	key   string
	index int
}

// decide says which faults count. Where any server is enough and one of them finds nothing wrong there are none; where
// faults leave no server, those that hold on every server come first and alone.
func (w *walk) decide(each bool) (faults []fault.Fault) {
	var refused mask
	everywhere := false
	for _, f := range w.found {
		refused |= f.on
		everywhere = everywhere || f.on == w.asked
	}
	if !each && refused != w.asked {
		return nil
	}
	for _, f := range w.found {
		if each || !everywhere || f.on == w.asked {
			faults = append(faults, f.Fault)
		}
	}
	return faults
}

// fields judges the fields of a structure.
func (w *walk) fields(m map[string]any, t *structure) {
	w.set.load(t)
	if len(w.steps) > maxDepth {
		w.add("", w.asked, "found more than %d levels of nesting; flatten it", maxDepth)
		return
	}
	w.each(m, (*walk).field, place{of: t})
	if w.lax {
		return
	}
	for _, f := range t.required {
		if m[f.name] == nil {
			w.add("", f.in, "field %s is missing; add it", f.name)
		}
	}
}

// field judges one field of a structure.
func (w *walk) field(key string, v any, in *place) {
	f := in.of.fields[key]
	if f == nil {
		w.unknown(key, in.of)
		return
	}
	if lacking := w.asked &^ f.in; lacking != 0 {
		w.later(key, lacking)
	}
	if v == nil {
		return // as if it were not there
	}
	w.steps = append(w.steps, step{key, -1})
	root := len(w.steps) == 1
	w.lax = w.lax || root && key == "status"
	w.value(v, &f.is)
	w.lax = w.lax && !root
	w.steps = w.steps[:len(w.steps)-1]
}

// value judges a value that is not null.
func (w *walk) value(v any, n *node) {
	switch n.form {
	case structured:
		if m, ok := v.(map[string]any); ok {
			w.fields(m, n.at)
			return
		}
	case mapping:
		if m, ok := v.(map[string]any); ok {
			w.values(m, n.of)
			return
		}
	case list:
		if items, ok := v.([]any); ok {
			w.items(items, n.of)
			return
		}
	default:
		if n.takes(v) || w.lax && n.form == enumeration && reflect.TypeOf(v).Kind() == reflect.String {
			return
		}
	}
	w.wrong(v, n)
}

func (w *walk) values(m map[string]any, of *node) {
	if of.form != anything {
		w.each(m, (*walk).entry, place{values: of})
	}
}

// entry judges one value of a map.
func (w *walk) entry(key string, v any, in *place) {
	if v == nil {
		return
	}
	w.steps = append(w.steps, step{key, -1})
	w.value(v, in.values)
	w.steps = w.steps[:len(w.steps)-1]
}

func (w *walk) items(items []any, of *node) {
	for i, v := range items {
		if w.enough() {
			return
		}
		if v == nil {
			continue
		}
		w.steps = append(w.steps, step{"", i})
		w.value(v, of)
		w.steps = w.steps[:len(w.steps)-1]
	}
}

// pointer is where the walk is, and below that a key.
func (w *walk) pointer(key string) string {
	var b strings.Builder
	for _, s := range w.steps {
		b.WriteByte('/')
		if s.index >= 0 {
			b.WriteString(strconv.Itoa(s.index))
		} else {
			b.WriteString(fault.Escape(s.key))
		}
	}
	if key != "" {
		b.WriteByte('/')
		b.WriteString(fault.Escape(key))
	}
	return b.String()
}

func (w *walk) add(key string, on mask, format string, args ...any) {
	if on &= w.asked; on != 0 {
		w.found = append(w.found, found{fault.Fault{Path: w.pointer(key), Message: fmt.Sprintf(format, args...)}, on})
	}
}

// unknown is the fault of a field that no server knows.
func (w *walk) unknown(key string, t *structure) {
	w.found = append(w.found, found{fault.Unknown(key, w.pointer(key), slices.Sorted(maps.Keys(t.fields))), w.asked})
}

// later is the fault of a field that some servers do not know.
func (w *walk) later(key string, lacking mask) {
	w.add(key, lacking, "Kubernetes %s does not know the field %s; remove it for these servers", w.set.say(lacking), key)
}

// wrong is the fault of a value that is not what its field holds.
func (w *walk) wrong(v any, n *node) {
	what, wanted, fix := w.show(v), "", ""
	switch n.form {
	case structured, mapping:
		wanted, fix = fault.WantType("object", false, v)
	case list:
		wanted, fix = fault.WantType("array", false, v)
	case enumeration:
		given, _ := v.(string)
		wanted, fix = fault.OneOf(n.words), fault.DidYouMean(given, n.words)
	case text:
		wanted, fix = fault.WantType("string", false, v)
	case boolean:
		wanted, fix = fault.WantType("boolean", false, v)
	case int32s, int64s:
		wanted, fix = fault.WantType("integer", false, v)
		if isNumber(v) {
			wanted = "a whole number of " + strings.TrimPrefix(formWords[n.form], "int") + " bits"
		}
	case double:
		wanted = "a number"
	case quantity:
		wanted = "a quantity, such as 2, 500m or 128Mi"
	case intOrString:
		wanted = "a whole number or text"
	case instant:
		wanted = "a time, such as 2027-01-31T18:00:00Z"
	case base64Text:
		wanted = "base64"
		if w.secret {
			fix = "; what is not encoded belongs in stringData"
		}
		if _, isText := v.(string); isText {
			what = "text that is no base64"
		}
	}
	if w.secret {
		if i := strings.IndexByte(fix, ':'); i > 0 { // what follows repeats the value
			fix = fix[:i]
		}
	}
	w.add("", w.asked, "found %s; want %s%s", what, wanted, fix)
}

// show writes a value, but of a Secret only what sort of value it is.
func (w *walk) show(v any) string {
	if !w.secret {
		return fault.Show(v, nil)
	}
	switch v.(type) {
	case string:
		return "text"
	case bool:
		return "true or false"
	case map[string]any, []any:
		return fault.Show(v, nil)
	}
	return "a number"
}
