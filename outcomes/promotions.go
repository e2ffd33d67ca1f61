package outcomes

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Promotion is a change of a control's action that stands.
type Promotion struct {
	Control, Place, From, To string
	At                       time.Time
	Insisted                 bool
	// Covers says whether it is about a namespace; nil where that is not known.
	Covers func(namespace string) bool
}

// Count is a number before a promotion and one after it.
type Count struct {
	Before int `json:"before"`
	After  int `json:"after"`
}

// Effect is what became of the findings of a control where it was promoted, for as long before the promotion as after it.
type Effect struct {
	Control string    `json:"control"`
	Place   string    `json:"place"`
	From    string    `json:"from"` // "" for the profile's action
	To      string    `json:"to"`
	At      time.Time `json:"at"`
	// Insisted says that something would have been refused, and two people went on.
	Insisted bool `json:"insisted"`
	// Hours are how long each side is.
	Hours float64 `json:"hours"`
	// Open are findings that stood at the promotion, and now; Opened and Fixed those of the time before and of the time since. All are null where
	// Unknown says why they are not known.
	Open    *Count `json:"open"`
	Opened  *Count `json:"opened"`
	Fixed   *Count `json:"fixed"`
	Unknown string `json:"unknown"`
}

// effects compares the time before and after each promotion, the newest first.
func effects(in Input) []Effect {
	out := []Effect{}
	var first time.Time // that anything is known of
	for _, f := range slices.Concat(in.Open, in.Closed) {
		if first.IsZero() || f.Since.Before(first) {
			first = f.Since
		}
	}
	for _, p := range in.Promotions {
		e := Effect{Control: p.Control, Place: p.Place, From: p.From, To: p.To, At: p.At.UTC(), Insisted: p.Insisted}
		from := p.At.Add(-in.Now.Sub(p.At))
		for _, edge := range []time.Time{in.From, first} {
			if edge.After(from) {
				from = edge
			}
		}
		switch {
		case p.At.Before(in.From):
			continue
		case !in.Scanned:
			e.Unknown = "the background scan has not judged everything, or does not run here"
		case p.Covers == nil:
			e.Unknown = "the cluster does not tell which namespaces it is about"
		case first.IsZero() || !first.Before(p.At):
			e.Unknown = "nothing is recorded from before it: the background scan may not have run then"
		case in.More:
			e.Unknown = "there are more findings than were counted"
		default:
			e.Hours = p.At.Sub(from).Hours()
			e.compare(p, slices.Concat(in.Open, in.Closed), from, p.At.Add(p.At.Sub(from)))
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Effect) int {
		return cmp.Or(b.At.Compare(a.At), strings.Compare(a.Control, b.Control), strings.Compare(a.Place, b.Place))
	})
	return out
}

// compare counts the findings of a promotion between two times.
func (e *Effect) compare(p Promotion, all []Stood, from, until time.Time) {
	e.Open, e.Opened, e.Fixed = &Count{}, &Count{}, &Count{}
	side := func(c *Count, at time.Time) {
		switch {
		case at.Before(from) || at.After(until):
		case at.Before(p.At):
			c.Before++
		default:
			c.After++
		}
	}
	for _, f := range all {
		if f.Control != p.Control || f.Waived || !p.Covers(f.Namespace) {
			continue
		}
		if f.Since.Before(p.At) && (f.Until.IsZero() || !f.Until.Before(p.At)) {
			e.Open.Before++
		}
		if f.Until.IsZero() {
			e.Open.After++
		}
		side(e.Opened, f.Since)
		if f.mended() {
			side(e.Fixed, f.Until)
		}
	}
}

// mended says that a finding closed because its object changed or went.
func (s Stood) mended() bool { return s.Why == "fixed" || s.Why == "deleted" || s.Why == "start" }
