package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"

	"ringfence.dev/ringfence/finding"
)

// SchemaVersion names the JSON form. Fields are only added to it.
const SchemaVersion = "ringfence.dev/findings/v1"

// JSON writes the report as one JSON document, a finding a line, with a newline at its end. Every key is always present;
// what is absent is null: message and found of what did not fail, a location that is in no file, reason, waiver.
func JSON(w io.Writer, r *Report) error {
	out := bufio.NewWriterSize(w, 64<<10)
	put := func(parts ...string) {
		for _, p := range parts {
			_, _ = out.WriteString(p) // Flush returns the first error
		}
	}
	put("{\n  \"schemaVersion\": \"", SchemaVersion, "\",\n  \"findings\": [")
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

// record is a finding with null for what is absent: the keys of finding.Finding, in their order.
type record struct {
	Control  string            `json:"control"`
	Rule     string            `json:"rule"`
	Title    string            `json:"title"`
	Severity finding.Severity  `json:"severity"`
	Outcome  finding.Outcome   `json:"outcome"`
	Action   finding.Action    `json:"action"`
	Message  *string           `json:"message"`
	Found    *string           `json:"found"`
	Wanted   string            `json:"wanted"`
	Fix      string            `json:"fix"`
	Subject  finding.Subject   `json:"subject"`
	Location *finding.Location `json:"location"`
	Path     string            `json:"path"`
	Source   string            `json:"source"`
	Reason   *string           `json:"reason"`
	Waiver   *finding.Waiver   `json:"waiver"`
	Print    string            `json:"fingerprint"`
}

func entry(f finding.Finding) record {
	e := record{f.Control, f.Rule, f.Title, f.Severity, f.Outcome, f.Action, &f.Message, &f.Found, f.Wanted, f.Fix,
		f.Subject, &f.Location, f.Path, f.Source, f.Reason, f.Waiver, f.Fingerprint}
	if f.Message == "" {
		e.Message = nil
	}
	if f.Outcome != finding.Fail {
		e.Found = nil
	}
	if f.Location.File == "" {
		e.Location = nil
	}
	return e
}
