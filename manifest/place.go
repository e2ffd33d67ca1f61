package manifest

import (
	"errors"

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/finding"
)

// Tree is the YAML document that holds the object: its root, which must not be changed, and which of the documents of the
// text it is, counted from 0 ("..." ends one too). pointer is where in it the object stands, "" unless in a List.
func (o *Object) Tree() (root *yaml.Node, index int, pointer string) { return o.top, o.tree, o.at }

// Text is the document as its file has it. It must not be changed.
func (d Document) Text() []byte { return d.text }

// Offset is how many bytes of the file are before the document.
func (d Document) Offset() int { return d.offset }

// WithText is a document in the same place of its file with another text.
func (d Document) WithText(text []byte) Document {
	d.text = text
	return d
}

// Line is the place in the file of a line of the document, 1-based.
func (d Document) Line(line int) finding.Location {
	return at(d.in, d.base+line, 1)
}

// Values are the decoded YAML documents in the text, in order, of whatever form; an item of a List lacks what it takes from
// the List. Any fault is an error.
func (d Document) Values() (values []any, err error) {
	decode(d, func(doc *document, fault error) bool {
		if err = fault; err != nil {
			return false
		}
		c := converter{}
		value, fault := c.value(doc.node, 0)
		if at := (*nodeError)(nil); errors.As(fault, &at) {
			err = doc.fault(at.node, at.message)
			return false
		}
		for len(values) < doc.tree {
			values = append(values, nil) // one with nothing in it
		}
		values = append(values, value)
		return true
	})
	return values, err
}
