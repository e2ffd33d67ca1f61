package scanner

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// xml reads a report in XML: CycloneDX as the JSON it would be. A document type that declares anything is refused: with it come
// entities that name themselves. One that only names a file is passed over, and the file is not fetched.
func (p *reading) xml(r io.Reader) error {
	g := &guard{p: p, r: r}
	x := &xmlReader{p: p, guard: g, in: xml.NewDecoder(g)}
	for {
		token, err := x.token()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: %w", p.name, ErrFormat)
		}
		if err != nil {
			return x.where(err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		i := slices.IndexFunc(formats(), func(f Format) bool { return f.root == start.Name.Local })
		if i < 0 {
			return fmt.Errorf("%s: %w", p.name, ErrFormat)
		}
		s := formats()[i].read(p)
		x.skip = s.skip
		root, err := x.element(start, s.trie(), 0)
		if err == nil {
			err = s.end(&root)
		}
		return x.where(err)
	}
}

type xmlReader struct {
	p     *reading
	guard *guard
	in    *xml.Decoder
	skip  []string
	path  []string
	nodes int
}

// where says line and place, which path still holds after an error.
func (x *xmlReader) where(err error) error {
	if err == nil {
		return nil
	}
	if f := (*fault)(nil); !errors.As(err, &f) {
		line, _ := x.in.InputPos()
		err = &fault{line: line, err: err}
	}
	return x.p.where(err, pathText(x.path))
}

// token is the next one.
func (x *xmlReader) token() (xml.Token, error) {
	x.guard.used = 0
	token, err := x.in.Token()
	if d, ok := token.(xml.Directive); ok && err == nil && strings.ContainsAny(string(d), "[<") {
		return nil, fmt.Errorf("found <!%s>; a report declares no entities, and none is read", cut(string(d)))
	}
	return token, err
}

// listed are the elements whose children are a list: in CycloneDX's JSON, and in Qualys' reports by their names.
func listed(name string) bool {
	if strings.HasSuffix(name, "_LIST") {
		return true
	}
	switch name {
	case "components", "vulnerabilities", "ratings", "references", "affects", "tools", "properties", "versions":
		return true
	}
	return false
}

// element reads one element to its end: attributes and children are keys. One with text alone is that text, or has it as value
// where it has attributes, as properties do.
func (x *xmlReader) element(start xml.StartElement, t *trie, depth int) (node, error) {
	line, _ := x.in.InputPos()
	n := node{kind: isObject, line: line}
	if depth > maxDepth {
		return n, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	if x.nodes++; x.nodes > x.p.limits.Nodes {
		return n, fmt.Errorf("more than %d values beside its vulnerabilities", x.p.limits.Nodes)
	}
	list := listed(start.Name.Local)
	if list {
		n.kind = isList
	}
	for _, a := range start.Attr {
		if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" && !list {
			if err := n.put(a.Name.Local, node{kind: isText, line: line, text: a.Value}); err != nil {
				return n, err
			}
		}
	}
	var text strings.Builder
	for {
		token, err := x.token()
		if err != nil {
			return n, ended(err)
		}
		switch token := token.(type) {
		case xml.CharData:
			if text.Write(token); text.Len() > maxString {
				return n, fmt.Errorf("a text of more than %d bytes", maxString)
			}
		case xml.StartElement:
			if err := x.child(&n, token, t, depth); err != nil {
				return n, err
			}
		case xml.EndElement:
			return n.closed(strings.TrimSpace(text.String())), nil
		}
	}
}

// closed gives an element its text.
func (n node) closed(text string) node {
	switch {
	case n.kind == isList || text == "":
	case len(n.keys) == 0:
		n.kind, n.text = isText, text
	default:
		n.keys, n.kids = append(n.keys, "value"), append(n.kids, node{kind: isText, line: n.line, text: text})
	}
	return n
}

// put sets a key. What nothing here reads may stand twice, as authors do; of what is read, the second could hide the first.
func (n *node) put(key string, v node) error {
	if len(n.keys) > maxNames {
		return fmt.Errorf("an element with more than %d different ones in it", maxNames)
	}
	if !slices.Contains(n.keys, key) {
		n.keys, n.kids = append(n.keys, key), append(n.kids, v)
		return nil
	}
	switch key {
	case "id", "name", "version", "purl", "type", "group", "bom-ref", "ref", "severity", "method", "score", "base", "state", "justification", "detail", "published", "timestamp",
		"component", "metadata", "components", "vulnerabilities", "affects", "ratings", "analysis", "tools", "HOST_LIST", "VULN_INFO_LIST", "GLOSSARY", "VULN_DETAILS_LIST", "QID", "SEVERITY":
		return fmt.Errorf("the element %q stands twice in one; which is meant?", cut(key))
	}
	return nil
}

// child reads an element inside another.
func (x *xmlReader) child(n *node, start xml.StartElement, t *trie, depth int) error {
	name := start.Name.Local
	below := t.child(name)
	if n.kind == isList {
		below = t.child("[]")
	} else if below == nil && slices.Contains(x.skip, name) {
		return x.pass()
	}
	x.path = append(x.path, cut(name))
	held := x.nodes
	v, err := x.element(start, below, depth+1)
	switch {
	case err != nil:
		return err
	case n.kind == isList && below != nil && below.fold != nil:
		x.nodes = held
		if err := below.fold("", &v); err != nil {
			return &fault{line: v.line, err: err}
		}
	case n.kind == isList:
		n.kids = append(n.kids, v)
	default:
		if err := n.put(name, v); err != nil {
			return err
		}
	}
	x.path = x.path[:len(x.path)-1]
	return nil
}

// pass passes over the rest of an element. xml.Decoder.Skip would take a document type.
func (x *xmlReader) pass() error {
	for depth := 1; depth > 0; {
		token, err := x.token()
		if err != nil {
			return ended(err)
		}
		switch token.(type) {
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return fmt.Errorf("nested deeper than %d levels", maxDepth)
			}
		case xml.EndElement:
			depth--
		}
	}
	return nil
}
