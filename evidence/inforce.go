package evidence

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"ringfence.dev/ringfence/ledger"
)

// The verdicts of InForce.
const (
	// Yes: postures without a gap say so for all of the time.
	Yes = "yes"
	// No: at least one record says where and when it was not so. That holds whatever else is unknown.
	No = "no"
	// Unknown: neither follows from the records.
	Unknown = "unknown"
)

// means says of each verdict what may be concluded, and no more.
var means = map[string]string{
	Yes: "in all of this time it was at Deny in every guarded namespace asked for, and the policies that refuse for it were in place as built; " +
		"what a Guard's other settings allowed, what already ran, and what only nodes and network can show, it does not say",
	No:      "it was weaker, or not in place, where and when the list says; of other places and times nothing is said",
	Unknown: "neither that it was in force nor that it was not follows from the records",
}

// maxWeaker bounds how many times and places an answer lists; the rest is counted.
const maxWeaker = 1000

// Weaker is a time and places where a control did not refuse, and the entry that says so.
type Weaker struct {
	// Namespaces are empty for everywhere.
	Namespaces []string `json:"namespaces"`
	// What is Warn, Audit or exempt, or says what was wrong in words.
	What  string    `json:"what"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	Entry uint64    `json:"entry"`
}

// Seen is where and how often a control was seen at work.
type Seen struct {
	Namespace string `json:"namespace"`
	Refused   uint64 `json:"refused"`
	Warned    uint64 `json:"warned"`
	// Waived is how many were let in by a waiver, which is in force as the control is. They are not among Warned.
	Waived uint64 `json:"waived"`
	// DryRuns is how many of all were dry runs.
	DryRuns uint64    `json:"dryRuns"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	passed  uint64    // how many requests were let through
	through Weaker    // when
}

// InForceAnswer says what the records tell of a control in a time.
type InForceAnswer struct {
	Known
	Control   string    `json:"control"`
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until"`
	Tenant    string    `json:"tenant,omitempty"`
	Namespace string    `json:"namespace,omitempty"`
	// Verdict is Yes, No or Unknown; Means is what may be concluded.
	Verdict string `json:"verdict"`
	Means   string `json:"means"`
	// Weaker is why it is no; MoreWeaker is how many more there are.
	Weaker     []Weaker `json:"weaker"`
	MoreWeaker uint64   `json:"moreWeaker"`
	// Reasons say why it is no yes, beside Weaker.
	Reasons []string `json:"reasons"`
	// Postures are how many say something of this time; FirstPosture and LastPosture are their entries, and the last one ends it.
	Postures     uint64 `json:"postures"`
	FirstPosture uint64 `json:"firstPosture"`
	LastPosture  uint64 `json:"lastPosture"`
	// Policies refuse for the control.
	Policies []string `json:"policies"`
	// Guarded is how many guarded namespaces were asked for at the end. Unguarded had no Guard at some moment: everything was
	// refused there. NeverJudged are judged by no policy at any time, and no verdict is about them.
	Guarded     int      `json:"guarded"`
	Unguarded   []string `json:"unguarded"`
	NeverJudged []string `json:"neverJudged"`
	Seen        []Seen   `json:"seen"`
	// Catalogues are the digests of the catalogues that decided in this time.
	Catalogues []string `json:"catalogues"`
	// Changes are those of the time.
	Changes uint64 `json:"changes"`
	// Rests are what only nodes and network can show and on which the control rests, as last tried. The verdict does not count them:
	// it is about what the API server refuses.
	Rests []Shown `json:"rests"`
}

// InForce verifies the ledger and answers whether a control, f.Control, was in force from f.Since until f.Until: everywhere, or
// where f.Tenant and f.Namespace say. Yes needs postures (posture.v1) that cover the time without a hole; No needs one record.
func InForce(ctx context.Context, from ledger.Source, trusted ledger.Keyring, f Filter) (InForceAnswer, error) {
	a := InForceAnswer{Control: f.Control, Since: f.Since, Until: f.Until, Tenant: f.Tenant, Namespace: f.Namespace, Weaker: []Weaker{}, Reasons: []string{},
		Policies: []string{}, Unguarded: []string{}, NeverJudged: []string{}, Seen: []Seen{}, Catalogues: []string{}, Rests: []Shown{}}
	t := tracker{InForceAnswer: &a, filter: f, seen: map[string]*Seen{}, open: map[string]Weaker{}, own: map[string]bool{}, silent: map[string]int{}}
	known, err := ask(ctx, from, trusted, Filter{Since: f.Since, Until: f.Until}, t.add)
	a.Known = known
	if err == nil {
		t.end()
		a.Rests = t.shown.of(f.Rests, f.Until, f.Good)
	}
	return a, err
}

