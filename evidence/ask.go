package evidence

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"ringfence.dev/ringfence/ledger"
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
		refused := i.About.Refused || i.Is("admission-decision") && !i.About.Allowed
		where := i.Where()
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
	case last.About.Refused || last.Is("admission-decision") && !last.About.Allowed:
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
}

// ChangedAnswer says what changed.
type ChangedAnswer struct {
	Known
	Changes []Change `json:"changes"`
	More    uint64   `json:"more"`
	// Recorded says whether the ledger holds any record of a change at all. Where it does not, nothing is known of changes.
	Recorded bool `json:"recorded"`
}

// Changed verifies the ledger and answers: what changed in a time, and who did it.
func Changed(ctx context.Context, from ledger.Source, trusted ledger.Keyring, f Filter) (ChangedAnswer, error) {
	a := ChangedAnswer{Changes: []Change{}}
	var err error
	a.Known, err = ask(ctx, from, trusted, f, func(i Item) {
		a.Recorded = a.Recorded || i.Is("change")
		if !i.Is("change") && !i.Is("policy-gap") && i.Kind != ledger.RotationKind || !f.Wants(i) {
			return
		}
		if len(a.Changes) == maxAnswer {
			a.More++
			return
		}
		what := cmp.Or(i.About.Operation, i.About.What)
		if i.Kind == ledger.RotationKind {
			what = "another key signs: " + i.About.New
		}
		a.Changes = append(a.Changes, Change{i.Index, i.Time, i.Kind, i.Where(), what, i.About.Actor.Ref, i.About.Fields})
	})
	return a, err
}

// Seen is where and how often a control was seen at work.
type Seen struct {
	Namespace string `json:"namespace"`
	Refused   uint64 `json:"refused"`
	Warned    uint64 `json:"warned"`
	// DryRuns is how many of both were dry runs.
	DryRuns uint64    `json:"dryRuns"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// InForceAnswer says what the records tell of a control in a time. Nothing in it says that the control was in force where it
// was not seen.
type InForceAnswer struct {
	Known
	Control string    `json:"control"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	// Verdict is "unknown": records of requests prove where a control worked, and never that it worked everywhere.
	Verdict string `json:"verdict"`
	// Reasons say why.
	Reasons []string `json:"reasons"`
	Seen    []Seen   `json:"seen"`
	// Catalogues are the digests of the catalogues that decided in this time.
	Catalogues []string `json:"catalogues"`
	// Changes are those of the time.
	Changes uint64 `json:"changes"`
}

// InForce verifies the ledger and answers what its records tell of a control in a time: whether it was in force, everywhere.
func InForce(ctx context.Context, from ledger.Source, trusted ledger.Keyring, control string, since, until time.Time) (InForceAnswer, error) {
	f := Filter{Since: since, Until: until}
	a := InForceAnswer{Control: control, Since: since, Until: until, Verdict: "unknown", Seen: []Seen{}, Catalogues: []string{}}
	seen, changesKept, more := map[string]*Seen{}, false, false
	var err error
	a.Known, err = ask(ctx, from, trusted, f, func(i Item) {
		changesKept = changesKept || i.Is("change")
		if !f.Wants(i) {
			return
		}
		if i.Is("change") {
			a.Changes++
		}
		if i.CatalogueDigest != "" && len(a.Catalogues) < 100 && !slices.Contains(a.Catalogues, i.CatalogueDigest) {
			a.Catalogues = append(a.Catalogues, i.CatalogueDigest)
		}
		for _, n := range i.About.NotPassed {
			if i.Is("check-run") || n.Control != control || n.Outcome != "Fail" {
				continue
			}
			s := seen[i.Where().Namespace]
			if s == nil {
				if more = len(seen) >= maxAnswer; more {
					continue
				}
				s = &Seen{Namespace: i.Where().Namespace, First: i.Time}
				seen[s.Namespace] = s
			}
			s.Last = i.Time
			if n.Action == "Deny" && i.About.Refused {
				s.Refused++
			} else {
				s.Warned++
			}
			if i.About.DryRun {
				s.DryRuns++
			}
			break
		}
	})
	for _, s := range seen {
		a.Seen = append(a.Seen, *s)
	}
	slices.SortFunc(a.Seen, func(x, y Seen) int { return cmp.Compare(x.Namespace, y.Namespace) })
	slices.Sort(a.Catalogues)
	a.Reasons = a.reasons(changesKept, more)
	return a, err
}

// reasons say why the answer is no yes.
func (a InForceAnswer) reasons(changesKept, more bool) (why []string) {
	if a.Entries == 0 || a.Last.Before(a.Since) || !a.First.Before(a.Until) {
		why = append(why, "the ledger holds no record of this time")
	}
	if len(a.Unknown) > 0 {
		why = append(why, "there are gaps in this time")
	}
	if !changesKept {
		why = append(why, "no change records exist, so nobody can tell what the rules were then")
	}
	if more {
		why = append(why, "it was seen in more namespaces than are listed")
	}
	return append(why, "a control is seen only where a request failed it; where none did, no record tells")
}
