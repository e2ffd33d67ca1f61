package control

import "strings"

// nothing is a CEL expression that is true just where the list found is empty: where each of the lists that it joins
// with + is. What only says where something was found, .map(x, ...) at the end of one of them, is left out.
func nothing(found string) string {
	parts, ok := operands(found)
	if !ok {
		return "(" + found + ").size() == 0"
	}
	for i, part := range parts {
		part = strings.TrimSpace(part)
		for {
			shorter, ok := withoutLastMap(part)
			if !ok {
				break
			}
			part = strings.TrimSpace(shorter)
		}
		parts[i] = "(" + part + ").size() == 0"
	}
	return strings.Join(parts, " && ")
}

// operands splits an expression at each + that stands outside of brackets and quotes. It is false for one with an operator
// that binds less than +, which cannot be split.
func operands(s string) (parts []string, ok bool) {
	start := 0
	for i, depth := range outside(s) {
		if depth != 0 {
			continue
		}
		switch s[i] {
		case '?':
			if i+1 < len(s) && (s[i-1] == '.' || s[i-1] == '[') { // an optional selection
				continue
			}
			return nil, false
		case '<', '>', '=', '!', '&', '|':
			return nil, false
		case '+':
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:]), true
}

// withoutLastMap takes a last .map(x, ...) of two arguments away.
func withoutLastMap(s string) (string, bool) {
	if !strings.HasSuffix(s, ")") {
		return s, false
	}
	depths := map[int]int{}
	for i, depth := range outside(s) {
		depths[i] = depth
	}
	open, commas := -1, 0
	for i, c := range []byte(s) {
		depth, code := depths[i]
		switch {
		case code && c == '(' && depth == 0:
			open, commas = i, 0
		case code && c == ',' && depth == 1:
			commas++
		}
	}
	if open < 0 || commas != 1 || !strings.HasSuffix(s[:open], ".map") {
		return s, false
	}
	return strings.TrimSuffix(s[:open], ".map"), true
}

// outside yields the index of each byte that is not part of a string literal or comment, with the number of brackets around it; a
// bracket itself counts as outside its pair.
func outside(s string) func(yield func(i, depth int) bool) {
	return func(yield func(i, depth int) bool) {
		depth := 0
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
			case strings.HasPrefix(s[i:], "//"): // a comment
				for i < len(s) && s[i] != '\n' {
					i++
				}
				continue
			case c == '\'' || c == '"':
				raw := i > 0 && (s[i-1] == 'r' || s[i-1] == 'R')
				for i++; i < len(s) && s[i] != c; i++ {
					if s[i] == '\\' && !raw {
						i++
					}
				}
				continue
			case c == ')' || c == ']' || c == '}':
				depth--
			}
			if !yield(i, depth) {
				return
			}
			if c := s[i]; c == '(' || c == '[' || c == '{' {
				depth++
			}
		}
	}
}
