// Package edit changes fields in the text of a YAML or JSON document and leaves every other byte as it is: comments, the
// order of keys, quotes, indentation, line ends.
//
// It takes bytes and gives bytes. What it cannot do without touching more than it was asked to (a field shared by an alias,
// one that a merge key brings, text over several lines) it refuses with an *Unsafe. It decides nothing and writes no file;
// that the new text means what it should is for the caller to prove by decoding it. The command `ringfence check --fix`
// calls it.
package edit

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/fix"
)

// Splice is a stretch of a text, From to before To, in whose place Text stands afterwards.
type Splice struct {
	From, To int
	Text     string
}

// Unsafe says why a change is left to a person.
type Unsafe struct {
	// Line is where, 1-based in the document.
	Line int
	// Reason is the end of a sentence such as "not repaired: ...".
	Reason string
}

// Error is the reason.
func (u *Unsafe) Error() string { return u.Reason }

// Document is the text of one document, ready to be edited. It is immutable.
type Document struct {
	text    []byte
	lines   []int         // where each begins
	marks   map[int][]int // of a line that is long, where each everyColumn of its columns begins
	json    bool
	compact bool            // JSON without a space behind its colons
	fault   error           // why it is not edited at all
	aliases map[string]bool // the names of what may be aliases, as far as bytes can tell
}

// alias is what is an alias unless it stands in a string or comment.
var alias = regexp.MustCompile(`\*[0-9A-Za-z_-]+`)

// New reads what is to be known of a text.
func New(text []byte) *Document {
	d := &Document{text: text, lines: []int{0}, json: json.Valid(text)}
	d.compact = d.json && !bytes.Contains(text, []byte(`": `))
	for i, c := range text {
		if c == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}
	d.markLong()
	d.fault = d.odd()
	if bytes.IndexByte(text, '&') >= 0 {
		d.aliases = map[string]bool{}
		for _, name := range alias.FindAll(text, -1) {
			d.aliases[string(name[1:])] = true
		}
	}
	return d
}

// Splices are what makes the changes in the text below root, a node of the document; pointers begin there. The error is an
// *Unsafe, and then nothing may be changed.
func (d *Document) Splices(root *yaml.Node, changes []fix.Change) (splices []Splice, err error) {
	if len(changes) == 0 {
		return nil, nil
	}
	if d.fault != nil {
		return nil, d.fault
	}
	w, err := tree(changes)
	if err != nil {
		return nil, &Unsafe{root.Line, err.Error()}
	}
	e := &editor{Document: d, step: indentation(root)}
	if err := e.container(root, w, slot{colon: -1}); err != nil {
		return nil, err
	}
	return e.splices, nil
}

// Apply makes splices that Join ordered.
func Apply(text []byte, splices []Splice) []byte {
	out, at := make([]byte, 0, len(text)+256), 0
	for _, s := range splices {
		out = append(append(out, text[at:s.From]...), s.Text...)
		at = s.To
	}
	return append(out, text[at:]...)
}

// Join orders splices of a text so that each ends before the next begins, and makes one of removals that overlap. A text
// whose last line has no end shall have none afterwards. What else overlaps, or is out of place, is an error.
func Join(text []byte, splices []Splice) ([]Splice, error) {
	splices = slices.Clone(splices)
	slices.SortStableFunc(splices, func(a, b Splice) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(min(a.To-a.From, 1), min(b.To-b.From, 1)))
	})
	out := splices[:0]
	for _, s := range splices {
		if s.From < 0 || s.To < s.From || s.To > len(text) {
			return nil, fmt.Errorf("the edit of bytes %d to %d of %d is out of place", s.From, s.To, len(text))
		}
		if n := len(out); n > 0 && s.From <= out[n-1].To && s.Text == "" && out[n-1].Text == "" {
			out[n-1].To = max(out[n-1].To, s.To)
			continue
		} else if n > 0 && s.From < out[n-1].To {
			return nil, errors.New("two edits of the same bytes")
		}
		out = append(out, s)
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		trimEnd(text, out)
	}
	return out, nil
}

// trimEnd takes the line end away that is left where the last line of a text was removed.
func trimEnd(text []byte, out []Splice) {
	n := len(out)
	if n == 0 || out[n-1].To != len(text) || out[n-1].Text != "" || out[n-1].From == len(text) {
		return
	}
	if last := &out[n-1]; n > 1 && out[n-2].To == last.From && out[n-2].Text != "" {
		out[n-2].Text = strings.TrimSuffix(strings.TrimSuffix(out[n-2].Text, "\n"), "\r")
	} else if last.From > 0 && text[last.From-1] == '\n' && (n == 1 || out[n-2].To < last.From) {
		if last.From--; last.From > 0 && text[last.From-1] == '\r' && (n == 1 || out[n-2].To < last.From) {
			last.From--
		}
	}
}

