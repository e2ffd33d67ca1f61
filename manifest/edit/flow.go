package edit

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// span is where an entry of a flow map or list begins and ends.
type span struct{ from, to int }

// flow removes and adds entries of a map or list in brackets.
func (e *editor) flow(n *yaml.Node, x entries) error {
	open, err := e.start(n)
	if err != nil {
		return err
	}
	end, err := e.end(n)
	if err != nil {
		return err
	}
	open, shut := open+1, end-1
	spans := make([]span, len(x.list))
	last := -1 // the last entry that stays
	for i, one := range x.list {
		from, err := e.start(one.mark())
		if err != nil {
			return err
		}
		var to int
		if one.key != nil {
			to, err = e.fieldEnd(one.key, one.value)
		} else {
			to, err = e.end(one.value)
		}
		if err != nil {
			return err
		}
		if before := bytes.TrimRight(e.text[open-1:from], " \t\r\n"); len(before) == 0 || strings.IndexByte("{[,", before[len(before)-1]) < 0 && !e.afterComment(before) {
			return unsafe(one.mark(), "what stands before it is not plain")
		}
		if e.byteAt(to) == '#' {
			return unsafe(one.mark(), "a comment stands between the brackets")
		}
		spans[i] = span{from, to}
		if !one.gone() {
			last = i
		}
	}
	if err := e.flowDrop(n, x, spans, span{open, shut}, last); err != nil {
		return err
	}
	if len(x.add) > 0 {
		e.flowAdd(x, spans, span{open, shut}, last)
	}
	return nil
}

// afterComment reports whether a text ends in a comment line, which may stand before an entry.
func (e *editor) afterComment(before []byte) bool {
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("#"))
}

// flowDrop removes entries, each run of them with the comma that is one too many.
func (e *editor) flowDrop(n *yaml.Node, x entries, spans []span, all span, last int) error {
	drop := func(from, to int, ours ...span) error {
		gaps, at := []byte(nil), from
		for _, s := range ours {
			gaps, at = append(gaps, e.text[at:s.from]...), s.to
		}
		if bytes.IndexByte(append(gaps, e.text[at:to]...), '#') >= 0 {
			return unsafe(n, "a comment stands between the brackets")
		}
		e.splice(from, to, "")
		return nil
	}
	if last < 0 && len(x.list) > 0 {
		if len(x.add) > 0 {
			return drop(spans[0].from, spans[len(spans)-1].to, spans...)
		}
		return drop(all.from, all.to, spans...)
	}
	for i := 0; i < len(x.list); i++ {
		if !x.list[i].gone() {
			continue
		}
		j := i
		for j+1 < len(x.list) && x.list[j+1].gone() {
			j++
		}
		var err error
		if j+1 < len(x.list) {
			err = drop(spans[i].from, spans[j+1].from, spans[i:j+1]...)
		} else {
			err = drop(spans[i-1].to, spans[j].to, spans[i:j+1]...)
		}
		if err != nil {
			return err
		}
		i = j
	}
	return nil
}

// flowAdd adds fields after the last that stays, on lines of their own where the others are.
func (e *editor) flowAdd(x entries, spans []span, all span, last int) {
	s := style{quoted: e.json, colon: ": ", comma: ", "}
	if e.compact {
		s.colon, s.comma = ":", ","
	}
	if len(x.list) > 0 {
		key := x.list[0].key
		s.quoted = s.quoted || key.Style&yaml.DoubleQuotedStyle != 0
		if colon, err := e.colon(key); err == nil && s.quoted && e.byteAt(colon) != ' ' {
			s.colon, s.comma = ":", ","
		}
	}
	if len(x.list) == 0 {
		at := all.from
		if rest := e.text[all.from:all.to]; bytes.IndexByte(rest, '#') < 0 {
			e.splice(all.from, all.to, "")
		}
		e.splice(at, at, strings.TrimSuffix(strings.TrimPrefix(flow(x.add, s), "{"), "}"))
		return
	}
	if last < 0 {
		e.splice(spans[0].from, spans[0].from, strings.TrimSuffix(strings.TrimPrefix(flow(x.add, s), "{"), "}"))
		return
	}
	if e.skip(e.lineStart(spans[last].from), " \t") < spans[last].from {
		e.splice(spans[last].to, spans[last].to, s.comma+strings.TrimSuffix(strings.TrimPrefix(flow(x.add, s), "{"), "}"))
		return
	}
	lead := e.lead(spans[last].from)
	newline := e.newline(spans[last].from) + lead
	step := strings.TrimPrefix(lead, e.indentOf(all.from))
	if step == lead && lead != "" || step == "" {
		step = "  "
	}
	for _, f := range x.add {
		e.splice(spans[last].to, spans[last].to, ","+newline+word(f.key, s.quoted)+s.colon+pretty(f.value, s, newline, step))
	}
}

// indentOf is the white space that the line of an offset begins with.
func (e *editor) indentOf(at int) string {
	from := e.lineStart(at)
	return string(e.text[from:e.skip(from, " \t")])
}
