package evidence

import (
	"fmt"
	"time"
)

// maxGaps bounds how many gaps are kept and listed; the rest is counted.
const maxGaps = 10_000

// Gap is time of which something is unknown: it is not clean.
type Gap struct {
	Since time.Time `json:"since"`
	// Until is zero where the end is not recorded.
	Until time.Time `json:"until,omitzero"`
	// What is unknown, in words.
	What string `json:"what"`
	// Entry is the index of the entry that tells of it.
	Entry uint64 `json:"entry"`
}

// String is one line.
func (g Gap) String() string {
	until := "no end recorded"
	if !g.Until.IsZero() {
		until = stamp(g.Until)
	}
	return fmt.Sprintf("%s to %s: %s (entry %d)", stamp(g.Since), until, g.What, g.Entry)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// isGap reports whether a record tells of time that is unknown.
func isGap(i Item) bool { return i.Is("overflow") || i.Is("silence") || i.Is("policy-gap") }

// Gaps collects the gaps that fall into the time of a filter. The zero value with a Filter is ready.
type Gaps struct {
	Filter Filter
	list   []Gap
	silent map[string]int // by producer and since: the place in list of a silence without an end
	// More is how many there are beside those listed.
	More uint64
}

// Add takes an entry.
func (g *Gaps) Add(i Item) {
	switch {
	case i.Unreadable:
		g.add(Gap{i.Time, i.Time, "a record of kind " + i.Kind + " cannot be read", i.Index})
		return
	case !g.Filter.touches(i):
		return
	}
	a := i.About
	gap := Gap{Since: a.Since, Until: a.Until, Entry: i.Index}
	switch {
	case i.Is("policy-gap"):
		gap.What = fmt.Sprintf("%s was %s: requests were not judged by it", a.Object, a.What)
	case i.Is("overflow"):
		gap.What = fmt.Sprintf("%d records of %s were lost (%s)", a.Lost, a.Producer, a.Why)
		if a.Lost == 0 {
			gap.What = fmt.Sprintf("records of %s came in late (%s)", a.Producer, a.Why)
		}
	default:
		gap.What = fmt.Sprintf("%s was not heard (%s)", a.Producer, a.Why)
		key := a.Producer + " " + stamp(a.Since)
		if at, open := g.silent[key]; open && !a.Until.IsZero() {
			gap.What = cut(gap.What)
			g.list[at] = gap
			delete(g.silent, key)
			return
		}
		if a.Until.IsZero() && len(g.list) < maxGaps {
			if g.silent == nil {
				g.silent = map[string]int{}
			}
			g.silent[key] = len(g.list)
		}
	}
	g.add(gap)
}

func (g *Gaps) add(gap Gap) {
	gap.What = cut(gap.What)
	if len(g.list) == maxGaps {
		g.More++
		return
	}
	g.list = append(g.list, gap)
}

// List is what was collected, in the order of the ledger, without what ended before the time began.
func (g *Gaps) List() (list []Gap) {
	for _, gap := range g.list {
		if g.Filter.Since.IsZero() || gap.Until.IsZero() || gap.Until.After(g.Filter.Since) {
			list = append(list, gap)
		}
	}
	return list
}

// maxWords bounds what a page or manifest says of one thing.
const maxWords = 512

// cut shortens a text.
func cut(s string) string {
	if runes := []rune(s); len(runes) > maxWords {
		return string(runes[:maxWords]) + "..."
	}
	return s
}
