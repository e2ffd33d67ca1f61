package evidence

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

const (
	// postureLate is how much later than what it tells a posture may be: they are three seconds apart at least, and reading takes
	// a moment.
	postureLate = 5 * time.Second
	// ownNamespace is the namespace whose Guard decides about what lies in none, and nowhere is how that is listed.
	ownNamespace, nowhere = "ringfence-system", "(what lies in no namespace)"
	postureProducer       = "posture"
)

// tracker goes through the records of a ledger and keeps what they say of one control in one time.
type tracker struct {
	*InForceAnswer
	filter Filter
	seen   map[string]*Seen
	guards []Weaker          // changes of Guards
	open   map[string]Weaker // what is weaker since the latest posture, by what and where
	own    map[string]bool   // names of policies: whether they refuse for the control
	holes  []hole
	silent map[string]int // by producer: the place in holes of a silence without an end
	shown  shown

	last    time.Time // of the latest posture; zero before the first
	cluster string
	blind   bool     // nobody looked since: the next posture begins anew
	over    bool     // a posture at the end of the time was seen
	pending []string // what the latest posture cannot tell: it counts where the posture says something of the time
}

// hole is a record that something is unknown, or that a policy was not in place.
type hole struct {
	kind, who, what string
	since, until    time.Time
	lost, entry     uint64
}

// add takes an entry.
func (t *tracker) add(i Item) {
	if i.Is("verification") {
		t.shown.add(i, t.Until)
	}
	switch {
	case i.Unreadable:
		if i.Is("posture") || i.Is("policy-gap") || i.Is("silence") || i.Is("overflow") {
			t.why("a record of kind %s cannot be read (entry %d)", i.Kind, i.Index)
		}
		return
	case i.Is("posture"):
		t.posture(i)
	case isGap(i):
		t.gap(i)
	}
	if at, ok := t.silent[i.Producer]; ok { // it was heard again, though nobody said so
		t.holes[at].until = i.Time
		delete(t.silent, i.Producer)
	}
	if i.Time.Before(t.Since) || !i.Time.Before(t.Until) {
		return
	}
	if i.Is("change") {
		t.changed(i)
	}
	if i.CatalogueDigest != "" && len(t.Catalogues) < 100 && !slices.Contains(t.Catalogues, i.CatalogueDigest) {
		t.Catalogues = append(t.Catalogues, i.CatalogueDigest)
	}
	t.work(i)
}

// gap keeps a hole that touches the time. While nobody looks, what was seen before ends with the last look.
func (t *tracker) gap(i Item) {
	a := i.About
	if i.Is("silence") && a.Producer == postureProducer && !t.blind {
		t.close(nil, a.Since)
		t.blind = true
	}
	h := hole{kind: strings.TrimSuffix(i.Kind, ".v1"), who: a.Producer, what: a.Why, since: a.Since, until: a.Until, lost: a.Lost, entry: i.Index}
	if i.Is("policy-gap") {
		h.who, h.what = a.Object.Name, a.Object.Kind+" "+a.Object.Name+" was "+a.What
	}
	if at, ok := t.silent[h.who]; ok && i.Is("silence") && !h.until.IsZero() {
		t.holes[at].until = h.until
		delete(t.silent, h.who)
		if h.what == "quiet" {
			return
		}
	}
	if !h.since.Before(t.Until) || !h.until.IsZero() && !h.until.After(t.Since) {
		return
	}
	if len(t.holes) == maxGaps {
		t.why("there are more gaps than are looked at")
		return
	}
	if i.Is("silence") && h.until.IsZero() {
		t.silent[h.who] = len(t.holes)
	}
	t.holes = append(t.holes, h)
}

// hole says what follows of one. Records that came late are there. A restart stops all producers alike: when it was is told by
// the silence of postures, whose last record is never old, and not by that of others. A policy that does not refuse for the
// control may be missing.
func (t *tracker) hole(h hole) {
	refuses, known := t.own[h.who]
	switch {
	case h.kind == "overflow" && h.lost == 0, h.kind == "silence" && h.what == "restart" && h.who != postureProducer, h.kind == "policy-gap" && known && !refuses:
	case h.kind == "policy-gap" && refuses:
		t.weaker(Weaker{[]string{}, h.what, later(h.since, t.Since), sooner(h.until, t.Until), h.entry})
	case h.kind == "policy-gap":
		t.why("%s from %s to %s (entry %d)", h.what, stamp(h.since), stamp(h.until), h.entry)
	case h.kind == "overflow":
		t.why("%d records of %s were lost from %s to %s (entry %d)", h.lost, h.who, stamp(h.since), stamp(h.until), h.entry)
	case h.what == "restart":
		t.why("the control plane was down, or not seen to run, from %s to %s (entry %d)", stamp(h.since), stamp(h.until), h.entry)
	case h.until.IsZero():
		t.why("%s was not heard since %s, and no end is recorded (entry %d)", h.who, stamp(h.since), h.entry)
	default:
		t.why("%s was not heard from %s to %s (entry %d)", h.who, stamp(h.since), stamp(h.until), h.entry)
	}
}

