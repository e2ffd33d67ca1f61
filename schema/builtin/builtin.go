// Package builtin judges objects of Kubernetes' own kinds by the schemas of the servers 1.30 to 1.37: wrong types, unknown
// and missing fields, values outside an enumeration, and API versions that a server does not serve.
//
// The schemas are one text, kinds.txt, made by tools/builtin; a type is read of it when the first object needs it. What a
// server checks in code (names, ports in range, fields that exclude each other) is not judged, nor are kinds of groups that
// are not Kubernetes' own. The command line calls it for every object.
package builtin

import (
	_ "embed" // kinds.txt and removed.txt
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

//go:embed kinds.txt
var kindsText string

//go:embed removed.txt
var removedText string

// Set holds what every server knows. It is immutable and safe for concurrent use.
type Set struct {
	oldest int // the minor version of the server of bit 0
	all    mask
	kinds  map[id]kind
	// groups are those of the kinds, and those of kinds that were removed before the oldest server.
	groups  map[string]bool
	removed map[id]removal
	types   map[string]*structure
}

// id names a kind as an object does.
type id struct{ apiVersion, kind string }

// group is "" for the core group.
func (i id) group() string {
	group, _, ok := strings.Cut(i.apiVersion, "/")
	if !ok {
		return ""
	}
	return group
}

type kind struct {
	in mask
	of *structure
}

// structure is a type with fields. They are read when first asked for.
type structure struct {
	text string
	read sync.Once

	fields   map[string]*field
	required []*field
}

type field struct {
	name string
	in   mask
	is   node
}

// node is what a value must be.
type node struct {
	form form
	// of is what the items of a list and the values of a map are.
	of *node
	// at is the type of a structure.
	at *structure
	// words are the values of an enumeration.
	words []string
}

// form is how a value is written.
type form uint8

const (
	anything form = iota
	text
	boolean
	int32s
	int64s
	double
	quantity
	intOrString
	instant
	base64Text
	enumeration
	list
	mapping
	structured
)

// New indexes the kinds. An error means that the build is broken.
func New() (*Set, error) {
	s := &Set{kinds: map[id]kind{}, groups: map[string]bool{}, types: map[string]*structure{}}
	head, types, ok := strings.Cut(kindsText, "\ntype ")
	if !ok {
		return nil, errors.New("kinds.txt has no type")
	}
	for ok {
		var block string
		block, types, ok = strings.Cut(types, "\ntype ")
		name, fields, _ := strings.Cut(block, "\n")
		s.types[name] = &structure{text: fields}
	}
	for line := range strings.SplitSeq(head, "\n") {
		if err := s.headLine(line); err != nil {
			return nil, fmt.Errorf("kinds.txt: %q: %w", line, err)
		}
	}
	return s, s.readRemoved()
}

func (s *Set) headLine(line string) error {
	words := strings.Fields(line)
	switch {
	case len(words) == 0 || strings.HasPrefix(words[0], "#"):
	case words[0] == "servers" && len(words) > 1:
		parts := strings.Split(words[1], ".")
		if len(parts) != 3 {
			return errors.New("want releases")
		}
		oldest, err := strconv.Atoi(parts[1])
		if err != nil {
			return err
		}
		s.oldest, s.all = oldest, 1<<(len(words)-1)-1
	case words[0] == "kind" && len(words) >= 4:
		k := kind{in: s.all, of: s.types[words[3]]}
		if k.of == nil {
			return errors.New("no such type")
		}
		if len(words) > 4 {
			in, err := s.minors(words[4])
			if err != nil {
				return err
			}
			k.in = in
		}
		name := id{words[1], words[2]}
		s.kinds[name], s.groups[name.group()] = k, true
	default:
		return errors.New("want servers or kind")
	}
	return nil
}

// load reads the fields of a type once. A line that means nothing is passed over; a test reads them all.
func (s *Set) load(t *structure) {
	t.read.Do(func() {
		t.fields = make(map[string]*field, strings.Count(t.text, "\n")+1)
		for line := range strings.SplitSeq(t.text, "\n") {
			f, required, err := s.field(line)
			if err != nil {
				continue
			}
			t.fields[f.name] = f
			if required {
				t.required = append(t.required, f)
			}
		}
	})
}

// field reads a line such as " selector! meta.v1.LabelSelector 30-33".
func (s *Set) field(line string) (f *field, required bool, err error) {
	words := strings.Fields(line)
	if len(words) < 2 || len(words) > 3 {
		return nil, false, errors.New("want a name, a type and perhaps versions")
	}
	f = &field{in: s.all}
	f.name, required = strings.CutSuffix(words[0], "!")
	if len(words) == 3 {
		if f.in, err = s.minors(words[2]); err != nil {
			return nil, false, err
		}
	}
	f.is, err = s.node(words[1])
	return f, required, err
}

func (s *Set) node(word string) (node, error) {
	if of, ok := strings.CutPrefix(word, "[]"); ok {
		items, err := s.node(of)
		return node{form: list, of: &items}, err
	}
	if of, ok := strings.CutPrefix(word, "map:"); ok {
		values, err := s.node(of)
		return node{form: mapping, of: &values}, err
	}
	if words, ok := strings.CutPrefix(word, "one-of:"); ok {
		return node{form: enumeration, words: strings.Split(words, "|")}, nil
	}
	for f, name := range formWords {
		if word == name {
			return node{form: f}, nil
		}
	}
	at := s.types[word]
	if at == nil {
		return node{}, fmt.Errorf("no type %q", word)
	}
	return node{form: structured, at: at}, nil
}

// formWords are the words of kinds.txt for what is no list, map, enumeration or structure.
var formWords = map[form]string{
	anything: "any", text: "string", boolean: "boolean", int32s: "int32", int64s: "int64", double: "double", quantity: "quantity",
	intOrString: "int-or-string", instant: "time", base64Text: "bytes",
}
