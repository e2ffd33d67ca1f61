package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"

	"ringfence.dev/ringfence/finding"
)

// JSON writes the report as one JSON document, a finding a line, with a newline at its end. Every key is always present;
// what is absent is null: message and found of what did not fail, a location that is in no file, reason, waiver. Only a
// run with a baseline has the key baseline.
func JSON(w io.Writer, r *Report) error {
	out := newLines(w)
	out.put("{\n  \"schemaVersion\": \"", finding.SchemaVersion, "\",\n  \"findings\": [")
	for i, f := range r.Findings {
		if i > 0 {
			out.put(",")
		}
		out.put("\n    ")
		out.value(entry(f))
	}
	if len(r.Findings) > 0 {
		out.put("\n  ")
	}
	out.put("],\n  \"summary\": ")
	out.value(r.Summary)
	if b := r.Baseline; b != nil {
		out.put(",\n  \"baseline\": ")
		out.value(map[string]int{"known": b.Known(), "gone": b.Gone()})
	}
	out.put("\n}\n")
	return out.finish()
}

// lines is a JSON document being written, so that what is long stands a line an item. The first error is kept.
type lines struct {
	*bufio.Writer
	encoder *json.Encoder
	one     bytes.Buffer // what the encoder writes
	err     error
}

func newLines(w io.Writer) *lines {
	l := &lines{Writer: bufio.NewWriterSize(w, 64<<10)}
	l.encoder = json.NewEncoder(&l.one)
	l.encoder.SetEscapeHTML(false)
	return l
}

func (l *lines) put(parts ...string) {
	for _, p := range parts {
		_, _ = l.WriteString(p) // Flush returns the first error
	}
}

// value writes v on one line, without the escapes that only HTML needs, with those that build services need.
func (l *lines) value(v any) {
	l.one.Reset()
	if err := l.encoder.Encode(v); err != nil && l.err == nil {
		l.err = err
	}
	_, _ = l.Write(escapeOrders(bytes.TrimSuffix(l.one.Bytes(), []byte("\n"))))
}

// item writes the i-th value of a list within a list.
func (l *lines) item(i int, v any) {
	if i > 0 {
		l.put(",")
	}
	l.put("\n      ")
	l.value(v)
}

func (l *lines) finish() error {
	if l.err != nil {
		return l.err
	}
	return l.Flush()
}

// escapeOrders is JSON that means the same and orders no build service about.
func escapeOrders(text []byte) []byte {
	if !bytes.Contains(text, []byte("##")) { // only strings hold it
		return text
	}
	return order.ReplaceAllFunc(text, func(o []byte) []byte { return append([]byte(`\u0023`), o[1:]...) })
}

// record is a finding with null for what is absent. Its own keys hide those of the Finding.
type record struct {
	finding.Finding
	Message  *string           `json:"message"`
	Found    *string           `json:"found"`
	Location *finding.Location `json:"location"`
}

func entry(f *finding.Finding) record {
	e := record{Finding: *f}
	if f.Message != "" {
		e.Message = &f.Message
	}
	if f.Outcome == finding.Fail {
		e.Found = &f.Found
	}
	if f.Location.File != "" {
		e.Location = &f.Location
	}
	return e
}