// posture takes the next one. It says what holds until the one after it.
func (t *tracker) posture(i Item) {
	var b record.PostureBody
	if json.Unmarshal(i.Body, &b) != nil {
		t.why("a record of kind %s cannot be read (entry %d)", i.Kind, i.Index)
		return
	}
	switch {
	case t.cluster != "" && i.Cluster != t.cluster:
		t.why("the ledger holds postures of more than one cluster, which are not told apart")
		return
	case t.over && !i.Time.Before(t.Until):
		return
	case i.Time.Before(t.last) && t.last.After(t.Since):
		t.why("the clock went back from %s to %s (entry %d)", stamp(t.last), stamp(i.Time), i.Index)
	case t.last.IsZero() && i.Time.After(t.Since):
		t.why("no posture is known before %s (entry %d)", stamp(i.Time), i.Index)
	case i.Time.After(t.Since) && i.Time.Sub(t.last) > record.PostureLasts:
		t.why("no posture is known from %s to %s (entry %d)", stamp(t.last), stamp(i.Time), i.Index)
	}
	if i.Time.After(t.Since) {
		t.commit()
	}
	t.pending = nil
	found := t.find(i, b)
	t.close(found, i.Time)
	for key, w := range found {
		_, ok := t.open[key]
		if !ok && !i.Time.Before(t.Until) && i.Time.Add(-postureLate).Before(t.Until) {
			t.why("the posture of %s finds it weaker, which may have begun before the end of this time (entry %d)", stamp(i.Time), i.Index)
		}
		if !ok {
			w.Since = i.Time
			t.open[key] = w
		}
	}
	t.cluster, t.last, t.blind, t.over = i.Cluster, i.Time, false, !i.Time.Before(t.Until)
	if !i.Time.After(t.Since) {
		t.Postures, t.FirstPosture = 0, i.Index
	}
	t.Postures++
	t.LastPosture = i.Index
}

// close ends what is weaker no more, nil for all.
func (t *tracker) close(still map[string]Weaker, at time.Time) {
	for key, w := range t.open {
		if _, ok := still[key]; ok {
			continue
		}
		delete(t.open, key)
		if !w.Since.Before(t.Until) || w.Since.Before(t.Since) && !at.After(t.Since) {
			continue // it is of another time
		}
		w.Since = later(w.Since, t.Since)
		w.Until = later(sooner(at, t.Until), w.Since)
		t.weaker(w)
	}
}

// finish ends what still is open at the last posture, and says where that does not cover the time.
func (t *tracker) finish() {
	if !t.over {
		t.commit()
	}
	if t.over || !t.blind && !t.last.IsZero() {
		t.close(nil, t.last)
	}
	switch {
	case t.last.IsZero():
		t.why("the ledger holds no posture, so nobody can tell what was enforced")
	case !t.over:
		t.why("nothing is known after %s, the last posture (entry %d)", stamp(t.last), t.LastPosture)
	}
}

// commit makes reasons of what the latest posture cannot tell.
func (t *tracker) commit() {
	for _, reason := range t.pending {
		t.why("%s", reason)
	}
}

