package auditlog

import (
	"bytes"
	"cmp"
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

const (
	// maxSpecs bounds the specs that are remembered, 32 MiB: Guards of 3,000 namespaces are about 20. The one that was written
	// longest ago is forgotten first, and is then seen for the first time again.
	maxSpecs = 32 << 20
	// maxFields is how many changes a record names, maxPointer how long the pointer of each may be, in bytes, and maxValue what it
	// was or became, in runes: together less than an entry of the ledger.
	maxFields, maxPointer, maxValue = 64, 160, 64
	// maxNested is how deep objects are compared; what lies deeper is compared as one text.
	maxNested = 32
)

// spec is what an object was at one generation, which the API server counts up whenever the spec changes.
type spec struct {
	object     finding.Subject
	uid        string
	generation int64
	text       []byte // the spec, with sorted keys; nil where the object is gone
	sum        string // SHA-256 of text
}

// specs remembers the latest spec of each object. The zero value is ready and safe for many goroutines.
type specs struct {
	mu    sync.Mutex // guards what follows
	at    map[finding.Subject]*list.Element
	order *list.List // of spec, the one written last first
	bytes int
}

// of is the latest known spec of an object; its text is nil where none is.
func (s *specs) of(object finding.Subject) spec {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.at[object]; e != nil {
		return e.Value.(spec)
	}
	return spec{}
}

// add remembers what objects became. What is older than what is known is left out: batches may overtake each other.
func (s *specs) add(all []spec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at, s.order = map[finding.Subject]*list.Element{}, list.New()
	}
	for _, n := range all {
		e := s.at[n.object]
		if e != nil {
			if have := e.Value.(spec); n.text != nil && have.uid == n.uid && have.generation > n.generation {
				continue
			}
			s.drop(e)
		}
		if n.text == nil || len(n.text) > maxSpecs/4 {
			continue
		}
		s.at[n.object] = s.order.PushFront(n)
		s.bytes += len(n.text)
		for s.bytes > maxSpecs {
			s.drop(s.order.Back())
		}
	}
}

// drop forgets one. s.mu is held.
func (s *specs) drop(e *list.Element) {
	old := s.order.Remove(e).(spec)
	delete(s.at, old.object)
	s.bytes -= len(old.text)
}

// contents compares what a write answered with what is remembered of the object. They are nil where the event carries none.
// Nothing is remembered before the batch is kept: it may come again.
func (h *Handler) contents(b *batch, c Change, object json.RawMessage) *record.Contents {
	if c.Observed.Operation == "DELETE" {
		b.specs = append(b.specs, spec{object: c.Subject}) // its end; without a name nothing is known by it
		return nil
	}
	now, ok := specOf(c.Subject, object)
	if !ok {
		return nil
	}
	before := h.specs.of(c.Subject)
	for _, s := range b.specs {
		if s.object == c.Subject {
			before = s
		}
	}
	b.specs = append(b.specs, now)
	contents := &record.Contents{After: now.sum}
	switch {
	case c.Observed.Operation == "CREATE": // all of it is new
	case before.text == nil || before.uid != now.uid || now.generation < before.generation || now.generation > before.generation+1:
		contents.FirstSeen = true // or a write between the two was not seen: what that changed must not be laid to this one
	default:
		contents.Before = before.sum
		contents.Fields, contents.More = compare(before.text, now.text)
	}
	return contents
}

// specOf reads the object that an event carries. Status and metadata are not looked at.
func specOf(subject finding.Subject, object json.RawMessage) (spec, bool) {
	var o struct {
		Kind     string `json:"kind"`
		Metadata struct {
			UID        string `json:"uid"`
			Generation int64  `json:"generation"`
		} `json:"metadata"`
		Spec json.RawMessage `json:"spec"`
	}
	if len(object) == 0 || json.Unmarshal(object, &o) != nil || o.Kind != subject.Kind || o.Metadata.UID == "" || len(o.Spec) == 0 {
		return spec{}, false
	}
	value, ok := parse(o.Spec)
	if !ok {
		return spec{}, false
	}
	text, err := json.Marshal(value) // with sorted keys
	if err != nil {
		return spec{}, false
	}
	sum := sha256.Sum256(text)
	return spec{subject, o.Metadata.UID, o.Metadata.Generation, text, hex.EncodeToString(sum[:])}, true
}

// parse reads JSON, numbers as they are written.
func parse(text []byte) (value any, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return value, dec.Decode(&value) == nil
}