// indentation is how many columns a map in a map is further in, as the document has it; 2 where it does not show.
func indentation(n *yaml.Node) int {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if v.Kind == yaml.MappingNode && v.Line > k.Line && len(v.Content) > 0 && v.Style&yaml.FlowStyle == 0 {
			if by := v.Content[0].Column - k.Column; by > 0 && by <= 8 {
				return by
			}
		}
	}
	return 2
}

// editor gathers the splices of one object.
type editor struct {
	*Document
	step    int
	splices []Splice
}

func (e *editor) splice(from, to int, text string) {
	e.splices = append(e.splices, Splice{from, to, text})
}

func unsafe(n *yaml.Node, format string, args ...any) error {
	return &Unsafe{n.Line, fmt.Sprintf(format, args...)}
}

// odd refuses a text as a whole.
func (d *Document) odd() error {
	for _, end := range []string{"\u0085", "\u2028", "\u2029"} {
		if i := bytes.Index(d.text, []byte(end)); i >= 0 {
			return &Unsafe{d.line(i), "the document has a line end that editors and YAML count differently (U+0085, U+2028 or U+2029)"}
		}
	}
	if bytes.Count(d.text, []byte("\r")) != bytes.Count(d.text, []byte("\r\n")) {
		return &Unsafe{d.line(bytes.IndexByte(d.text, '\r')), "the document has a carriage return without a line feed, which editors and YAML count differently"}
	}
	for i := range d.lines {
		line := bytes.TrimLeft(d.text[d.lines[i]:d.lineEnd(d.lines[i])], " \t")
		if bytes.HasPrefix(line, []byte("#")) && bytes.Contains(line, []byte("{{")) {
			return &Unsafe{i + 1, "the document is a template, with {{ in a comment; repair the template"}
		}
	}
	return nil
}

// line is the line of an offset, 1-based.
func (d *Document) line(at int) int {
	i, found := slices.BinarySearch(d.lines, at)
	if found {
		return i + 1
	}
	return i
}

// lineStart is where the line of an offset begins.
func (d *Document) lineStart(at int) int { return d.lines[d.line(at)-1] }

// lineEnd is where the line of an offset ends, before its line end.
func (d *Document) lineEnd(at int) int {
	end := d.nextLine(at)
	if end > 0 && end > at && d.text[end-1] == '\n' {
		if end--; end > at && d.text[end-1] == '\r' {
			end--
		}
	}
	return end
}

// nextLine is where the next line begins, or the end of the text.
func (d *Document) nextLine(at int) int {
	if n := d.line(at); n < len(d.lines) {
		return d.lines[n]
	}
	return len(d.text)
}

// everyColumn is how far the marks of a long line are apart, in columns.
const everyColumn = 1024

// markLong marks the long lines: what programs write stands on one line whole.
func (d *Document) markLong() {
	for i, at := range d.lines {
		end := d.nextLine(at)
		if end-at <= 2*everyColumn {
			continue
		}
		var marks []int
		for column := 0; at < end; column++ {
			if column%everyColumn == 0 {
				marks = append(marks, at)
			}
			_, size := utf8.DecodeRune(d.text[at:])
			at += size
		}
		if d.marks == nil {
			d.marks = map[int][]int{}
		}
		d.marks[i] = marks
	}
}

// offset is where a line and column are, both 1-based.
func (d *Document) offset(line, column int) int {
	at, left := d.lines[line-1], column-1
	if marks := d.marks[line-1]; len(marks) > 0 {
		mark := max(min(left/everyColumn, len(marks)-1), 0)
		at, left = marks[mark], left-mark*everyColumn
	}
	for range left {
		_, size := utf8.DecodeRune(d.text[at:])
		at += size
	}
	return at
}

// newline is the line end in use where a text is put in.
func (d *Document) newline(at int) string {
	for _, i := range []int{d.line(at) - 1, 0} {
		if i+1 < len(d.lines) {
			if next := d.lines[i+1]; next >= 2 && d.text[next-2] == '\r' {
				return "\r\n"
			}
			return "\n"
		}
	}
	return "\n"
}
