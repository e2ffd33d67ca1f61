package image

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// weakness is one vulnerability of an image, whoever found it, under whatever name, in however many packages.
type weakness struct {
	names     []string // as scanners call it
	named     map[string]bool
	severity  int // the worst that a scanner gave it
	packages  []string
	fixedIn   string
	learnt    time.Time // when a scan that counts found it first
	dates     []Dated   // oldest first, none in the future
	future    Dated     // the earliest date that is still to come, of what no scan with a time found; zero where there is none
	exploited bool
	excused   string // why the image is not affected; "" where a package is
}

// maxPackages is of how many packages a weakness remembers the names.
const maxPackages = 100

// occurrence is a vulnerability in a scan.
type occurrence struct {
	Vulnerability
	at time.Time
	of []string // the digests of its report
}

// weaknesses gathers what the newest scans of each scanner found, one entry for all that are the same under another name. What has
// no time is a statement: that an image is not affected excuses what scans found, and that it is counts as found.
func weaknesses(f Facts, r Rule, known Advisories, now time.Time) []weakness {
	scans := map[string][]Scan{}
	var found, before, statements []occurrence
	for _, s := range f.Scans {
		switch {
		case !r.counts(s.Scanner) || s.At.After(now.Add(skew)):
		case s.At.IsZero():
			for _, o := range occurrences(s) {
				if o.NotAffected != "" {
					statements = append(statements, o)
				} else {
					found = append(found, o)
				}
			}
		default:
			before = append(before, occurrences(s)...)
			scans[s.Scanner] = append(scans[s.Scanner], s)
		}
	}
	for _, scanner := range slices.Sorted(maps.Keys(scans)) {
		for _, s := range newest(scans[scanner]) {
			found = append(found, occurrences(s)...)
		}
	}
	groups := names{}
	for _, o := range slices.Concat(before, found, statements) {
		groups.join(o.ID, o.Aliases)
		for _, name := range append([]string{o.ID}, o.Aliases...) {
			if a, ok := lookup(known, name); ok {
				groups.join(name, append([]string{a.ID}, a.Aliases...))
			}
		}
	}
	stated := map[string][]occurrence{}
	for _, s := range statements {
		stated[groups.root(s.ID)] = append(stated[groups.root(s.ID)], s)
	}
	at, all := map[string]int{}, []weakness{}
	for _, o := range found {
		root := groups.root(o.ID)
		if _, seen := at[root]; !seen {
			at[root] = len(all)
			all = append(all, weakness{named: map[string]bool{}, learnt: o.at})
		}
		all[at[root]].add(o, stated[root])
	}
	for _, o := range before {
		if i, seen := at[groups.root(o.ID)]; seen && (all[i].learnt.IsZero() || o.at.Before(all[i].learnt)) {
			all[i].learnt = o.at
		}
	}
	for i := range all {
		all[i].date(known, r, now)
	}
	return all
}

// newest are those of one scanner's scans in whose place no later one stands: the last, and the last of each other platform of an index. Of two
// of one time both count.
func newest(scans []Scan) (all []Scan) {
	slices.SortStableFunc(scans, func(a, b Scan) int { return b.At.Compare(a.At) })
	for _, s := range scans {
		if !slices.ContainsFunc(all, func(later Scan) bool { return later.At.After(s.At) && !apart(later.Of, s.Of) }) {
			all = append(all, s)
		}
	}
	return all
}

func occurrences(s Scan) []occurrence {
	all := make([]occurrence, len(s.Vulnerabilities))
	for i, v := range s.Vulnerabilities {
		all[i] = occurrence{v, s.At, s.Of}
	}
	return all
}

func lookup(known Advisories, name string) (Advisory, bool) {
	if known == nil {
		return Advisory{}, false
	}
	return known(name)
}

// add takes up one more place in which the weakness was found. It is excused only where every place is.
func (w *weakness) add(o occurrence, statements []occurrence) {
	excuse := o.NotAffected
	for _, s := range statements {
		if excuse != "" {
			break
		}
		if (s.Package == "" || s.Package == o.Package) && !apart(s.of, o.of) {
			excuse = s.NotAffected
		}
	}
	if len(w.packages) == 0 || excuse == "" {
		w.excused = excuse
		w.severity = max(w.severity, o.Severity)
	}
	if len(w.packages) < maxPackages && !slices.Contains(w.packages, o.Package) {
		w.packages = append(w.packages, o.Package)
	}
	for _, name := range append([]string{o.ID}, o.Aliases...) {
		if !w.named[name] {
			w.named[name], w.names = true, append(w.names, name)
		}
	}
	if w.fixedIn == "" {
		w.fixedIn = o.FixedIn
	}
	w.exploited = w.exploited || o.Exploited
	if !o.Published.IsZero() {
		w.dates = append(w.dates, Dated{o.Published.UTC(), o.PublishedBy})
	}
}