// compare is what two specs differ in, sorted by path; more is how much finds no room.
func compare(before, after []byte) (fields []record.Field, more int) {
	was, ok := parse(before)
	is, ok2 := parse(after)
	if !ok || !ok2 {
		return nil, 0
	}
	d := &differ{}
	d.walk("/spec", was, is, 0)
	return d.fields, d.more
}

// differ collects differences.
type differ struct {
	fields []record.Field
	more   int
}

// walk compares two values. nil is nothing there: the API server stores no nulls.
func (d *differ) walk(path string, was, is any, depth int) {
	a, objects := was.(map[string]any)
	b, objects2 := is.(map[string]any)
	c, lists := was.([]any)
	e, lists2 := is.([]any)
	switch {
	case depth == maxNested:
		d.leaf(path, was, is)
	case objects && objects2:
		keys := maps.Clone(a)
		maps.Copy(keys, b)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			d.walk(path+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(key), a[key], b[key], depth+1)
		}
	case lists && lists2 && texts(c) && texts(e):
		d.members(path, c, e)
	case lists && lists2:
		for i := range max(len(c), len(e)) {
			d.walk(path+"/"+strconv.Itoa(i), at(c, i), at(e, i), depth+1)
		}
	case (objects || lists) && is == nil, (objects2 || lists2) && was == nil:
		d.appeared(path, was, is, depth)
	default:
		d.leaf(path, was, is)
	}
}

// appeared compares an object or list with nothing: what is in it came or went.
func (d *differ) appeared(path string, was, is any, depth int) {
	switch v := cmp.Or[any](was, is).(type) {
	case map[string]any:
		if len(v) == 0 {
			d.leaf(path, was, is)
			return
		}
		empty := map[string]any{}
		if was == nil {
			d.walk(path, empty, is, depth)
		} else {
			d.walk(path, was, empty, depth)
		}
	case []any:
		if len(v) == 0 {
			d.leaf(path, was, is)
			return
		}
		if was == nil {
			d.walk(path, []any{}, is, depth)
		} else {
			d.walk(path, was, []any{}, depth)
		}
	}
}

// texts reports whether a list holds texts and numbers alone.
func texts(all []any) bool {
	return !slices.ContainsFunc(all, func(v any) bool {
		switch v.(type) {
		case string, json.Number, bool:
			return false
		}
		return true
	})
}

func at(all []any, i int) any {
	if i < len(all) {
		return all[i]
	}
	return nil
}

// members compares lists as sets, for one text more at the front would else change all places. Another order is a change of all.
func (d *differ) members(path string, was, is []any) {
	if slices.Equal(was, is) {
		return
	}
	left := map[any]int{}
	for _, v := range is {
		left[v]++
	}
	n := len(d.fields) + d.more
	for _, v := range was {
		if left[v]--; left[v] < 0 {
			d.leaf(path, v, nil)
		}
	}
	clear(left)
	for _, v := range was {
		left[v]++
	}
	for _, v := range is {
		if left[v]--; left[v] < 0 {
			d.leaf(path, nil, v)
		}
	}
	if len(d.fields)+d.more == n {
		d.leaf(path, any(whole(was)), any(whole(is)))
	}
}

// whole is a list as one text.
func whole(v any) string {
	text, _ := json.Marshal(v) // it was JSON
	return string(text)
}

// leaf adds a difference, where there is one.
func (d *differ) leaf(path string, was, is any) {
	from, to := valueOf(was), valueOf(is)
	if from == nil && to == nil || from != nil && to != nil && *from == *to {
		return
	}
	if len(d.fields) == maxFields {
		d.more++
		return
	}
	f := record.Field{Path: clean(path, maxPointer), From: from, To: to, Personal: path == "/spec/owner" || personal(from) || personal(to)}
	if !f.Personal { // a reference stands for the whole of a name
		f.From, f.To = short(from), short(to)
	}
	d.fields = append(d.fields, f)
}

// valueOf is a text as it is and all else in JSON, nil for nothing.
func valueOf(v any) *string {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return &v
	}
	return new(whole(v))
}

// mail is what looks like a mail address, wherever it stands in a text.
var mail = regexp.MustCompile(`[^\s@/]+@[^\s@/:]+\.[^\s@/:]+`)

// personal reports whether a value may name a person. Of the kinds that are compared the owner of a Tenant is the one field that
// is meant to; others may hold a mail address in free text.
func personal(v *string) bool { return v != nil && mail.MatchString(*v) }

// short is a value without what a terminal obeys, cut to maxValue runes.
func short(v *string) *string {
	if v == nil {
		return nil
	}
	runes := []rune(clean(*v, 4*maxValue+8))
	if len(runes) > maxValue {
		runes = append(runes[:maxValue-1], '…')
	}
	return new(string(runes))
}
