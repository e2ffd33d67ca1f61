package control

import "strings"

// withoutMaps is a CEL expression of a list, shorter, that is empty just where found is: at the end of each of the lists
// that found joins with +, what only says where something was found, .map(x, ...), is left out.
func withoutMaps(found string) string {
	parts := operands(found)
	for i, part := range parts {
		part = strings.TrimSpace(part)
		for {
			shorter, ok := withoutLastMap(part)
			if !ok {
				break
			}
			part = strings.TrimSpace(shorter)
		}
		parts[i] = part
	}
	return strings.Join(parts, " + ")
}

// operands splits an expression at each + that stands outside of brackets and quotes. One with an operator that binds
// less than + stays whole.
func operands(s string) (parts []string) {
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
			return []string{s}
		case '<', '>', '=', '!', '&', '|':
			return []string{s}
		case '+':
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
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

// outside yields the index of each byte that is not part of a string literal, with the number of brackets around it; a
// bracket itself counts as outside its pair.
func outside(s string) func(yield func(i, depth int) bool) {
	return func(yield func(i, depth int) bool) {
		depth := 0
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
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