// date adds what the advisories say, and sorts. What is said to be published after a scan found it was published by then. Where no scan says
// when it was found, a date in the future is none: else it would warn until then.
func (w *weakness) date(known Advisories, r Rule, now time.Time) {
	for _, name := range w.names {
		if a, ok := lookup(known, name); ok {
			w.exploited = w.exploited || a.Exploited
			w.dates = append(w.dates, a.Published...)
		}
	}
	w.dates = slices.DeleteFunc(w.dates, func(d Dated) bool { return !r.dates(d.Source) })
	for i, d := range w.dates {
		if d.At.After(w.learnt) && !w.learnt.IsZero() {
			w.dates[i] = Dated{w.learnt, d.Source + ", cut to the scan that found it"}
		}
	}
	slices.SortFunc(w.dates, func(a, b Dated) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return strings.Compare(a.Source, b.Source)
	})
	w.dates = slices.Compact(w.dates)
	if i := slices.IndexFunc(w.dates, func(d Dated) bool { return d.At.After(now.Add(skew)) }); i >= 0 {
		w.future, w.dates = w.dates[i], w.dates[:i]
	}
}

// judge says what the rule says of a weakness; false where it does not matter.
func (w weakness) judge(r Rule, now time.Time) (Reason, bool) {
	reason := Reason{Vulnerability: w.name()}
	var date time.Time
	if len(w.dates) > 0 {
		date = w.dates[0].At // the earliest wins
	}
	end := after(date, r.Grace)
	switch {
	case w.excused != "":
		reason.Outcome, reason.Text = Allow, "not affected: "+w.excused
	case w.exploited:
		reason.Outcome, reason.Exploited, reason.Since, reason.Text = Deny, true, w.learnt, "is being exploited, which has no grace"
	case w.severity == 0:
		reason.Outcome, reason.Text = Warn, "no scanner says how severe it is"
	case w.severity < r.DenySeverity:
		return Reason{}, false
	case w.fixedIn == "" && r.WarnUnfixable:
		reason.Outcome, reason.Text = Warn, "no fixed version is known"
	case date.IsZero() && r.UndatedAsNew:
		reason.Outcome, reason.Text = Warn, w.undated(r)+"; the Platform counts that as new"
	case date.IsZero():
		reason.Outcome, reason.Since, reason.Text = Deny, w.learnt, w.undated(r)+"; the Platform counts that as old"
		if !w.future.At.IsZero() {
			reason.Until = w.future.At.UTC().Add(-skew)
		}
	case !now.Before(end):
		reason.Outcome, reason.Since, reason.Text = Deny, later(end, w.learnt), fmt.Sprintf("published %s; refused %s", w.sources(), r.from())
	default:
		reason.Outcome, reason.Until, reason.Text = Warn, end, fmt.Sprintf("published %s; refused from %s", w.sources(), stamp(end))
	}
	reason.Text = fmt.Sprintf("%s in %s, severity %d: %s%s", reason.Vulnerability, w.where(), w.severity, reason.Text, w.fix())
	return reason, true
}

// undated is why no date counts.
func (w weakness) undated(r Rule) string {
	switch {
	case !w.future.At.IsZero():
		return fmt.Sprintf("published %s (%s), which is in the future and counts as no date", stamp(w.future.At), w.future.Source)
	case len(r.DatedBy) > 0:
		return "not one of " + strings.Join(r.DatedBy, ", ") + " says when it was published"
	}
	return "nobody says when it was published"
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// sources is the date that counts with who says it, and who says otherwise by more than a day.
func (w weakness) sources() string {
	first := w.dates[0]
	text := stamp(first.At) + " (" + first.Source + ")"
	for _, d := range w.dates[1:] {
		if d.At.Sub(first.At) > 24*time.Hour {
			return text + fmt.Sprintf(", against %s (%s)", stamp(d.At), d.Source)
		}
	}
	return text
}

// name is the one that is shown: that of the CVE list, where it has one.
func (w weakness) name() string {
	for _, name := range w.names {
		if strings.HasPrefix(name, "CVE-") {
			return name
		}
	}
	return w.names[0]
}

func (w weakness) where() string {
	if n := len(w.packages); n > 1 {
		return fmt.Sprintf("%s and %d more", w.packages[0], n-1)
	}
	return w.packages[0]
}

func (w weakness) fix() string {
	if w.fixedIn == "" {
		return ""
	}
	return "; fixed in " + w.fixedIn
}

// names joins names of the same vulnerability: each leads to another, and a root to itself.
type names map[string]string

func (n names) root(name string) string {
	root := name
	for n[root] != "" {
		root = n[root]
	}
	for name != root { // the next who asks has a short way
		name, n[name] = n[name], root
	}
	return root
}

func (n names) join(name string, others []string) {
	for _, other := range others {
		if a, b := n.root(name), n.root(other); a != b {
			n[b] = a
		}
	}
}

// from says when a rule begins to refuse, counted from the publication.
func (r Rule) from() string {
	if r.Grace == 0 {
		return "at once"
	}
	return "after " + span(r.Grace)
}
