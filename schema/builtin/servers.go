package builtin

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// mask is a set of servers: bit i stands for the i-th of the minor versions that the set knows, oldest first.
type mask uint32

// Servers are the API servers that objects are written for. The zero value stands for all that are known, any one of which
// is enough: what no one of them takes is at fault. Those of Set.Servers must each take an object.
type Servers struct{ each mask }

// Servers reads minor versions: 1.34, v1.34.2 or a range, 1.30-1.34. None is the zero value.
func (s *Set) Servers(versions []string) (Servers, error) {
	var on Servers
	for _, text := range versions {
		from, to, isRange := strings.Cut(strings.TrimSpace(text), "-")
		if !isRange {
			to = from
		}
		first, err := s.server(from)
		if err != nil {
			return Servers{}, err
		}
		last, err := s.server(to)
		if err != nil {
			return Servers{}, err
		}
		if last < first {
			return Servers{}, fmt.Errorf("%q begins after its end; want the older version first", text)
		}
		for i := first; i <= last; i++ {
			on.each |= 1 << i
		}
	}
	return on, nil
}

// server is the index of a version.
func (s *Set) server(version string) (int, error) {
	parts := strings.Split(strings.TrimPrefix(strings.TrimSpace(version), "v"), ".")
	if len(parts) == 2 || len(parts) == 3 {
		minor, err := strconv.Atoi(parts[1])
		if i := minor - s.oldest; parts[0] == "1" && err == nil && i >= 0 && i < s.count() {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%q: want a Kubernetes version from %s to %s, such as %s, or a range of them", version, s.minor(0), s.minor(s.count()-1), s.minor(s.count()-1))
}

// Span is the oldest and the newest version that is known, as in "1.30 to 1.37".
func (s *Set) Span() string { return s.say(s.all) }

func (s *Set) count() int { return bits.OnesCount32(uint32(s.all)) }

func (s *Set) minor(i int) string { return "1." + strconv.Itoa(s.oldest+i) }

// say names servers: "1.30 to 1.33, 1.37".
func (s *Set) say(set mask) string {
	var parts []string
	for i := 0; i < s.count(); i++ {
		first := i
		for set&(1<<i) != 0 {
			i++
		}
		switch {
		case i-first == 1:
			parts = append(parts, s.minor(first))
		case i > first:
			parts = append(parts, s.minor(first)+" to "+s.minor(i-1))
		}
	}
	return strings.Join(parts, ", ")
}

// minors reads what say's counterpart in kinds.txt writes: 30-33,37.
func (s *Set) minors(text string) (set mask, err error) {
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, errFrom := strconv.Atoi(from)
		last, errTo := strconv.Atoi(to)
		if errFrom != nil || errTo != nil || first < s.oldest || last >= s.oldest+s.count() || last < first {
			return 0, fmt.Errorf("no such minor versions: %q", text)
		}
		for i := first; i <= last; i++ {
			set |= 1 << (i - s.oldest)
		}
	}
	return set, nil
}
