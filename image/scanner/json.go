package scanner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The bounds of a JSON text beside those of Limits.
const (
	maxDepth  = 100     // of lists and objects; a CycloneDX file of nested components has 12
	maxString = 4 << 20 // bytes of one string: Grype repeats an image's manifest and configuration in one
)

// lexer reads JSON byte by byte through a buffer of fixed size. encoding/json does not tell of a key that comes twice, nor of
// text that is not UTF-8, and buffers whole values.
type lexer struct {
	p        *reading
	r        io.Reader
	buf      []byte
	pos, end int
	line     int
	scratch  []byte
	depth    int
}

// errEnd says that the text ended in the middle.
var errEnd = errors.New("the text ends too early; was it cut off?")

// fill reads on. It returns io.EOF at the end.
func (l *lexer) fill() error {
	if err := l.p.ctx.Err(); err != nil {
		return err
	}
	n, err := l.r.Read(l.buf)
	for tries := 0; n == 0 && err == nil && tries < 100; tries++ {
		n, err = l.r.Read(l.buf)
	}
	l.pos, l.end = 0, n
	if l.p.left -= int64(n); l.p.left < 0 {
		return fmt.Errorf("more than %d bytes; split the report by image", l.p.limits.Bytes)
	}
	switch {
	case n > 0:
		return nil
	case err == nil:
		return io.ErrNoProgress
	}
	return err
}

// next is the next byte that is not space, which stays unread.
func (l *lexer) next() (byte, error) {
	for {
		for l.pos < l.end {
			switch c := l.buf[l.pos]; c {
			case '\n':
				l.line++
				l.pos++
			case ' ', '\t', '\r':
				l.pos++
			default:
				return c, nil
			}
		}
		if err := l.fill(); err != nil {
			return 0, err
		}
	}
}

// byte takes one byte.
func (l *lexer) byte() (byte, error) {
	if l.pos == l.end {
		if err := l.fill(); err != nil {
			return 0, ended(err)
		}
	}
	c := l.buf[l.pos]
	l.pos++
	return c, nil
}

func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return errEnd
	}
	return err
}

// want takes one byte that must be c.
func (l *lexer) want(c byte) error {
	got, err := l.next()
	switch {
	case err != nil:
		return ended(err)
	case got != c:
		return fmt.Errorf("found %q, want %q", string(rune(got)), string(rune(c)))
	}
	l.pos++
	return nil
}

// text takes a string into scratch.
func (l *lexer) text() error {
	if err := l.want('"'); err != nil {
		return err
	}
	l.scratch = l.scratch[:0]
	for {
		start := l.pos
		for l.pos < l.end && l.buf[l.pos] != '"' && l.buf[l.pos] != '\\' && l.buf[l.pos] >= ' ' {
			l.pos++
		}
		if l.scratch = append(l.scratch, l.buf[start:l.pos]...); len(l.scratch) > maxString {
			return fmt.Errorf("a text of more than %d bytes", maxString)
		}
		switch c, err := l.byte(); {
		case err != nil:
			return err
		case c == '"':
			if !utf8.Valid(l.scratch) {
				return errors.New("a text that is not UTF-8")
			}
			return nil
		case c == '\\':
			if err := l.escape(); err != nil {
				return err
			}
		case c < ' ':
			return fmt.Errorf("control character %q in a text", string(rune(c)))
		default: // the first byte after a fill
			l.scratch = append(l.scratch, c)
		}
	}
}

func (l *lexer) escape() error {
	c, err := l.byte()
	if err != nil {
		return err
	}
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		l.scratch = append(l.scratch, "\"\\/\b\f\n\r\t"[i])
		return nil
	}
	if c != 'u' {
		return fmt.Errorf("unknown escape \\%s in a text", string(rune(c)))
	}
	r, err := l.unit()
	if err != nil {
		return err
	}
	if !utf16.IsSurrogate(r) {
		l.scratch = utf8.AppendRune(l.scratch, r)
		return nil
	}
	for _, want := range []byte{'\\', 'u'} {
		if c, err := l.byte(); err != nil || c != want {
			return errors.Join(errors.New("half a surrogate pair in a text"), err)
		}
	}
	low, err := l.unit()
	if err != nil {
		return err
	}
	whole := utf16.DecodeRune(r, low)
	if whole == utf8.RuneError {
		return errors.New("half a surrogate pair in a text")
	}
	l.scratch = utf8.AppendRune(l.scratch, whole)
	return nil
}

func (l *lexer) unit() (rune, error) {
	var digits [4]byte
	for i := range digits {
		c, err := l.byte()
		if err != nil {
			return 0, err
		}
		digits[i] = c
	}
	v, err := strconv.ParseUint(string(digits[:]), 16, 16)
	if err != nil {
		return 0, fmt.Errorf("escape \\u%q in a text", digits)
	}
	return rune(v), nil
}

// word takes a number, true, false or null into scratch.
func (l *lexer) word() error {
	l.scratch = l.scratch[:0]
	for {
		if l.pos == l.end {
			if err := l.fill(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
		}
		c := l.buf[l.pos]
		if c <= ' ' || c == ',' || c == ']' || c == '}' {
			break
		}
		if l.scratch = append(l.scratch, c); len(l.scratch) > 64 {
			return errors.New("a number of more than 64 digits")
		}
		l.pos++
	}
	if !json.Valid(l.scratch) || l.scratch[0] == '"' || l.scratch[0] == '{' || l.scratch[0] == '[' {
		return fmt.Errorf("%q is no JSON value", l.scratch)
	}
	return nil
}

// skip passes over one value.
func (l *lexer) skip() error {
	c, err := l.next()
	if err != nil {
		return ended(err)
	}
	switch c {
	case '"':
		return l.text()
	case '{':
		return l.each('{', '}', func() error {
			if err := l.text(); err != nil {
				return err
			}
			if err := l.want(':'); err != nil {
				return err
			}
			return l.skip()
		})
	case '[':
		return l.each('[', ']', l.skip)
	}
	return l.word()
}

// each calls take for every member of an object or a list.
func (l *lexer) each(open, end byte, take func() error) error {
	if err := l.want(open); err != nil {
		return err
	}
	if l.depth++; l.depth > maxDepth {
		return fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	defer func() { l.depth-- }()
	c, err := l.next()
	if err != nil {
		return ended(err)
	}
	if c == end {
		l.pos++
		return nil
	}
	for {
		if err := take(); err != nil {
			return err
		}
		c, err := l.next()
		if err != nil {
			return ended(err)
		}
		switch c {
		case ',':
			l.pos++
		case end:
			l.pos++
			return nil
		default:
			return fmt.Errorf("found %q, want \",\" or %q", string(rune(c)), string(rune(end)))
		}
	}
}
