package ignore

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// pattern is one line of an ignore file.
type pattern struct {
	negated, dirOnly bool
	// anchored patterns match the path from their file's folder, the others a name at any depth below it.
	anchored bool
	glob     *regexp.Regexp
}

// newPattern reads a line; false for one that can match nothing.
func newPattern(line string) (p pattern, ok bool) {
	if strings.HasPrefix(line, "#") {
		return p, false
	}
	line, p.negated = strings.CutPrefix(line, "!")
	line = trimSpaces(line)
	line, p.dirOnly = strings.CutSuffix(line, "/")
	p.anchored = strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return p, false
	}
	expr, ok := translate(line)
	if !ok {
		return p, false
	}
	glob, err := regexp.Compile(`(?s)\A` + expr + `\z`)
	p.glob = glob
	return p, err == nil
}

// trimSpaces cuts the spaces at the end, but not one behind a backslash.
func trimSpaces(s string) string {
	end := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			end = i + 1
		case s[i] != ' ':
			end = i + 1
		}
	}
	return s[:end]
}

func (p pattern) matches(relative, name string, isDir bool) bool {
	if p.dirOnly && !isDir {
		return false
	}
	if p.anchored {
		return p.glob.MatchString(relative)
	}
	return p.glob.MatchString(name)
}

// translate writes a glob as a regular expression; false for a glob that is broken, which matches nothing.
func translate(glob string) (string, bool) {
	var out strings.Builder
	for i := 0; i < len(glob); {
		switch glob[i] {
		case '*':
			expr, next := stars(glob, i)
			out.WriteString(expr)
			i = next
		case '?':
			out.WriteString("[^/]")
			i++
		case '[':
			expr, next, ok := class(glob, i+1)
			if !ok {
				return "", false
			}
			out.WriteString(expr)
			i = next
		case '\\':
			if i++; i == len(glob) {
				return "", false
			}
			fallthrough
		default:
			_, size := utf8.DecodeRuneInString(glob[i:])
			out.WriteString(regexp.QuoteMeta(glob[i : i+size]))
			i += size
		}
	}
	return out.String(), true
}

// stars translates a run of stars: two or more that stand alone between slashes match folders, others none.
func stars(glob string, i int) (expr string, next int) {
	next = i
	for next < len(glob) && glob[next] == '*' {
		next++
	}
	alone := next-i > 1 && (i == 0 || glob[i-1] == '/') && (next == len(glob) || glob[next] == '/')
	switch {
	case !alone:
		return "[^/]*", next
	case next == len(glob):
		return ".*", next
	default:
		return "(?:.*/)?", next + 1
	}
}

// posix are the named classes of a bracket expression.
var posix = map[string]string{
	"alnum": "0-9A-Za-z", "alpha": "A-Za-z", "blank": ` \t`, "cntrl": `\x00-\x1f\x7f`, "digit": "0-9", "graph": "!-.0-~",
	"lower": "a-z", "print": " -.0-~", "punct": "!-.:-@\\[-`{-~", "space": `\t-\r `, "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}

// class translates a bracket expression that begins before i. It never matches a slash.
func class(glob string, i int) (expr string, next int, ok bool) {
	var out strings.Builder
	negated := i < len(glob) && (glob[i] == '!' || glob[i] == '^')
	if negated {
		i++
	}
	for first := true; ; first = false {
		if i >= len(glob) {
			return "", 0, false
		}
		if glob[i] == ']' && !first {
			i++
			break
		}
		if rest, named := strings.CutPrefix(glob[i:], "[:"); named {
			name, _, closed := strings.Cut(rest, ":]")
			set, known := posix[name]
			if closed && !known {
				return "", 0, false
			}
			if closed {
				out.WriteString(set)
				i += len("[:") + len(name) + len(":]")
				continue
			}
		}
		low, at, ok := member(glob, i)
		if !ok {
			return "", 0, false
		}
		high := low
		if i = at; i+1 < len(glob) && glob[i] == '-' && glob[i+1] != ']' {
			if high, i, ok = member(glob, i+1); !ok {
				return "", 0, false
			}
		}
		span(&out, low, high)
	}
	switch {
	case negated:
		return "[^/" + out.String() + "]", i, true
	case out.Len() == 0:
		return `[^\x00-\x{10FFFF}]`, i, true
	default:
		return "[" + out.String() + "]", i, true
	}
}

// member is one character of a bracket expression.
func member(glob string, i int) (r rune, next int, ok bool) {
	if glob[i] == '\\' {
		i++
	}
	if i >= len(glob) {
		return 0, 0, false
	}
	r, size := utf8.DecodeRuneInString(glob[i:])
	return r, i + size, true
}

// span writes the characters from low to high, without the slash.
func span(out *strings.Builder, low, high rune) {
	for _, part := range [][2]rune{{low, min(high, '/'-1)}, {max(low, '/'+1), high}} {
		if part[0] <= part[1] {
			out.WriteString(regexp.QuoteMeta(string(part[0])))
			out.WriteString("-")
			out.WriteString(regexp.QuoteMeta(string(part[1])))
		}
	}
}
