package evidence

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

// maxAnswer bounds how many groups an answer keeps; the rest is counted.
const maxAnswer = 10_000

// Known says how far an answer reaches: what it was made of, and what it cannot know.
type Known struct {
	// Entries is how many entries were verified; the first and last of their times follow.
	Entries uint64    `json:"entries"`
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"`
	// Unknown are the gaps that fall into the time.
	Unknown []Gap `json:"unknown"`
	// MoreUnknown is how many more there are.
	MoreUnknown uint64 `json:"moreUnknown"`
}

// ask verifies a whole ledger and gives every entry to each.
func ask(ctx context.Context, from ledger.Source, trusted ledger.Keyring, f Filter, each func(Item)) (Known, error) {
	var k Known
	gaps := Gaps{Filter: f}
	_, err := ledger.Verify(ctx, from, trusted, func(e ledger.Entry) error {
		i, err := ItemOf(e)
		if err != nil {
			return err
		}
		k.Entries++
		if k.First.IsZero() || i.Time.Before(k.First) {
			k.First = i.Time
		}
		if i.Time.After(k.Last) {
			k.Last = i.Time
		}
		gaps.Add(i)
		each(i)
		return nil
	})
	k.Unknown, k.MoreUnknown = gaps.List(), gaps.More
	if k.Unknown == nil {
		k.Unknown = []Gap{}
	}
	return k, err
}

// Refusal is one object that was refused to one actor for the same controls, once or more often.
type Refusal struct {
	Subject  Subject  `json:"subject"`
	Actor    string   `json:"actor"`
	For      string   `json:"inTheNameOf,omitempty"`
	Controls []string `json:"controls"`
	// DryRun says that nothing would have been stored anyway: it would have been refused.
	DryRun bool      `json:"dryRun"`
	Times  uint64    `json:"times"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
	Entry  uint64    `json:"entry"`
	// Became is what the records say happened to the object after that.
	Became string `json:"became"`
}

// RefusedAnswer says what was refused.
type RefusedAnswer struct {
	Known
	Refusals []Refusal `json:"refusals"`
	// More is how many refusals are not in the list for lack of room, Warned how many requests were warned of and let through.
	More   uint64 `json:"more"`
	Warned uint64 `json:"warned"`
	// WarnedDryRuns is how many dry runs were warned of; Warned does not count them.
	WarnedDryRuns uint64 `json:"warnedDryRuns"`
}

// DryRuns is how many of the refusals were dry runs.
func (a RefusedAnswer) DryRuns() (n int) {
	for _, r := range a.Refusals {
		if r.DryRun {
			n++
		}
	}
	return n
}

// Refused verifies the ledger and answers: what was refused, to whom, and what became of it.
func Refused(ctx context.Context, from ledger.Source, trusted ledger.Keyring, f Filter) (RefusedAnswer, error) {
	a := RefusedAnswer{Refusals: []Refusal{}}
	at := map[string]int{}     // by object, actor and controls
	last := map[Subject]Item{} // the latest decision about each object that was refused
	var err error
	a.Known, err = ask(ctx, from, trusted, f, func(i Item) {
		if !i.Is("native-refusal") && !i.Is("admission-decision") || i.Unreadable {
			return
		}
		refused, where := i.About.Refused, i.Where()
		if _, known := last[where]; !i.About.DryRun && (known || refused && len(last) < maxAnswer) {
			last[where] = i
		}
		switch {
		case !f.Wants(i):
			return
		case !refused && i.About.DryRun:
			a.WarnedDryRuns++
			return
		case !refused:
			a.Warned++
			return
		}
		key := strings.Join(append([]string{where.String(), strconv.FormatBool(i.About.DryRun), i.About.Actor.Ref, i.About.InTheNameOf.Ref}, i.Controls()...), "\n")
		n, known := at[key]
		if !known {
			if len(a.Refusals) == maxAnswer {
				a.More++
				return
			}
			n = len(a.Refusals)
			at[key] = n
			a.Refusals = append(a.Refusals, Refusal{Subject: where, Actor: i.About.Actor.Ref, For: i.About.InTheNameOf.Ref, Controls: i.Controls(), DryRun: i.About.DryRun, First: i.Time})
		}
		r := &a.Refusals[n]
		r.Times, r.Last, r.Entry = r.Times+1, i.Time, i.Index
	})
	for n, r := range a.Refusals {
		a.Refusals[n].Became = became(r, last[r.Subject])
	}
	return a, err
}

// became is what the latest decision about an object says of a refusal before it.
func became(r Refusal, last Item) string {
	switch {
	case r.DryRun:
		return "a dry run, nothing would have been stored"
	case last.Kind == "" || last.Index <= r.Entry:
		return "no later record of it; what passes every rule leaves none, so whether it was put right is unknown"
	case last.About.Refused:
		return "refused again at " + stamp(last.Time) + " by " + strings.Join(last.Controls(), " ")
	}
	return "let through at " + stamp(last.Time) + ", as the last record says"
}

// Change is one change of a rule, of a policy behind Ringfence's back, or of the key.
type Change struct {
	Entry   uint64    `json:"entry"`
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"`
	Subject Subject   `json:"subject"`
	What    string    `json:"what"`
	Actor   string    `json:"actor"`
	Fields  []string  `json:"fields,omitempty"`
	// Changes say what the fields were and became; MoreChanges how many found no room in the record.
	Changes     []record.Field `json:"changes,omitempty"`
	MoreChanges int            `json:"moreChanges,omitempty"`
	// Known says what the record tells of contents: fields; unchanged, where the write changed nothing in spec; first seen, where
	// there was nothing to compare with; or unknown.
	Known string `json:"known"`
}

