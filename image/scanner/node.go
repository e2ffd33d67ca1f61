package scanner

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

type kind uint8

const (
	isNull kind = iota
	isWord      // a number, true or false
	isText
	isList
	isObject
)

// node is one value of a report. Reports are of many versions: what is absent or of another kind than a format knows reads as
// empty, and every use says what empty means.
type node struct {
	kind kind
	line int
	text string   // of texts and words
	keys []string // of an object
	kids []node   // values of an object, elements of a list
}

// nothing is what is read where there is nothing.
func nothing() *node { return &node{} }

// at is the value below keys.
func (n *node) at(keys ...string) *node {
	for _, key := range keys {
		below := nothing()
		for i := range n.keys {
			if n.keys[i] == key {
				below = &n.kids[i]
			}
		}
		if below.kind == isNull {
			return nothing()
		}
		n = below
	}
	return n
}

// str is a text or number below keys.
func (n *node) str(keys ...string) string {
	return strings.TrimSpace(n.at(keys...).text)
}

// first is the first text that is not empty, of keys of this object.
func (n *node) first(keys ...string) string {
	for _, key := range keys {
		if s := n.str(key); s != "" {
			return s
		}
	}
	return ""
}

// list is the elements of a list below keys, or a single value as a list of one.
func (n *node) list(keys ...string) []node {
	switch v := n.at(keys...); v.kind {
	case isList:
		return v.kids
	case isNull:
		return nil
	default:
		return []node{*v}
	}
}

// strs is the texts of a list below keys.
func (n *node) strs(keys ...string) (out []string) {
	for _, v := range n.list(keys...) {
		if s := strings.TrimSpace(v.text); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// fault is an error about what stands below keys.
func (n *node) fault(format string, args ...any) error {
	return &fault{line: n.line, err: fmt.Errorf(format, args...)}
}

// about is an error about the value below key.
func (n *node) about(key string, err error) error {
	if err == nil {
		return nil
	}
	line := n.line
	if v := n.at(key); v.line > 0 {
		line = v.line
	}
	return &fault{line: line, path: key, err: err}
}

// number is a number below keys that was written as one or as a text; ok is false where there is none.
func (n *node) number(keys ...string) (v float64, ok bool) {
	v, err := strconv.ParseFloat(n.str(keys...), 64)
	return v, err == nil && !math.IsInf(v, 0) && !math.IsNaN(v)
}

// when reads a time. What is empty, or no time, is zero: an unknown date takes the side that the Platform configures, and a
// scan without one does not count. A time that no calendar of ours holds is an error.
func when(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02",
		"2006-01-02 15:04:05.999999999 -0700 MST", "2006-01-02T15:04:05Z0700", "Jan 2, 2006", "1/2/06", "1/2/2006", "02/01/2006 15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return sane(t.UTC(), s)
		}
	}
	return time.Time{}, nil
}

// lastYear is 2200: what is later is a mistake, and would keep a date new for ever.
const lastYear = 2200

func sane(t time.Time, s string) (time.Time, error) {
	switch {
	case t.Year() > lastYear:
		return time.Time{}, fmt.Errorf("the time %q is after the year %d", cut(s), lastYear)
	case t.Year() < 1970: // 0001-01-01 is how Go programs write none
		return time.Time{}, nil
	}
	return t, nil
}

// epoch reads a time in units since 1970, 0 and "" being none.
func epoch(s string, unit time.Duration) (time.Time, error) {
	if s == "" || s == "0" {
		return time.Time{}, nil
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < 0 || v > lastYear*366*24*int64(time.Hour/unit) {
		if t, other := when(s); other == nil && !t.IsZero() { // some versions write a date
			return t, nil
		}
		return time.Time{}, fmt.Errorf("the time %q is no number of %s since 1970 before the year %d", cut(s), unit, lastYear)
	}
	if unit == time.Second {
		return sane(time.Unix(v, 0).UTC(), s)
	}
	return sane(time.UnixMilli(v).UTC(), s)
}
