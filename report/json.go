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
	var line bytes.Buffer
	enc := encoder(&line)
	for i, f := range r.Findings {
		line.Reset()
		if err := enc.Encode(entry(f)); err != nil {
			return err
		}
		if i > 0 {
			put(",")
		}
		put("\n    ")
		_, _ = out.Write(bytes.TrimSuffix(line.Bytes(), []byte("\n")))
	}
	if len(r.Findings) > 0 {
		put("\n  ")
	}
	line.Reset()
	if err := enc.Encode(r.Summary); err != nil {
		return err
	}
	put("],\n  \"summary\": ", line.String(), "}\n")
	return out.Flush()
}

// encoder writes JSON, a value a line, without the escapes that only HTML needs.
func encoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
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
