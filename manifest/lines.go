package manifest

import (
	"bytes"
	"regexp"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// lineTable tells where each line of a YAML parser begins in lines as editors, git and grep count them, which end at "\n"
// alone. YAML also ends lines at a lone "\r", U+0085, U+2028 and U+2029. The nil table changes nothing.
type lineTable []place

// place is a line and a column, 1-based, the column in code points.
type place struct{ line, column int }

// newLineTable is nil where both ways of counting agree, as in nearly every file.
func newLineTable(text []byte) lineTable {
	odd := bytes.Contains(text, []byte("\u0085")) || bytes.Contains(text, []byte("\u2028")) || bytes.Contains(text, []byte("\u2029"))
	if !odd && bytes.Count(text, []byte("\r")) == bytes.Count(text, []byte("\r\n")) {
		return nil
	}
	at := place{1, 1}
	table := lineTable{at}
	runes := bytes.Runes(text)
	for i, r := range runes {
		at.column++
		switch {
		case r == '\n':
			at = place{at.line + 1, 1}
		case r == '\r' && i+1 < len(runes) && runes[i+1] == '\n':
			continue
		case r != '\r' && r != '\u0085' && r != '\u2028' && r != '\u2029':
			continue
		}
		table = append(table, at)
	}
	return table
}

// place translates a line and column of the parser, which puts what is empty at the end on a line after the last.
func (t lineTable) place(line, column int) (int, int) {
	if line < 1 || t == nil {
		return line, column
	}
	if line > len(t) {
		line, column = len(t), 1
	}
	start := t[line-1]
	return start.line, start.column + column - 1
}

// relocate translates the places of n and of everything below it.
func (t lineTable) relocate(n *yaml.Node) {
	if t == nil {
		return
	}
	n.Line, n.Column = t.place(n.Line, n.Column)
	for _, c := range n.Content {
		t.relocate(c)
	}
}

// loneTag is the first scalar with the tag "!" alone, nil if there is none. To kubectl the tag makes a string of any
// scalar; go-yaml v3 drops it without a trace, so that only the text still shows it. Places are the parser's own.
func loneTag(text []byte, root *yaml.Node) *yaml.Node {
	if !loneTagLike.Match(text) {
		return nil
	}
	at := cursor{text: text, place: place{1, 1}}
	var find func(n *yaml.Node) *yaml.Node
	find = func(n *yaml.Node) *yaml.Node {
		if n.Kind == yaml.ScalarNode && n.Style&yaml.TaggedStyle == 0 && plain(n) && at.move(n.Line, n.Column) && at.lone() {
			return n
		}
		for _, c := range n.Content {
			if found := find(c); found != nil {
				return found
			}
		}
		return nil
	}
	return find(root)
}

var (
	// Lines end as YAML has them, which \s does not know all of.
	loneTagLike = regexp.MustCompile(`!([\s\x{85}\x{2028}\x{2029},\[\]{}]|$)`)
	// properties are what stands before a scalar whose tag is lone: maybe an anchor, on either side.
	properties = regexp.MustCompile(`^(&[0-9A-Za-z_-]+[\s\x{85}\x{2028}\x{2029}]+)?!([\s\x{85}\x{2028}\x{2029},\[\]{}]|$)`)
)

// cursor walks through a text forwards, counting as the parser does.
type cursor struct {
	text []byte
	place
}

// move goes to a place; it is false where that lies behind or beyond the end.
func (c *cursor) move(line, column int) bool {
	for c.line < line || c.line == line && c.column < column {
		r, size := utf8.DecodeRune(c.text)
		if size == 0 {
			return false
		}
		c.text = c.text[size:]
		c.column++
		switch {
		case r == '\r' && len(c.text) > 0 && c.text[0] == '\n':
		case r == '\n', r == '\r', r == '\u0085', r == '\u2028', r == '\u2029':
			c.place = place{c.line + 1, 1}
		}
	}
	return c.line == line && c.column == column
}

func (c *cursor) lone() bool {
	return len(c.text) > 0 && (c.text[0] == '!' || c.text[0] == '&') && properties.Match(c.text)
}
