package syslog

import (
	"strconv"
	"strings"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/record"
)

// productVersion is the version of what is written here, not of the program: a receiver's parser depends on it.
const productVersion = "1"

// maxValue bounds one value in bytes and maxText msg. Escaped, which may double them, nine values and a msg then stay below
// the 8,192 bytes that RFC 5425 wants every receiver to take.
const (
	maxValue = 300
	maxText  = 700
)

// CEF writes each event of a record as one line of the Common Event Format, version 0; find is the catalogue, or nil.
func CEF(find forward.Find) forward.Format {
	return func(r record.Record) ([]forward.Message, error) {
		events, err := forward.Events(r, find)
		if err != nil {
			return nil, err
		}
		var out []forward.Message
		for _, e := range events {
			out = append(out, e.AsMessage([]byte(cef(e))))
		}
		return out, nil
	}
}

// cef is one event. The keys are of the format's dictionary; our own stand in cs1 to cs6 with their labels.
func cef(e forward.Event) string {
	f, s := e.Finding, e.Finding.Subject
	id := f.Control
	if id == "" {
		id = e.Record.Kind
	}
	var b strings.Builder
	b.WriteString("CEF:0")
	for _, field := range []string{"Ringfence", "Ringfence", productVersion, id, e.Title, strconv.Itoa(severity(e.Severity))} {
		b.WriteString("|" + header(field))
	}
	b.WriteString("|")
	outcome := string(f.Outcome)
	if e.Refused {
		outcome = "Refused"
	}
	sep := ""
	for _, pair := range [][2]string{
		{"rt", strconv.FormatInt(e.Record.Time.UnixMilli(), 10)},
		{"cat", e.Record.Kind},
		{"dvchost", e.Record.Cluster},
		{"deviceProcessName", e.Record.Producer},
		{"act", e.Verb},
		{"outcome", outcome},
		{"suser", e.User},
		{"cs1Label", "messageId"}, {"cs1", e.ID},
		{"cs2Label", "namespace"}, {"cs2", s.Namespace},
		{"cs3Label", "object"}, {"cs3", object(s)},
		{"cs4Label", "found"}, {"cs4", f.Found},
		{"cs5Label", "path"}, {"cs5", f.Path},
		{"cs6Label", "fix"}, {"cs6", f.Fix},
		{"cn1Label", "seq"}, {"cn1", strconv.FormatUint(e.Record.Seq, 10)},
		{"msg", e.Message},
	} {
		if pair[1] == "" {
			continue
		}
		most := maxValue
		if pair[0] == "msg" {
			most = maxText
		}
		b.WriteString(sep + pair[0] + "=" + extension(cut(pair[1], most)))
		sep = " "
	}
	return b.String()
}

// object is kind and name.
func object(s finding.Subject) string {
	if s.Kind == "" {
		return ""
	}
	return s.Kind + "/" + s.Name
}

var (
	headerEscape    = strings.NewReplacer(`\`, `\\`, `|`, `\|`, "\r", " ", "\n", " ")
	extensionEscape = strings.NewReplacer(`\`, `\\`, `=`, `\=`, "\r", `\r`, "\n", `\n`)
)

// header escapes a field before the extension: backslash and pipe; a line's end is not allowed there.
func header(s string) string { return headerEscape.Replace(cut(s, maxValue)) }

// extension escapes a value: backslash, equals sign and line ends; a pipe stays. Spaces at the end would be lost in the
// last value, so they are dropped in all.
func extension(s string) string { return extensionEscape.Replace(strings.TrimRight(s, " ")) }

// cut cuts between runes and makes the text valid UTF-8.
func cut(s string, most int) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) <= most {
		return s
	}
	end := most - len("…")
	for end > 0 && s[end]&0xC0 == 0x80 {
		end--
	}
	return s[:end] + "…"
}

// severity is the format's, 0 to 10.
func severity(s finding.Severity) int {
	switch s {
	case finding.Critical:
		return 10
	case finding.High:
		return 8
	case finding.Medium:
		return 5
	case finding.Low:
		return 3
	default:
		return 1
	}
}