// work notes a request that failed the control.
func (t *tracker) work(i Item) {
	where := i.Where().Namespace
	for _, n := range i.About.NotPassed {
		if i.Is("check-run") || n.Control != t.Control || n.Outcome != "Fail" || !t.filter.inside(where) {
			continue
		}
		s := t.seen[where]
		if s == nil {
			if len(t.seen) >= maxAnswer {
				t.why("it was seen in more namespaces than are looked at")
				return
			}
			s = &Seen{Namespace: where, First: i.Time}
			t.seen[where] = s
		}
		s.Last = i.Time
		if i.About.DryRun {
			s.DryRuns++
		}
		switch {
		case n.Waiver != "":
			s.Waived++
			return
		case i.About.Refused && n.Action == "Deny":
			s.Refused++
			return
		}
		s.Warned++
		switch {
		case i.About.Refused: // for another control
		case s.passed == 0:
			s.through = Weaker{[]string{cmp.Or(where, nowhere)}, "", i.Time, i.Time, i.Index}
			s.passed++
		default:
			s.through.Until = i.Time
			s.passed++
		}
		return
	}
}

// changed notes a change of a Guard that made the control weaker: it may have been too short for a posture.
func (t *tracker) changed(i Item) {
	t.Changes++
	where := i.Where()
	if where.Kind != "Guard" || !t.filter.inside(where.Namespace) {
		return
	}
	path := "/spec/actions/" + t.Control
	if i.About.More > 0 && !slices.Contains(i.About.Fields, path) {
		t.why("a change of the Guard of %s names not all that it changed (entry %d)", where.Namespace, i.Index)
	}
	for _, c := range i.About.Changes {
		if c.Path == path && c.To != nil && *c.To != "Deny" && len(t.guards) < maxWeaker {
			t.guards = append(t.guards, Weaker{[]string{where.Namespace}, *c.To, i.Time, i.Time, i.Index})
		}
	}
}

// flashes lists changes of Guards that no posture tells of, those of the same moment as one.
func (t *tracker) flashes() {
	var last *Weaker
	for _, g := range t.guards {
		told := slices.ContainsFunc(t.Weaker, func(w Weaker) bool {
			return w.What == g.What && slices.Contains(w.Namespaces, g.Namespaces[0]) && !g.Since.Before(w.Since.Add(-postureLate)) && !g.Since.After(w.Until.Add(postureLate))
		})
		switch what := g.What + ", as changes of Guards say,"; {
		case told:
		case last != nil && last.What == what && g.Since.Sub(last.Since) < postureLate:
			last.Until = later(last.Until, g.Until)
			if !slices.Contains(last.Namespaces, g.Namespaces[0]) {
				last.Namespaces = append(last.Namespaces, g.Namespaces[0])
			}
		default:
			if last != nil {
				t.weaker(*last)
			}
			last = &Weaker{g.Namespaces, what, g.Since, g.Until, g.Entry}
		}
	}
	if last != nil {
		t.weaker(*last)
	}
}

// end makes the verdict.
func (t *tracker) end() {
	t.finish()
	for _, h := range t.holes {
		if h.until.IsZero() || h.until.After(t.Since) {
			t.hole(h)
		}
	}
	t.flashes()
	for _, name := range slices.Sorted(maps.Keys(t.seen)) {
		s := t.seen[name]
		t.Seen = append(t.Seen, *s)
		if s.passed > 0 {
			s.through.What = fmt.Sprintf("requests that failed it were let through (%d)", s.passed)
			t.weaker(s.through)
		}
	}
	slices.Sort(t.Catalogues)
	slices.SortStableFunc(t.Weaker, func(x, y Weaker) int { return x.Since.Compare(y.Since) })
	switch {
	case len(t.Weaker) > 0:
		t.Verdict = No
	case len(t.Reasons) > 0:
		t.Verdict = Unknown
	default:
		t.Verdict = Yes
	}
	t.Means = means[t.Verdict]
}

// weaker lists one.
func (t *tracker) weaker(w Weaker) {
	if len(t.Weaker) == maxWeaker {
		t.MoreWeaker++
		return
	}
	t.Weaker = append(t.Weaker, w)
}

// why adds a reason, each once.
func (t *tracker) why(format string, args ...any) {
	reason := fmt.Sprintf(format, args...)
	if len(t.Reasons) < 100 && !slices.Contains(t.Reasons, reason) {
		t.Reasons = append(t.Reasons, reason)
	}
}
