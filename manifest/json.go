package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

var errNotJSON = errors.New("not JSON")

// decodeJSON reads a document that begins with { as JSON proper, which YAML is not quite a superset of (surrogate pairs,
// tabs), into the same nodes. Anything else is an error and left to YAML.
func decodeJSON(doc []byte) (*yaml.Node, error) {
	if trimmed := bytes.TrimLeft(doc, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, errNotJSON
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	r := jsonReader{doc: doc, dec: d, line: 1, column: 1}
	root, err := r.node(0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errNotJSON
	}
	return root, nil
}

type jsonReader struct {
	doc          []byte
	dec          *json.Decoder
	pos          int // how far line and column have been counted
	line, column int
}

// next is the next token and an empty node at its place.
func (r *jsonReader) next() (json.Token, *yaml.Node, error) {
	start := int(r.dec.InputOffset())
	for start < len(r.doc) && bytes.IndexByte([]byte(" \t\r\n,:"), r.doc[start]) >= 0 {
		start++
	}
	for r.pos < start {
		c, n := utf8.DecodeRune(r.doc[r.pos:])
		r.pos += n
		if r.column++; c == '\n' {
			r.line, r.column = r.line+1, 1
		}
	}
	tok, err := r.dec.Token()
	return tok, &yaml.Node{Line: r.line, Column: r.column}, err
}

func (r *jsonReader) node(depth int) (*yaml.Node, error) {
	if depth > maxDepth+1 {
		return nil, errNotJSON // YAML reads it too, and the converter says that it is too deep
	}
	tok, n, err := r.next()
	if err != nil {
		return nil, err
	}
	switch tok := tok.(type) {
	case json.Delim:
		n.Kind = yaml.SequenceNode
		if tok == '{' {
			n.Kind = yaml.MappingNode
		}
		for r.dec.More() {
			if n.Kind == yaml.MappingNode {
				key, at, err := r.next()
				if err != nil {
					return nil, err
				}
				n.Content = append(n.Content, text2node(at, fmt.Sprint(key)))
			}
			item, err := r.node(depth + 1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, item)
		}
		_, err := r.dec.Token()
		return n, err
	case string:
		return text2node(n, tok), nil
	case nil:
		n.Kind, n.Value = yaml.ScalarNode, "null"
	default: // json.Number or bool
		n.Kind, n.Value = yaml.ScalarNode, fmt.Sprint(tok)
	}
	return n, nil
}

func text2node(n *yaml.Node, s string) *yaml.Node {
	n.Kind, n.Style, n.Value = yaml.ScalarNode, yaml.DoubleQuotedStyle, s
	return n
}