// find is where and how a posture has the control weaker than Deny, by what and where. What it cannot tell becomes a reason, where
// it matters.
func (t *tracker) find(i Item, b record.PostureBody) map[string]Weaker {
	found := map[string]Weaker{}
	matters := i.Time.Before(t.Until) // later ones only tell that the time is over, and what was weak just before
	add := func(what string, namespaces []string) {
		slices.Sort(namespaces)
		found[what+"\n"+strings.Join(namespaces, " ")] = Weaker{Namespaces: namespaces, What: what, Entry: i.Index}
	}
	why := func(format string, args ...any) {
		if matters && len(t.pending) < 100 {
			t.pending = append(t.pending, fmt.Sprintf(format, args...))
		}
	}
	if b.Generation == 0 {
		why("there was no Platform at %s, so nobody kept policies in place (entry %d)", stamp(i.Time), i.Index)
		return found
	}
	limited := t.filter.Namespace != "" || t.filter.Tenant != ""
	policies, inside, outside := t.policies(b, matters)
	switch {
	case len(policies) == 0:
		add("no policy refuses for it", []string{})
		return found
	case limited && !inside:
		why("it judges what lies in no namespace; ask without --tenant and --namespace")
		return found
	}
	for _, p := range policies {
		if p.What != "" && (!limited || !p.ClusterScoped) {
			add("policy "+p.Name+" "+p.What, []string{})
		}
	}
	s := scope{t.filter, b, inside, outside && !limited, 0}
	for _, table := range b.Tables {
		names, err := record.Unfold(table.Namespaces)
		if err != nil {
			why("a posture cannot be read (entry %d)", i.Index)
		}
		names = s.asked(names)
		if action := b.ActionIn(table, t.Control); action != finding.Deny && len(names) > 0 {
			add(string(action), names)
		}
	}
	if exempt := t.among(b.Exempt); inside && len(exempt) > 0 {
		add("exempt", exempt)
	}
	t.beside(i, b, s, add, why, matters)
	return found
}

// beside looks at the namespaces that no table names.
func (t *tracker) beside(i Item, b record.PostureBody, s scope, add func(string, []string), why func(string, ...any), matters bool) {
	bare, err := record.Unfold(b.Unguarded)
	if err != nil {
		why("a posture cannot be read (entry %d)", i.Index)
	}
	bare = t.among(bare)
	if pinned := t.among(b.Pinned); t.filter.Namespace != "" && len(pinned) > 0 {
		add("never judged by any policy", pinned)
	} else if matters && s.inside {
		t.NeverJudged = b.Pinned
	}
	switch {
	case b.More > 0 && s.inside && (t.filter.Namespace == "" || s.n == 0):
		why("the posture of %s had no room for %d namespaces (entry %d)", stamp(i.Time), b.More, i.Index)
	case s.inside && s.n+len(bare)+len(t.among(b.Exempt))+len(t.among(b.Pinned)) == 0:
		why("no such namespace is known at %s (entry %d)", stamp(i.Time), i.Index)
	}
	if !matters || !s.inside {
		return
	}
	t.Guarded = s.n
	for _, name := range bare {
		if !slices.Contains(t.Unguarded, name) && len(t.Unguarded) < maxWeaker && !i.Time.Before(t.Since) {
			t.Unguarded = append(t.Unguarded, name)
		}
	}
}

// policies are those that refuse for the control, and whether some judge what lies in namespaces, and what lies in none.
func (t *tracker) policies(b record.PostureBody, matters bool) (all []record.PostureBundle, inside, outside bool) {
	names := []string{}
	for _, p := range b.Bundles {
		refuses := slices.Contains(p.Controls, t.Control)
		if len(t.own) < maxWeaker {
			t.own[p.Name] = t.own[p.Name] || refuses
		}
		if !refuses {
			continue
		}
		all = append(all, p)
		inside, outside = inside || !p.ClusterScoped, outside || p.ClusterScoped
		names = append(names, p.Name)
	}
	if matters {
		t.Policies = names
	}
	return all, inside, outside
}

// scope says which guarded namespaces count.
type scope struct {
	filter          Filter
	body            record.PostureBody
	inside, outside bool
	n               int // of those that count
}

// asked are those of some guarded namespaces that count. Ringfence's own stands for what lies in none.
func (s *scope) asked(names []string) (out []string) {
	for _, name := range names {
		switch {
		case name == ownNamespace && s.outside:
			out = append(out, nowhere)
		case !s.inside, name == ownNamespace, slices.Contains(s.body.Pinned, name), slices.Contains(s.body.Exempt, name), !s.filter.inside(name):
		default:
			s.n++
			out = append(out, name)
		}
	}
	return out
}

// among are those that are asked about.
func (t *tracker) among(names []string) (out []string) {
	for _, name := range names {
		if t.filter.inside(name) {
			out = append(out, name)
		}
	}
	return out
}

// later is the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sooner is the sooner of two times, of which a may be zero for never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || a.After(b) {
		return b
	}
	return a
}
