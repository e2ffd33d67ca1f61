package evidence

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"ringfence.dev/ringfence/record"
)

// Rest is something that only nodes and network can show, and on which a control rests.
type Rest struct {
	// Probe is its row in verification.v1; What says it.
	Probe, What string
}

// The states of a Shown that are not the record's own.
const (
	stateProven   = "proven"
	stateBroken   = "broken"
	stateUnproven = "not proven here"
	howToProve    = "fix: ringfence verify-cluster --apply"
)

// Shown is what is known of a Rest.
type Shown struct {
	Probe string `json:"probe"`
	What  string `json:"what"`
	// State is proven, broken or not proven here.
	State string `json:"state"`
	// Why is what was seen, or what is missing.
	Why string `json:"why"`
	// Verified is when it was tried; zero for never. Entry says so then.
	Verified time.Time `json:"verified,omitzero"`
	Entry    uint64    `json:"entry,omitempty"`
}

// shown keeps the latest verification before the end of a time.
type shown struct {
	record.Verification
	entry   uint64
	any     bool
	unclear bool // a later one could not be read
}

// add takes a record of kind verification.
func (s *shown) add(i Item, until time.Time) {
	if !i.Time.Before(until) {
		return
	}
	var v record.Verification
	if i.Unreadable || json.Unmarshal(i.Body, &v) != nil || v.Verified.IsZero() {
		s.unclear = true
		return
	}
	*s = shown{Verification: v, entry: i.Index, any: true}
}

// of says what is known of each rest. What was proven counts where it was tried before the end of the time and no longer than good before it.
func (s *shown) of(rests []Rest, until time.Time, good time.Duration) []Shown {
	all := []Shown{}
	for _, r := range rests {
		out := Shown{Probe: r.Probe, What: r.What, State: stateUnproven}
		at := slices.IndexFunc(s.Rows, func(row record.VerificationRow) bool { return row.Probe == r.Probe })
		switch {
		case s.unclear:
			out.Why = "the latest record of verify-cluster cannot be read; " + howToProve
		case !s.any:
			out.Why = "no run of verify-cluster is recorded; " + howToProve
		case at < 0:
			out.Why = "the recorded run did not try it; " + howToProve
		case s.Rows[at].State == stateBroken:
			out.State, out.Why = stateBroken, s.Rows[at].Why
		case s.Rows[at].State != stateProven:
			out.Why = s.Rows[at].Why
		case s.Verified.After(until):
			out.Why = fmt.Sprintf("it was tried after this time, at %s", s.Verified.Format(time.RFC3339))
		case until.Sub(s.Verified) > good:
			out.Why = fmt.Sprintf("it was proven at %s, more than %d days before; %s", s.Verified.Format(time.RFC3339), int(good.Hours()/24), howToProve)
		default:
			out.State, out.Why = stateProven, s.Rows[at].Why
		}
		if s.any && !s.unclear {
			out.Verified, out.Entry = s.Verified, s.entry
		}
		all = append(all, out)
	}
	return all
}
