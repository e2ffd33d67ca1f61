// Package manifest reads Kubernetes objects from YAML and JSON files and remembers where every field stands.
//
// It means by a value what the API server means by it (YAML 1.1 scalars, merge keys, JSON numbers), refuses what a
// person would not want guessed (duplicate keys, unknown fields, alias bombs) and is bounded in size and depth. It judges
// nothing and knows no schema. The command line and the catalogue loader call it.
package manifest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/finding"
)

// MaxDocument is 3 MiB, the largest request body the API server takes (k8s.io/apiserver MaxRequestBodyBytes), so no
// object that could be applied is larger. A file may hold any number of documents.
const MaxDocument = 3 << 20

// maxSkipped is 64 MiB: so much of a document that is too large is passed over in search of the next.
const maxSkipped = 64 << 20

// Error is what is wrong with an input, and where.
type Error struct {
	Location finding.Location
	// Message says what was found, what is wanted and what to do.
	Message string
}

// Error is file:line:column: message, without the place where there is none.
func (e *Error) Error() string {
	if e.Location == (finding.Location{}) {
		return e.Message
	}
	if e.Location.Line == 0 {
		return e.Location.Source() + ": " + e.Message
	}
	return e.Location.String() + ": " + e.Message
}

// Object is one Kubernetes object, with its places where it came of a file.
type Object struct {
	// Value is the object as the API server would decode it: map[string]any, []any, string, int64, float64, bool, nil.
	Value map[string]any

	in   finding.Location
	base int // lines before the document in its file
	root *yaml.Node

	// Where it stands in its document: in which of its YAML documents ("..." ends one), whose root is top, and where there.
	tree int
	top  *yaml.Node
	at   string
}

// NewObject is an object that came of no file: no field of it has a place.
func NewObject(value map[string]any) *Object { return &Object{Value: value} }

// APIVersion and Kind are never empty in an Object that Read yields.
func (o *Object) APIVersion() string { return text(o.Value["apiVersion"]) }

// Kind is the object's kind.
func (o *Object) Kind() string { return text(o.Value["kind"]) }

// Subject names the object as findings do.
func (o *Object) Subject() finding.Subject {
	meta, _ := o.Value["metadata"].(map[string]any)
	name := text(meta["name"])
	if name == "" {
		name = text(meta["generateName"])
	}
	return finding.Subject{APIVersion: o.APIVersion(), Kind: o.Kind(), Namespace: text(meta["namespace"]), Name: name}
}

func text(v any) string { s, _ := v.(string); return s }

// Locate is the place of the field that an RFC 6901 pointer names: its key, or the item of a list. For a field that is
// not there it is the nearest parent that is.
func (o *Object) Locate(pointer string) finding.Location {
	if o.root == nil {
		return finding.Location{}
	}
	at := o.root
	node := o.root
	for _, step := range PointerSteps(pointer) {
		key, value := child(node, step)
		if value == nil {
			break
		}
		at, node = key, value
	}
	return o.location(at)
}

func (o *Object) location(n *yaml.Node) finding.Location {
	return at(o.in, o.base+n.Line, n.Column)
}

// Read yields the objects of a file in order, items of Lists one by one. A document that cannot be used yields an *Error
// and reading goes on with the next. A file with no object at all yields an *Error. A read error of r ends the sequence.
func Read(r io.Reader, file string) iter.Seq2[*Object, error] {
	return func(yield func(*Object, error) bool) {
		for doc, err := range Split(r, file) {
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			for o, err := range doc.Objects() {
				if !yield(o, err) {
					return
				}
			}
		}
	}
}

// Document is the undecoded text of a file between two separators. It is independent of its file and of other documents,
// so that many can be decoded at once.
type Document struct {
	in     finding.Location
	base   int // lines before it in its file
	offset int // bytes before it in its file
	text   []byte
}

// Lines is the text of the wanted lines of the file, without their ends, as far as the document holds them.
func (d Document) Lines(wanted map[int]bool) map[int]string {
	lines, n := make(map[int]string, len(wanted)), d.base
	for text := range bytes.Lines(d.text) {
		if n++; wanted[n] {
			lines[n] = string(bytes.TrimRight(text, "\r\n"))
		}
	}
	return lines
}

// Mentions reports whether the text has a word in it anywhere: whether decoding it can be worth while.
func (d Document) Mentions(word string) bool { return bytes.Contains(d.text, []byte(word)) }

// Objects decodes the document; it yields what Read yields of it.
func (d Document) Objects() iter.Seq2[*Object, error] {
	return func(yield func(*Object, error) bool) {
		decode(d, func(doc *document, err error) bool {
			if err != nil {
				return yield(nil, err)
			}
			return doc.objects(yield)
		})
	}
}

