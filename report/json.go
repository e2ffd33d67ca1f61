package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"

	"ringfence.dev/ringfence/finding"
)

// JSON writes the report as one JSON document, a finding a line, with a newline at its end. Every key is always present;
// what is absent is null: message and found of what did not fail, a location that is in no file, reason, waiver.
func JSON(w io.Writer, r *Report) error {
	out := bufio.NewWriterSize(w, 64<<10)
	put := func(parts ...string) {
		for _, p := range parts {
			_, _ = out.WriteString(p) // Flush returns the first error
		}
	}
	put("{\n  \"schemaVersion\": \"", finding.SchemaVersion, "\",\n  \"findings\": [")
	for i, f := range r.Findings {
		line, err := encode(entry(f))
		if err != nil {
			return err
		}
		if i > 0 {
			put(",")
		}
		put("\n    ", line)
	}
	if len(r.Findings) > 0 {
		put("\n  ")
	}
	summary, err := encode(r.Summary)
	if err != nil {
		return err
	}
	put("],\n  \"summary\": ", summary, "\n}\n")
	return out.Flush()
}

// encode is v in JSON on one line, without the escapes that only HTML needs.
func encode(v any) (string, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return string(bytes.TrimSuffix(text.Bytes(), []byte("\n"))), err
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
