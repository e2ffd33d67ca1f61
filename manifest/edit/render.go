package edit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// plainWord is a string that is itself without quotes wherever it stands; words that YAML 1.1 takes for something else are
// not in it.
var plainWord = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9._/-]*[A-Za-z0-9])?$`)

var meaning = regexp.MustCompile(`^(?i:y|yes|n|no|on|off|true|false|null)$`)

// style is how a flow value is written.
type style struct {
	quoted       bool // JSON's strings
	colon, comma string
}

var yamlStyle = style{colon: ": ", comma: ", "}

func word(s string, quoted bool) string {
	if !quoted && plainWord.MatchString(s) && !meaning.MatchString(s) {
		return s
	}
	return encode(s)
}

func encode(v any) string {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v) // what was decoded of JSON can be encoded
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// ordered is a map with an order.
func ordered(v any) (fields, bool) {
	switch v := v.(type) {
	case fields:
		return v, true
	case map[string]any:
		m := make(fields, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			m = append(m, field{key, v[key]})
		}
		return m, true
	}
	return nil, false
}

// flow writes a value on one line.
func flow(v any, s style) string {
	if m, ok := ordered(v); ok {
		parts := make([]string, len(m))
		for i, f := range m {
			parts[i] = word(f.key, s.quoted) + s.colon + flow(f.value, s)
		}
		return "{" + strings.Join(parts, s.comma) + "}"
	}
	switch v := v.(type) {
	case []any:
		parts := make([]string, len(v))
		for i, item := range v {
			parts[i] = flow(item, style{true, s.colon, s.comma})
		}
		return "[" + strings.Join(parts, s.comma) + "]"
	case string:
		return word(v, s.quoted)
	}
	return encode(v)
}

// block writes the fields of a map on lines of their own, the first where the text is put in and the others after newline,
// which ends in the indentation of the map.
func block(m fields, newline string, step int) string {
	var lines []string
	for _, f := range m {
		line := word(f.key, false) + ":"
		if inner, ok := ordered(f.value); ok && len(inner) > 0 {
			in := newline + strings.Repeat(" ", step)
			line += in + block(inner, in, step)
		} else {
			line += " " + flow(f.value, yamlStyle)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, newline)
}

// pretty writes a value over several lines, as JSON is printed for people.
func pretty(v any, s style, newline, step string) string {
	open, shut, parts := "{", "}", []string(nil)
	if m, ok := ordered(v); ok {
		for _, f := range m {
			parts = append(parts, word(f.key, s.quoted)+s.colon+pretty(f.value, s, newline+step, step))
		}
	} else if list, ok := v.([]any); ok {
		open, shut = "[", "]"
		for _, item := range list {
			parts = append(parts, pretty(item, s, newline+step, step))
		}
	} else {
		return flow(v, s)
	}
	if len(parts) == 0 {
		return open + shut
	}
	return open + newline + step + strings.Join(parts, ","+newline+step) + newline + shut
}
