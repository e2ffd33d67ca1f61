// Package fault says what is wrong with an object: where, what was found, what is wanted and how to put it right.
//
// It judges nothing. The packages schema and schema/builtin speak with its words, so that a misspelt field reads the same
// whoever found it.
package fault

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Fault is one thing that is wrong with an object.
type Fault struct {
	// Path is the RFC 6901 pointer of the value at fault; of a missing field, of what should hold it. "" is the object.
	Path string
	// Message says on one line what was found, what is wanted and how to put it right.
	Message string

	// General marks a message made from a pattern or a bound, which a rule's own words may replace.
	General bool
}

// Most is how many faults are told at once; more help nobody and a hostile object has millions.
const Most = 100

// Sorted orders faults by place, drops those said twice and cuts what is too much.
func Sorted(faults []Fault) []Fault {
	for i := range faults {
		faults[i].Message, faults[i].General = Line(faults[i].Message), false
	}
	slices.SortFunc(faults, func(a, b Fault) int {
		return cmp.Or(comparePointers(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	faults = slices.Compact(faults)
	if more := len(faults) - Most; more > 0 {
		faults = append(faults[:Most:Most], Fault{Message: fmt.Sprintf("at least %d more faults; correct these first", more)})
	}
	return faults
}

// comparePointers orders by step, indexes as numbers.
func comparePointers(a, b string) int {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	return slices.CompareFunc(as, bs, func(x, y string) int {
		i, errX := strconv.Atoi(x)
		j, errY := strconv.Atoi(y)
		if errX == nil && errY == nil {
			return cmp.Compare(i, j)
		}
		return cmp.Compare(x, y)
	})
}

// Line makes text one line of at most 1,024 bytes.
func Line(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	const most = 1024
	if len(text) <= most {
		return text
	}
	cut := most - len("…")
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// Escape writes a key as one step of an RFC 6901 pointer.
func Escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}