// document is one YAML document, decoded.
type document struct {
	in   finding.Location
	base int
	node *yaml.Node
	tree int
}

var byteOrderMark = []byte("\ufeff")

// Split cuts r into documents at lines that begin with "---", holding one at a time; parts with nothing but comments are
// passed over. A document over MaxDocument yields an *Error and is skipped, and a file without any document yields one.
// A read error of r yields an *Error and ends the sequence.
func Split(r io.Reader, file string) iter.Seq2[Document, error] {
	return split(r, finding.Location{File: file}, true)
}

// SplitRendered is Split for what was rendered of a file, by what in says; a text without any document yields nothing.
func SplitRendered(text []byte, in finding.Location) iter.Seq2[Document, error] {
	return split(bytes.NewReader(text), in, false)
}

// at is a place in a file.
func at(in finding.Location, line, column int) finding.Location {
	in.Line, in.Column = line, column
	return in
}

func split(r io.Reader, file finding.Location, wantsAny bool) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		s := splitter{cur: Document{in: file}, yield: yield}
		if start, err := in.Peek(len(byteOrderMark)); err == nil && bytes.Equal(start, byteOrderMark) {
			s.read, _ = in.Discard(len(byteOrderMark))
			s.cur.offset = s.read
		}
		fresh := true // the next piece begins a line
		for {
			piece, err := in.ReadSlice('\n')
			if fresh && separator(piece) && !s.flush() {
				return
			}
			if s.add(piece); s.skipped > maxSkipped {
				yield(Document{}, &Error{at(file, s.cur.base+1, 1), tooLargeMessage + "; the rest of the file was not read"})
				return
			}
			fresh = err == nil
			if err == nil {
				s.line++
			}
			if err == nil || errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			switch {
			case !s.flush():
			case !errors.Is(err, io.EOF):
				yield(Document{}, &Error{file, "reading stopped: " + err.Error()})
			case !s.any && wantsAny:
				yield(Document{}, &Error{file, "the file is empty; want at least one Kubernetes object in YAML or JSON"})
			}
			return
		}
	}
}

const tooLargeMessage = "this document is larger than 3 MiB, the most the API server takes in a request; split it with --- lines into documents of one object each"

// maxRoom is 64 KiB: a document is seldom longer.
const maxRoom = 64 << 10

// splitter gathers the document that is being read.
type splitter struct {
	cur      Document
	line     int // lines read
	read     int // bytes read
	tooLarge bool
	skipped  int  // bytes of a document that is too large
	room     int  // bytes that the next document will need, if it is about as long as the last
	any      bool // something was yielded
	yield    func(Document, error) bool
}

func (s *splitter) add(piece []byte) {
	s.read += len(piece)
	switch {
	case s.tooLarge:
		s.skipped += len(piece)
	case len(s.cur.text)+len(piece) > MaxDocument:
		s.tooLarge, s.cur.text = true, nil
	default:
		if s.cur.text == nil {
			s.cur.text = make([]byte, 0, max(s.room, len(piece)))
		}
		s.cur.text = append(s.cur.text, piece...)
	}
}

// flush yields the gathered document, if it is one, and begins the next; false ends the reading.
func (s *splitter) flush() bool {
	done, tooLarge := s.cur, s.tooLarge
	s.cur, s.tooLarge, s.skipped = Document{in: done.in, base: s.line, offset: s.read}, false, 0
	s.room = min(len(done.text)+len(done.text)/8, maxRoom)
	if tooLarge {
		s.any = true
		return s.yield(Document{}, &Error{at(done.in, done.base+1, 1), tooLargeMessage})
	}
	if blank(done.text) {
		return true
	}
	s.any = true
	return s.yield(done, nil)
}

func separator(line []byte) bool {
	return bytes.HasPrefix(line, []byte("---")) && (len(line) == 3 || strings.ContainsRune(" \t\r\n", rune(line[3])))
}

