package fault

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Show writes a value found for a message: texts quoted and cut to 64 runes, large things by their kind. length, where
// given, is the true length of a value that was cut.
func Show(v any, length *int) string {
	switch v := v.(type) {
	case nil:
		return "nothing (null)"
	case string:
		if v == "" {
			return "an empty text"
		}
		if utf8.RuneCountInString(v) > 64 {
			v = string([]rune(v[:min(len(v), 64*utf8.UTFMax)])[:64]) + "…"
		}
		return strconv.Quote(v)
	case map[string]any:
		return "a map"
	case []any:
		n := len(v)
		if length != nil {
			n = *length
		}
		switch n {
		case 0:
			return "an empty list"
		case 1:
			return "a list of 1 item"
		}
		return fmt.Sprintf("a list of %d items", n)
	case bool, int64, float64:
		return fmt.Sprint(v)
	}
	return fmt.Sprintf("a %T", v)
}

// WantType says a schema's type in words, and how to write the value found as that type where a habit of YAML is the cause.
func WantType(kind string, intOrString bool, found any) (wanted, fix string) {
	text, isText := found.(string)
	switch {
	case intOrString:
		return "a number or text", ""
	case kind == "string":
		return "text", QuoteIt(found)
	case kind == "integer":
		if _, err := strconv.ParseInt(text, 10, 64); isText && err == nil {
			return "a whole number", "; write it without quotes"
		}
		return "a whole number", ""
	case kind == "boolean":
		if isText {
			switch strings.ToLower(text) {
			case "yes", "on", "y", "true":
				return "true or false", "; write true, without quotes"
			case "no", "off", "n", "false":
				return "true or false", "; write false, without quotes"
			}
		}
		return "true or false", ""
	case kind == "array":
		if isText {
			return "a list", fmt.Sprintf("; write it as [%s]", Show(found, nil))
		}
		return "a list", "; begin each item with -"
	case kind == "object":
		return "a map of fields", ""
	}
	return kind, ""
}

// QuoteIt says how to write a number or a boolean as text; "" for what is neither.
func QuoteIt(found any) string {
	switch found.(type) {
	case bool, int64, float64:
		return fmt.Sprintf("; write it in quotes: \"%v\"", found)
	}
	return ""
}

// Unknown is the fault of a field that the schema does not have.
func Unknown(name, at string, known []string) Fault {
	hint := DidYouMean(name, known)
	if hint == "" {
		hint = "; remove it"
		if len(known) > 0 && len(known) <= 20 {
			hint = fmt.Sprintf("; want %s; correct its name or remove it", OneOf(known))
		}
	}
	return Fault{Path: at, Message: "unknown field " + Show(name, nil) + hint}
}

// OneOf names the only value, or all there are.
func OneOf(values []string) string {
	if len(values) == 1 {
		return values[0]
	}
	return "one of " + strings.Join(values, ", ")
}

// DidYouMean names the known word nearest to what was written, if any is near.
func DidYouMean(written string, known []string) string {
	best, least := "", 1+max(1, min(4, len(written)/3))
	for _, k := range known {
		if d := distance(strings.ToLower(written), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean `%s`?", best)
}

// distance is the least number of single-letter changes (insert, delete, replace, swap of neighbours) between two words,
// by the optimal string alignment algorithm. Words longer than 64 bytes are far from everything.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return len(a) + len(b)
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
