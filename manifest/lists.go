package manifest

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"ringfence.dev/ringfence/finding"
)

// ReadLists is Read for what a cluster was dumped into: a document larger than MaxDocument is read too if it is a List, an
// item at a time, as kubectl writes it in YAML (block style, items at the left margin) or in JSON. Each item is bounded as
// a document is. Anchors do not reach from one item of such a list into another.
func ReadLists(r io.Reader, file string) iter.Seq2[*Object, error] {
	return func(yield func(*Object, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		start, err := in.Peek(512)
		if err != nil && !errors.Is(err, io.EOF) {
			yield(nil, &Error{finding.Location{File: file}, "reading stopped: " + err.Error()})
			return
		}
		if bytes.HasPrefix(start, byteOrderMark) {
			_, _ = in.Discard(len(byteOrderMark)) // it was peeked at
			start = start[len(byteOrderMark):]
		}
		if trimmed := bytes.TrimLeft(start, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
			large := bufio.NewReaderSize(in, MaxDocument+1)
			if _, err := large.Peek(MaxDocument + 1); err != nil { // all there is, or a read error that Read tells
				Read(large, file)(yield)
				return
			}
			l := jsonList{in: large, file: finding.Location{File: file}, yield: yield}
			l.read()
			return
		}
		l := blockList{in: in, file: finding.Location{File: file}, yield: yield}
		l.read()
	}
}

// objects yields those of a text that begins after some lines of its file.
func objects(in finding.Location, base int, text []byte, yield func(*Object, error) bool) bool {
	for o, err := range (Document{in: in, base: base, text: text}).Objects() {
		if !yield(o, err) {
			return false
		}
	}
	return true
}

// blockList reads YAML. A document is gathered; once it is larger than a document may be, it is cut into the items of its list.
type blockList struct {
	in    *bufio.Reader
	file  finding.Location
	yield func(*Object, error) bool

	text  []byte // of the document so far, or of the item where cutting
	base  int    // lines before it
	line  int    // lines read
	any   bool
	where cutting
	dash  string // the indentation of the items, with the dash
}

// cutting is where in a large document the reading stands.
type cutting int

const (
	gathering cutting = iota // a document that is no larger than one may be so far
	atItems                  // in its list
	after                    // behind its list, or in a document that is none: passed over
)

func (l *blockList) read() {
	for {
		piece, err := l.in.ReadSlice('\n')
		whole := piece
		for errors.Is(err, bufio.ErrBufferFull) && len(whole) <= MaxDocument {
			whole = bytes.Clone(whole)
			piece, err = l.in.ReadSlice('\n')
			whole = append(whole, piece...)
		}
		for errors.Is(err, bufio.ErrBufferFull) { // a line that no object can have: the document is refused below
			_, err = l.in.ReadSlice('\n')
		}
		if !l.next(whole) {
			return
		}
		switch {
		case err == nil:
			l.line++
		case errors.Is(err, io.EOF):
			if l.flush() && !l.any {
				l.yield(nil, &Error{l.file, "the file is empty; want at least one Kubernetes object in YAML or JSON"})
			}
			return
		default:
			l.yield(nil, &Error{l.file, "reading stopped: " + err.Error()})
			return
		}
	}
}

// next takes one line.
func (l *blockList) next(line []byte) bool {
	if separator(line) {
		if !l.flush() {
			return false
		}
		l.where, l.base, l.text = gathering, l.line, bytes.Clone(line)
		return true
	}
	switch l.where {
	case gathering:
		if l.text = append(l.text, line...); len(l.text) > MaxDocument {
			return l.cut()
		}
		return true
	case atItems:
		return l.item(line)
	}
	return true
}

// flush yields what was gathered.
func (l *blockList) flush() bool {
	text, base := l.text, l.base
	l.text, l.base = nil, l.line
	if l.where == after || blank(text) {
		return true
	}
	l.any = true
	return objects(l.file, base, text, l.yield)
}

// cut begins to cut a document into items, once it has become too large.
func (l *blockList) cut() bool {
	text, line := l.text, l.line
	l.text, l.where, l.any = nil, after, true
	l.line = l.base
	for part := range bytes.Lines(text) {
		switch {
		case l.where == after && string(bytes.TrimRight(part, " \r\n")) == "items:":
			l.where, l.dash = atItems, ""
		case l.where == atItems:
			if !l.item(part) {
				return false
			}
		}
		l.line++
	}
	if l.where == after && l.dash == "" {
		return l.yield(nil, &Error{at(l.file, l.base+1, 1), tooLargeMessage})
	}
	l.line = line
	return true
}

// item takes one line of the list.
func (l *blockList) item(line []byte) bool {
	text := string(line)
	trimmed := strings.TrimLeft(text, " ")
	indent := text[:len(text)-len(trimmed)]
	begins := strings.HasPrefix(trimmed, "- ") || strings.TrimRight(trimmed, "\r\n") == "-"
	if l.dash == "" && begins {
		l.dash = indent + "-"
	}
	switch {
	case begins && indent+"-" == l.dash:
		ok := l.flush()
		l.base, l.text = l.line, append([]byte(indent+" "), trimmed[1:]...)
		return ok
	case strings.TrimSpace(trimmed) != "" && trimmed[0] != '#' && len(indent) < len(l.dash): // another field of the list
		ok := l.flush()
		l.where = after
		return ok
	case len(l.text)+len(line) > MaxDocument:
		l.text, l.where = nil, after
		return l.yield(nil, &Error{at(l.file, l.base+1, 1), tooLargeMessage + "; the rest of the list was not read"})
	default:
		l.text = append(l.text, line...)
		return true
	}
}

// jsonList reads JSON objects one after another, of Lists the items.
type jsonList struct {
	in    io.Reader
	file  finding.Location
	yield func(*Object, error) bool

	used    int
	counted int64 // bytes of which the line ends are counted
	line    int
	pending []byte // read and not counted
	decoder *json.Decoder
}

// Read lets the decoder have at most some documents' worth between two grants, and keeps the text to count its lines.
func (l *jsonList) Read(p []byte) (int, error) {
	if l.used > 2*MaxDocument {
		return 0, errors.New(tooLargeMessage)
	}
	n, err := l.in.Read(p)
	l.used += n
	l.pending = append(l.pending, p[:n]...)
	return n, err
}

// lineAt counts lines up to an offset.
func (l *jsonList) lineAt(offset int64) int {
	n := min(int(offset-l.counted), len(l.pending))
	l.line += bytes.Count(l.pending[:n], []byte("\n"))
	l.pending, l.counted, l.used = l.pending[n:], offset, 0
	return l.line
}

func (l *jsonList) read() {
	l.decoder = json.NewDecoder(l)
	for first := true; ; first = false {
		base := l.lineAt(l.decoder.InputOffset())
		token, err := l.decoder.Token()
		if errors.Is(err, io.EOF) && !first {
			return
		}
		if err == nil && token != json.Delim('{') {
			err = fmt.Errorf("found %v; want an object", token)
		}
		if err == nil {
			var goOn bool
			if goOn, err = l.object(base); err == nil && !goOn {
				return
			}
		}
		if err != nil {
			l.yield(nil, &Error{at(l.file, l.lineAt(l.decoder.InputOffset())+1, 1), "not valid JSON: " + finding.Value(err.Error()) + "; correct the syntax"})
			return
		}
	}
}

// object reads one object, whose { is behind it. goOn is false once nobody wants more.
func (l *jsonList) object(base int) (goOn bool, err error) {
	own := map[string]json.RawMessage{}
	listed, size := false, 0
	for l.decoder.More() {
		l.lineAt(l.decoder.InputOffset())
		token, err := l.decoder.Token()
		if err != nil {
			return false, err
		}
		key, _ := token.(string)
		var raw json.RawMessage
		if key == "items" {
			if next, err := l.decoder.Token(); err != nil || next != json.Delim('[') {
				return false, cmp.Or(err, errors.New("items is no list"))
			}
			if goOn, err := l.items(own); err != nil || !goOn {
				return goOn, err
			}
			listed = true
			continue
		}
		if err := l.decoder.Decode(&raw); err != nil {
			return false, err
		}
		if size += len(raw); size > MaxDocument {
			return false, errors.New(tooLargeMessage)
		}
		own[key] = raw
	}
	if _, err := l.decoder.Token(); err != nil {
		return false, err
	}
	if listed {
		return true, nil
	}
	text, err := json.Marshal(own)
	if err != nil {
		return false, err
	}
	return objects(l.file, base, text, l.yield), nil
}

// items reads the items of a list, whose [ is behind it. An item without a kind has the list's, where that came before.
func (l *jsonList) items(list map[string]json.RawMessage) (goOn bool, err error) {
	var kind, version string
	_ = json.Unmarshal(list["kind"], &kind) // none: the items say it themselves
	_ = json.Unmarshal(list["apiVersion"], &version)
	for l.decoder.More() {
		base := l.lineAt(l.decoder.InputOffset())
		var raw json.RawMessage
		if err := l.decoder.Decode(&raw); err != nil {
			return false, err
		}
		var has struct {
			Kind *string `json:"kind"`
		}
		if trimmed := bytes.TrimSpace(raw); json.Unmarshal(raw, &has) == nil && has.Kind == nil && strings.HasSuffix(kind, "List") && kind != "List" && len(trimmed) > 2 {
			raw = append(fmt.Appendf(nil, `{"apiVersion":%q,"kind":%q,`, version, strings.TrimSuffix(kind, "List")), trimmed[1:]...)
		}
		if !objects(l.file, base, raw, l.yield) {
			return false, nil
		}
	}
	_, err = l.decoder.Token()
	return err == nil, err
}
