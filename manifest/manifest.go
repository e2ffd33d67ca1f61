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

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/finding"
)

// MaxDocument is 3 MiB, the largest request body the API server takes (k8s.io/apiserver MaxRequestBodyBytes), so no
// object that could be applied is larger. A file may hold any number of documents.
const MaxDocument = 3 << 20

// Error is what is wrong with an input, and where.
type Error struct {
	Location finding.Location
	// Message says what was found, what is wanted and what to do.
	Message string
}

// Error is file:line:column: message, without the place where there is none.
func (e *Error) Error() string {
	if e.Location.Line == 0 {
		return e.Location.File + ": " + e.Message
	}
	return e.Location.String() + ": " + e.Message
}

// Object is one Kubernetes object of a file, with its places.
type Object struct {
	// Value is the object as the API server would decode it: map[string]any, []any, string, int64, float64, bool, nil.
	Value map[string]any

	file string
	base int // lines before the document in its file
	root *yaml.Node
}

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
	at := o.root
	node := o.root
	for _, step := range pointerSteps(pointer) {
		key, value := child(node, step)
		if value == nil {
			break
		}
		at, node = key, value
	}
	return o.location(at)
}

func (o *Object) location(n *yaml.Node) finding.Location {
	return finding.Location{File: o.file, Line: o.base + n.Line, Column: n.Column}
}

// Read yields the objects of a file in order, items of Lists one by one. A document that cannot be used yields an *Error
// and reading goes on with the next. A file with no object at all yields an *Error. A read error of r ends the sequence.
func Read(r io.Reader, file string) iter.Seq2[*Object, error] {
	return func(yield func(*Object, error) bool) {
		any := false
		for doc, err := range documents(r, file) {
			any = true
			if err == nil {
				if !doc.objects(yield) {
					return
				}
			} else if !yield(nil, err) {
				return
			}
		}
		if !any {
			yield(nil, &Error{finding.Location{File: file}, "the file is empty; want at least one Kubernetes object in YAML or JSON"})
		}
	}
}

// document is one YAML document, decoded.
type document struct {
	file string
	base int
	node *yaml.Node
}

// documents splits r at lines that begin with "---" and decodes each part; parts with nothing but comments are passed over.
func documents(r io.Reader, file string) iter.Seq2[*document, error] {
	return func(yield func(*document, error) bool) {
		for part, err := range split(r, file) {
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			if !decode(part, file, yield) {
				return
			}
		}
	}
}

// part is the text of one document and the number of lines before it.
type part struct {
	text []byte
	base int
}

// split cuts r into documents, holding one at a time. A document over MaxDocument yields an *Error and is skipped.
func split(r io.Reader, file string) iter.Seq2[part, error] {
	return func(yield func(part, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		cur, line, tooLarge := part{}, 0, false
		flush := func() bool {
			done := cur
			cur = part{base: line}
			if tooLarge {
				tooLarge = false
				return yield(part{}, &Error{finding.Location{File: file, Line: done.base + 1, Column: 1},
					"this document is larger than 3 MiB, the most the API server takes in a request; split it with --- lines into documents of one object each"})
			}
			return blank(done.text) || yield(done, nil)
		}
		fresh := true // the next piece begins a line
		for {
			piece, err := in.ReadSlice('\n')
			if fresh && separator(piece) && !flush() {
				return
			}
			if len(cur.text)+len(piece) > MaxDocument {
				tooLarge, cur.text = true, nil
			} else if !tooLarge {
				cur.text = append(cur.text, piece...)
			}
			fresh = err == nil
			if err == nil {
				line++
			}
			if err == nil || errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if flush() && !errors.Is(err, io.EOF) {
				yield(part{}, &Error{finding.Location{File: file}, "reading stopped: " + err.Error()})
			}
			return
		}
	}
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

var yamlLine = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?`)

// decode parses one part; it yields more than one document where "..." ends one inside it.
func decode(p part, file string, yield func(*document, error) bool) bool {
	if root, err := decodeJSON(p.text); err == nil {
		return yield(&document{file, p.base, root}, nil)
	}
	if at := bytes.IndexFunc(p.text, notText); at >= 0 {
		line := bytes.Count(p.text[:at], []byte("\n")) + 1
		return yield(nil, &Error{finding.Location{File: file, Line: p.base + line, Column: 1},
			"this is not text (a byte that YAML does not allow); want YAML or JSON in UTF-8"})
	}
	dec := yaml.NewDecoder(bytes.NewReader(p.text))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			m := yamlLine.FindStringSubmatch(err.Error())
			loc := finding.Location{File: file, Line: p.base + 1, Column: 1}
			if m != nil && m[1] != "" {
				n, _ := strconv.Atoi(m[1])
				loc.Line = p.base + n
			}
			return yield(nil, &Error{loc, "not valid YAML: " + strings.TrimPrefix(err.Error(), yamlLine.FindString(err.Error())) + "; correct the syntax"})
		}
		if len(doc.Content) == 1 && !yield(&document{file, p.base, doc.Content[0]}, nil) {
			return false
		}
	}
}

// notText finds what YAML forbids in a stream: control characters other than tab and line ends, and broken UTF-8.
func notText(r rune) bool {
	return r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0x7f || r == '\uFFFD'
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
	return d.object(value, d.node, "", "", yield)
}

func (d *document) fault(n *yaml.Node, message string) *Error {
	return &Error{finding.Location{File: d.file, Line: d.base + n.Line, Column: n.Column}, message}
}

// object yields one object, or the items of a List; apiVersion and kind stand in for an item that carries none.
func (d *document) object(value any, n *yaml.Node, apiVersion, kind string, yield func(*Object, error) bool) bool {
	m, ok := value.(map[string]any)
	if !ok {
		return yield(nil, d.fault(n, fmt.Sprintf("found %s; want a Kubernetes object with apiVersion, kind and metadata", describe(value))))
	}
	for field, inherited := range map[string]string{"apiVersion": apiVersion, "kind": kind} {
		if _, there := m[field]; !there && inherited != "" {
			m[field] = inherited
		}
		if s, ok := m[field].(string); !ok || s == "" {
			return yield(nil, d.fault(n, fmt.Sprintf("%s: found %s; want a Kubernetes object with apiVersion and kind", field, describe(m[field]))))
		}
	}
	o := &Object{Value: m, file: d.file, base: d.base, root: n}
	items, isList := m["items"].([]any)
	if _, there := m["items"]; !strings.HasSuffix(o.Kind(), "List") || !there {
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
		if !d.object(item, in, itemVersion, itemKind, yield) {
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
