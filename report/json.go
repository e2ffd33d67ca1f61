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
	out := &lines{Writer: bufio.NewWriterSize(w, 64<<10)}
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
	err error
}

func (l *lines) put(parts ...string) {
	for _, p := range parts {
		_, _ = l.WriteString(p) // Flush returns the first error
	}
}

// value writes v on one line.
func (l *lines) value(v any) {
	text, err := encode(v)
	if err != nil && l.err == nil {
		l.err = err
	}
	l.put(text)
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

// encode is v in JSON on one line, without the escapes that only HTML needs, with those that build services need.
func encode(v any) (string, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return string(escapeOrders(bytes.TrimSuffix(text.Bytes(), []byte("\n")))), err
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
