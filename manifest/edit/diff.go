package edit

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// context is how many lines a diff shows around a change, as diff -u and git do.
const context = 3

// Diff writes splices that Join ordered as a unified diff of a file, which patch and git apply read; nil where nothing
// changes.
func Diff(name string, text []byte, splices []Splice) []byte {
	d := New(text)
	if len(text) > 0 && text[len(text)-1] == '\n' {
		d.lines = d.lines[:len(d.lines)-1]
	}
	changes := d.changes(splices)
	if len(changes) == 0 {
		return nil
	}
	name = strings.TrimPrefix(name, "/")
	var out bytes.Buffer
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", header("a/"+name), header("b/"+name))
	moved := 0
	for len(changes) > 0 {
		n := 1
		for n < len(changes) && changes[n].from-changes[n-1].to <= 2*context {
			n++
		}
		moved += d.hunk(&out, changes[:n], moved)
		changes = changes[n:]
	}
	return out.Bytes()
}

// header is a file name in a diff, quoted as git does where it would break a line.
func header(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r == 0x7f }) {
		return strconv.Quote(name)
	}
	return name
}

// lineChange is a change of whole lines, from before to, counted from 0, in whose place text stands.
type lineChange struct {
	from, to int
	text     [][]byte
}

// changes are splices as changes of lines.
func (d *Document) changes(splices []Splice) (out []lineChange) {
	for i := 0; i < len(splices); {
		from, to := d.lineStart(splices[i].From), 0
		var ours []Splice
		for ; i < len(splices) && (len(ours) == 0 || d.lineStart(splices[i].From) < to); i++ {
			s := splices[i]
			ours = append(ours, Splice{s.From - from, s.To - from, s.Text})
			if to = max(to, s.To); to > from && d.text[to-1] != '\n' || s.Text != "" && !strings.HasSuffix(s.Text, "\n") {
				to = d.nextLine(to)
			}
		}
		c := lineChange{from: d.line(from) - 1, text: lines(Apply(d.text[from:to], ours))}
		old := lines(d.text[from:to])
		for len(old) > 0 && len(c.text) > 0 && bytes.Equal(old[0], c.text[0]) {
			old, c.text, c.from = old[1:], c.text[1:], c.from+1
		}
		for len(old) > 0 && len(c.text) > 0 && bytes.Equal(old[len(old)-1], c.text[len(c.text)-1]) {
			old, c.text = old[:len(old)-1], c.text[:len(c.text)-1]
		}
		if c.to = c.from + len(old); len(old) > 0 || len(c.text) > 0 {
			out = append(out, c)
		}
	}
	return out
}

func lines(text []byte) (out [][]byte) {
	for line := range bytes.Lines(text) {
		out = append(out, line)
	}
	return out
}

// hunk writes changes that are near each other; moved is by how many lines those before moved what follows. It returns by
// how many these do.
func (d *Document) hunk(out *bytes.Buffer, changes []lineChange, moved int) (by int) {
	from, to := max(changes[0].from-context, 0), min(changes[len(changes)-1].to+context, len(d.lines))
	for _, c := range changes {
		by += len(c.text) - (c.to - c.from)
	}
	fmt.Fprintf(out, "@@ -%s +%s @@\n", lineRange(from, to-from), lineRange(from+moved, to-from+by))
	at := from
	keep := func(to int, sign string) {
		for ; at < to; at++ {
			put(out, sign, d.text[d.lines[at]:d.nextLine(d.lines[at])])
		}
	}
	for _, c := range changes {
		keep(c.from, " ")
		keep(c.to, "-")
		for _, line := range c.text {
			put(out, "+", line)
		}
	}
	keep(to, " ")
	return by
}

// lineRange is a range of lines as a hunk's head has it: of no lines it is the line before.
func lineRange(from, count int) string {
	switch count {
	case 0:
		return fmt.Sprintf("%d,0", from)
	case 1:
		return strconv.Itoa(from + 1)
	}
	return fmt.Sprintf("%d,%d", from+1, count)
}

func put(out *bytes.Buffer, sign string, line []byte) {
	out.WriteString(sign)
	out.Write(line)
	if len(line) == 0 || line[len(line)-1] != '\n' {
		out.WriteString("\n\\ No newline at end of file\n")
	}
}
