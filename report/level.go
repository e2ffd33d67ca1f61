package report

import (
	"fmt"
	"path/filepath"

	"ringfence.dev/ringfence/finding"
)

// level is how much a finding matters to those who only know three steps: by what it leads to, not by its severity.
type level int

const (
	levelNone level = iota // it passed, or was not judged
	levelNote
	levelWarning
	levelError
)

// levelOf is error for what refuses and for what could not be decided there, which must not look smaller.
func levelOf(f *finding.Finding) level {
	switch {
	case f.Outcome == finding.Pass || f.Outcome == finding.NotApplicable:
		return levelNone
	case f.Outcome != finding.Fail:
		return levelError
	case f.Waiver != nil || f.Action == finding.Audit:
		return levelNote
	case f.Action == finding.Warn:
		return levelWarning
	default:
		return levelError
	}
}

// Told is a finding on one line: the refusal line, or why there is none, and the line of what was rendered.
func Told(f *finding.Finding) string {
	text := f.Message
	if text == "" {
		text = f.Control + " " + f.Title
	}
	switch {
	case f.Outcome == finding.Pass:
		return text + ": passed"
	case f.Outcome != finding.Fail && f.Reason != nil && f.Message == "":
		text += ": " + *f.Reason
	case f.Waiver != nil:
		text += "; " + waived(f.Waiver)
	}
	if at := f.Location; at.Rendered != "" && at.Line > 0 {
		text += fmt.Sprintf("; line %d as rendered by %s", at.Line, at.Rendered)
	}
	return text
}

func waived(w *finding.Waiver) string {
	text := "waived by " + w.Name + " until " + w.Expires
	if w.Ticket != "" {
		text += ", ticket " + w.Ticket
	}
	if w.Approver != "" {
		text += ", approved by " + w.Approver
	}
	return text
}

func slashed(file string) string { return filepath.ToSlash(file) }
