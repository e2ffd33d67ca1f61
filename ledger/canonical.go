package ledger

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep objects and lists lie in each other: ten times what any record kind needs.
const maxDepth = 64

// Canonical writes JSON as RFC 8785 does: no spaces, members by the UTF-16 units of their names, numbers as JavaScript
// prints them. What RFC 7493 forbids is an error: a name twice, bytes that are not UTF-8, an integer that a double
// does not hold.
func Canonical(text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("write canonical JSON: found bytes that are not UTF-8")
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.UseNumber()
	var out bytes.Buffer
	out.Grow(len(text))
	if err := canonicalValue(&out, in, 0); err != nil {
		return nil, fmt.Errorf("write canonical JSON: %w", err)
	}
	if _, err := in.Token(); err != io.EOF {
		return nil, errors.New("write canonical JSON: found more than one value")
	}
	return out.Bytes(), nil
}

func canonicalValue(out *bytes.Buffer, in *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("found objects or lists more than %d deep", maxDepth)
	}
	token, err := in.Token()
	if err != nil {
		return err
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '{' {
			return canonicalObject(out, in, depth)
		}
		out.WriteByte('[')
		for first := true; in.More(); first = false {
			if !first {
				out.WriteByte(',')
			}
			if err := canonicalValue(out, in, depth+1); err != nil {
				return err
			}
		}
		out.WriteByte(']')
		_, err = in.Token()
		return err
	case string:
		canonicalString(out, v)
	case json.Number:
		return canonicalNumber(out, v)
	case bool:
		out.WriteString(strconv.FormatBool(v))
	default:
		out.WriteString("null")
	}
	return nil
}

// member is one name of an object and its value, written.
type member struct {
	name  string
	value []byte
}

func canonicalObject(out *bytes.Buffer, in *json.Decoder, depth int) error {
	var members []member
	for in.More() {
		token, err := in.Token()
		if err != nil {
			return err
		}
		var value bytes.Buffer
		if err := canonicalValue(&value, in, depth+1); err != nil {
			return err
		}
		members = append(members, member{token.(string), value.Bytes()}) // the decoder takes nothing else for a name
	}
	if _, err := in.Token(); err != nil {
		return err
	}
	slices.SortFunc(members, func(a, b member) int { return compareUTF16(a.name, b.name) })
	out.WriteByte('{')
	for i, m := range members {
		if i > 0 {
			if members[i-1].name == m.name {
				return fmt.Errorf("found the name %.64q twice in one object", m.name)
			}
			out.WriteByte(',')
		}
		canonicalString(out, m.name)
		out.WriteByte(':')
		out.Write(m.value)
	}
	out.WriteByte('}')
	return nil
}

// compareUTF16 orders as RFC 8785 3.2.3 does; bytes of UTF-8 order differently above U+FFFF.
func compareUTF16(a, b string) int {
	if strings.IndexFunc(a+b, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return cmp.Compare(a, b)
	}
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

func canonicalString(out *bytes.Buffer, s string) {
	out.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r >= ' ':
			out.WriteRune(r)
		case strings.ContainsRune("\b\t\n\f\r", r):
			out.WriteByte('\\')
			out.WriteByte("btn_fr"[r-'\b'])
		default:
			fmt.Fprintf(out, `\u%04x`, r)
		}
	}
	out.WriteByte('"')
}

// canonicalNumber writes a number as ECMAScript's Number::toString does (RFC 8785 3.2.2.3).
func canonicalNumber(out *bytes.Buffer, n json.Number) error {
	f, err := n.Float64()
	if err != nil {
		return fmt.Errorf("found the number %.40s, which a double does not hold", n)
	}
	if whole, err := strconv.ParseInt(n.String(), 10, 64); (err == nil && (whole > 1<<53 || whole < -1<<53)) || errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("found the integer %.40s, which a double does not hold; write it as a string", n)
	}
	if f == 0 {
		out.WriteByte('0') // also for -0
		return nil
	}
	if a := math.Abs(f); a >= 1e-6 && a < 1e21 {
		out.WriteString(strconv.FormatFloat(f, 'f', -1, 64))
		return nil
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
	out.WriteString(mantissa + "e" + exponent[:1] + strings.TrimLeft(exponent[1:], "0"))
	return nil
}