// contents is what a change says of them.
func contents(i Item) string {
	switch a := i.About; {
	case !i.Is("change"):
		return ""
	case a.Unchanged:
		return "unchanged"
	case len(a.Fields) > 0 || a.Operation == "CREATE" && a.After != "" || a.Operation == "DELETE":
		return "fields"
	case a.FirstSeen:
		return "first seen"
	}
	return "unknown"
}

// ChangedAnswer says what changed.
type ChangedAnswer struct {
	Known
	Changes []Change `json:"changes"`
	More    uint64   `json:"more"`
	// Unchanged is how many writes that changed nothing in spec are left out of the list.
	Unchanged uint64 `json:"unchanged"`
	// Recorded says whether the ledger holds any record of a change at all. Where it does not, nothing is known of changes.
	Recorded bool `json:"recorded"`
}

// Changed verifies the ledger and answers: what changed in a time, and who did it. Writes that changed nothing in spec are
// counted, and listed only where all is set: reconcilers and people write labels and annotations all day, and whoever asks what
// changed should not have to look for it among them. The ledger has all of them.
func Changed(ctx context.Context, from ledger.Source, trusted ledger.Keyring, f Filter, all bool) (ChangedAnswer, error) {
	a := ChangedAnswer{Changes: []Change{}}
	var err error
	a.Known, err = ask(ctx, from, trusted, f, func(i Item) {
		a.Recorded = a.Recorded || i.Is("change")
		if !i.Is("change") && !i.Is("policy-gap") && i.Kind != ledger.RotationKind || !f.Wants(i) {
			return
		}
		switch {
		case i.About.Unchanged && !all:
			a.Unchanged++
			return
		case len(a.Changes) == maxAnswer:
			a.More++
			return
		}
		what := cmp.Or(i.About.Operation, i.About.What)
		if i.Kind == ledger.RotationKind {
			what = "another key signs: " + i.About.New
		}
		a.Changes = append(a.Changes, Change{i.Index, i.Time, i.Kind, i.Where(), what, i.About.Actor.Ref, i.About.Fields, i.About.Changes, i.About.More, contents(i)})
	})
	return a, err
}
