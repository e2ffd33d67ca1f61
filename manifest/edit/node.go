package edit

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// start is where a node's own text begins: after its anchor.
func (e *editor) start(n *yaml.Node) (int, error) {
	if n.Line < 1 || n.Line > len(e.lines) {
		return 0, unsafe(n, "its place in the text is not plain")
	}
	if n.Line == 1 && bytes.HasPrefix(e.text, []byte("\ufeff")) {
		return 0, unsafe(n, "the document begins with a byte order mark in the middle of its file")
	}
	at := e.offset(n.Line, n.Column)
	if n.Style&yaml.TaggedStyle != 0 {
		return 0, unsafe(n, "it has a tag (%s)", n.ShortTag())
	}
	if mark := "&" + n.Anchor; n.Anchor != "" && bytes.HasPrefix(e.text[at:], []byte(mark)) {
		at = e.skip(at+len(mark), " \t\r\n")
	}
	return at, nil
}

// skip passes over some characters.
func (d *Document) skip(at int, set string) int {
	for at < len(d.text) && strings.IndexByte(set, d.text[at]) >= 0 {
		at++
	}
	return at
}

func (d *Document) byteAt(at int) byte {
	if at < 0 || at >= len(d.text) {
		return 0
	}
	return d.text[at]
}

// empty reports whether a value is written as nothing at all.
func empty(n *yaml.Node) bool {
	const quotes = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle | yaml.TaggedStyle
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Anchor == "" && n.Style&quotes == 0
}

// isFlow reports whether a map or list is written in brackets.
func (e *editor) isFlow(n *yaml.Node) (bool, error) {
	at, err := e.start(n)
	if err != nil {
		return false, err
	}
	open := byte('{')
	if n.Kind == yaml.SequenceNode {
		open = '['
	}
	flow := e.byteAt(at) == open
	if !flow && (n.Style&yaml.FlowStyle != 0 || len(n.Content) == 0) {
		return false, unsafe(n, "it is a map without brackets in a list")
	}
	// In a block map whose first key is a map in brackets the same byte is that key's, which nothing allows.
	return flow, nil
}

// end is where the text of a node ends.
func (e *editor) end(n *yaml.Node) (int, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		return e.scalarEnd(n)
	case yaml.AliasNode:
		at, err := e.start(n)
		return at + 1 + len(n.Value), err
	}
	flow, err := e.isFlow(n)
	if err != nil {
		return 0, err
	}
	last, err := e.start(n)
	if err != nil {
		return 0, err
	}
	if flow {
		last++
	}
	if count := len(n.Content); count > 0 && n.Kind == yaml.MappingNode {
		last, err = e.fieldEnd(n.Content[count-2], n.Content[count-1])
	} else if count > 0 {
		last, err = e.end(n.Content[count-1])
	}
	if err != nil || !flow {
		return last, err
	}
	return e.closing(n, last)
}

// closing is where a flow map or list ends, whose last item ends at an offset.
func (e *editor) closing(n *yaml.Node, at int) (int, error) {
	for {
		at = e.skip(at, " \t\r\n,")
		switch c := e.byteAt(at); {
		case c == '#':
			at = e.lineEnd(at)
		case c == '}' && n.Kind == yaml.MappingNode, c == ']' && n.Kind == yaml.SequenceNode:
			return at + 1, nil
		default:
			return 0, unsafe(n, "its end is not plain")
		}
	}
}

// fieldEnd is where the value of a field ends, or its colon where nothing is written.
func (e *editor) fieldEnd(k, v *yaml.Node) (int, error) {
	if !empty(v) {
		return e.end(v)
	}
	colon, err := e.colon(k)
	if err != nil {
		return 0, err
	}
	return colon, nil
}

// colon is the place after the colon of a key, or after the key where {key} has none.
func (e *editor) colon(k *yaml.Node) (int, error) {
	end, err := e.end(k)
	if err != nil {
		return 0, err
	}
	at := e.skip(end, " \t\r\n")
	if e.byteAt(at) == ':' {
		return at + 1, nil
	}
	return end, nil
}

// scalarEnd is where a scalar ends that is written on one line.
func (e *editor) scalarEnd(n *yaml.Node) (int, error) {
	at, err := e.start(n)
	if err != nil {
		return 0, err
	}
	line := e.text[at:e.lineEnd(at)]
	severalLines := unsafe(n, "it is text over several lines, or near one")
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return 0, severalLines
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		quote := byte('"')
		if n.Style&yaml.SingleQuotedStyle != 0 {
			quote = '\''
		}
		if len(line) == 0 || line[0] != quote {
			return 0, severalLines
		}
		for i := 1; i < len(line); i++ {
			switch {
			case line[i] == '\\' && quote == '"':
				i++
			case line[i] == quote && quote == '\'' && i+1 < len(line) && line[i+1] == quote:
				i++
			case line[i] == quote:
				return at + i + 1, nil
			}
		}
		return 0, severalLines
	case n.Value == "" || !bytes.HasPrefix(line, []byte(n.Value)):
		return 0, severalLines
	}
	return at + len(n.Value), nil
}

// shared reports whether the text may have an alias of an anchor.
func (d *Document) shared(anchor string) bool { return d.aliases[anchor] }

// removable refuses to lose an anchor that something else needs, or a template's words.
func (e *editor) removable(n *yaml.Node) error {
	switch {
	case n.Anchor != "" && e.shared(n.Anchor):
		return unsafe(n, "what would be removed is shared through the anchor &%s", n.Anchor)
	case n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "{{"):
		return unsafe(n, "what would be removed is written by a template")
	}
	for _, c := range n.Content {
		if err := e.removable(c); err != nil {
			return err
		}
	}
	return nil
}

// lineTail is the end of the line on which something ends at an offset, where nothing but a comment follows.
func (e *editor) lineTail(n *yaml.Node, at int) (int, error) {
	rest := e.skip(at, " \t")
	end := e.lineEnd(at)
	if rest >= end || e.text[rest] == '#' && rest > at {
		return end, nil
	}
	return 0, unsafe(n, "something else stands on its line")
}
