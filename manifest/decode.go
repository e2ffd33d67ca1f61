package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"

	"ringfence.dev/ringfence/finding"
)

var unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)

// DecodePart is Decode for a type that has only some of the document's fields: the others are passed over.
func DecodePart(text []byte, file string, into any) error { return decodeInto(text, file, into, false) }

// Decode reads one YAML or JSON document into a Go value by its json tags. An unknown field, a duplicate key, a wrong
// type or a second document is an *Error that names file, line and column. It is for Ringfence's own files; objects of
// the cluster are read with Read.
func Decode(text []byte, file string, into any) error { return decodeInto(text, file, into, true) }

func decodeInto(text []byte, file string, into any, strict bool) error {
	var docs []*document
	for part, err := range Split(bytes.NewReader(text), file) {
		if err != nil {
			return err
		}
		var fault error
		decode(part, func(doc *document, err error) bool {
			docs, fault = append(docs, doc), err
			return err == nil
		})
		if fault != nil {
			return fault
		}
	}
	if len(docs) != 1 {
		return &Error{finding.Location{File: file}, fmt.Sprintf("found %d YAML documents; want one", len(docs))}
	}
	doc := docs[0]
	c := converter{}
	value, err := c.value(doc.node, 0)
	if at, ok := err.(*nodeError); ok {
		return doc.fault(at.node, at.message)
	}
	plain, err := json.Marshal(value)
	if err != nil {
		return doc.fault(doc.node, err.Error())
	}
	dec := json.NewDecoder(bytes.NewReader(plain))
	if strict {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(into); err != nil {
		message := err.Error()
		if m := unknownField.FindStringSubmatch(message); m != nil {
			if key := findKey(doc.node, m[1]); key != nil {
				return doc.fault(key, fmt.Sprintf("unknown field %q; remove it or correct its name", m[1]))
			}
		}
		return doc.fault(doc.node, message)
	}
	return nil
}