// blank reports whether a document has nothing but separators, directives, comments and white space.
func blank(doc []byte) bool {
	for line := range bytes.Lines(doc) {
		line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\ufeff")))
		if rest, ok := bytes.CutPrefix(line, []byte("---")); ok {
			line = bytes.TrimSpace(rest)
		}
		if len(line) > 0 && line[0] != '#' && line[0] != '%' && string(line) != "..." {
			return false
		}
	}
	return true
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line ([0-9]+): )?`)

// decode parses a document; it yields more than one where "..." ends one inside it.
func decode(d Document, yield func(*document, error) bool) {
	if root, err := decodeJSON(d.text); err == nil {
		yield(&document{in: d.in, base: d.base, node: root}, nil)
		return
	}
	fault := func(line int, message string) {
		line = min(max(line, 1), bytes.Count(d.text, []byte("\n"))+1)
		yield(nil, &Error{at(d.in, d.base+line, 1), message})
	}
	if at := indexNotText(d.text); at >= 0 {
		fault(bytes.Count(d.text[:at], []byte("\n"))+1, "this is not text (a byte that YAML does not allow); want YAML or JSON in UTF-8")
		return
	}
	lines := newLineTable(d.text)
	dec := yaml.NewDecoder(bytes.NewReader(d.text))
	for tree := 0; ; tree++ {
		var node yaml.Node
		err := dec.Decode(&node)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			m := yamlLine.FindStringSubmatch(err.Error())
			line, _ := strconv.Atoi(m[1])
			line, _ = lines.place(line, 1)
			fault(line, "not valid YAML: "+strings.TrimPrefix(err.Error(), m[0])+"; correct the syntax")
			return
		}
		if len(node.Content) != 1 {
			continue
		}
		lone := loneTag(d.text, node.Content[0])
		lines.relocate(node.Content[0])
		if lone != nil {
			doc := document{in: d.in, base: d.base}
			if !yield(nil, doc.fault(lone, "the tag ! is not used in Kubernetes objects; remove it, and quote the value if a string is meant")) {
				return
			}
			continue
		}
		if !yield(&document{d.in, d.base, node.Content[0], tree}, nil) {
			return
		}
	}
}

// indexNotText finds what YAML forbids in a stream: control characters other than tab and line ends, and broken UTF-8.
// It is -1 where there is none.
func indexNotText(text []byte) int {
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			if c < 0x20 && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
				return i
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 || r < 0xa0 && r != '\u0085' || r == '\ufffe' || r == '\uffff' {
			return i
		}
		i += size
	}
	return -1
}

// objects yields the objects of a document; false ends the reading.
func (d *document) objects(yield func(*Object, error) bool) bool {
	c := converter{}
	value, err := c.value(d.node, 0)
	if err != nil {
		var at *nodeError
		errors.As(err, &at)
		return yield(nil, d.fault(at.node, at.message))
	}
	return d.object(value, Object{root: d.node}, "", "", yield)
}

func (d *document) fault(n *yaml.Node, message string) *Error {
	return &Error{at(d.in, d.base+n.Line, n.Column), message}
}

// object yields one object, or the items of a List; apiVersion and kind stand in for an item that carries none.
func (d *document) object(value any, place Object, apiVersion, kind string, yield func(*Object, error) bool) bool {
	n := place.root
	m, ok := value.(map[string]any)
	if !ok {
		return yield(nil, d.fault(n, fmt.Sprintf("found %s; want a Kubernetes object with apiVersion, kind and metadata", describe(value))))
	}
	for _, one := range [2][2]string{{"apiVersion", apiVersion}, {"kind", kind}} {
		field, inherited := one[0], one[1]
		if _, there := m[field]; !there && inherited != "" {
			m[field] = inherited
		}
		if s, ok := m[field].(string); !ok || s == "" {
			if version := text(m["apiVersion"]); strings.HasPrefix(version, "score.dev/") {
				return yield(nil, d.fault(n, fmt.Sprintf("found a Score workload (%s), which is not read yet; want the Kubernetes manifests that are made of it, for instance by score-k8s generate", finding.Value(version))))
			}
			return yield(nil, d.fault(n, fmt.Sprintf("%s: found %s; want a Kubernetes object with apiVersion and kind", field, describe(m[field]))))
		}
	}
	o := &Object{Value: m, in: d.in, base: d.base, root: n, tree: d.tree, top: d.node, at: place.at}
	items, isList := m["items"].([]any)
	if _, there := m["items"]; !there { // with items kubectl takes a document of any kind for a list
		return yield(o, nil)
	}
	_, node := child(n, "items")
	if !isList {
		return yield(nil, d.fault(node, fmt.Sprintf("items: found %s; want a list of objects", describe(m["items"]))))
	}
	itemKind, itemVersion := strings.TrimSuffix(o.Kind(), "List"), o.APIVersion()
	if itemKind == "" {
		itemVersion = ""
	}
	for i, item := range items {
		_, in := child(node, strconv.Itoa(i))
		if !d.object(item, Object{root: in, at: place.at + "/items/" + strconv.Itoa(i)}, itemVersion, itemKind, yield) {
			return false
		}
	}
	return true
}

// describe names a value for a message without repeating it.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case map[string]any:
		return "a map"
	case []any:
		return "a list"
	case string:
		if v == "" {
			return "an empty string"
		}
		return "the string " + strconv.Quote(finding.Value(v))
	case bool:
		return "the boolean " + strconv.FormatBool(v)
	default:
		return fmt.Sprintf("the number %v", v)
	}
}
