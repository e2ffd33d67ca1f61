package image

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rule is what a bank demands of images. Its zero value refuses everything that is not scanned this very second.
type Rule struct {
	Name            string        // what the bank calls one for some tenants or environments; "" is the bank's own
	MaxScanAge      time.Duration // a scan counts while it is at most so old, to the second
	DenySeverity    int           // the lowest severity, of 5, that refuses
	Grace           time.Duration // so long after its publication such a vulnerability only warns
	UndatedAsNew    bool          // a vulnerability without a publication date warns; else it refuses
	DatedBy         []string      // whose dates of publication count: osv, nvd, a scanner; empty: everybody's
	WarnUnfixable   bool          // one without a fixed version warns, however old
	Scanners        []string      // whose scans count; empty: everybody's
	RescheduleGrace time.Duration // so long an image that ran already may start again after it became refused
}

// Outcome is what follows for an image. The zero value is none, and blocks.
type Outcome string

// The outcomes.
const (
	Allow     Outcome = "allow"
	Warn      Outcome = "warn"
	Deny      Outcome = "deny"
	Undecided Outcome = "undecided" // what is known cannot be believed; a door takes the configured side, which is refusal
)

// rank orders outcomes: the strictest part of a verdict is the verdict.
var rank = map[Outcome]int{Allow: 1, Warn: 2, Undecided: 3, Deny: 4}

// skew is how far the clock of a scanner may be ahead.
const skew = 5 * time.Minute

// Reason is one thing that was found, and what it does.
type Reason struct {
	Outcome       Outcome   `json:"outcome"`
	Vulnerability string    `json:"vulnerability,omitempty"` // its id; "" of what concerns the scan
	Text          string    `json:"text"`                    // one line
	Since         time.Time `json:"since,omitzero"`          // when it began to refuse; zero where it does not, or nobody knows
	Until         time.Time `json:"until,omitzero"`          // the first instant at which it does something else, by the clock alone; zero never
	// Exploited tells that the vulnerability is known to be exploited, and that the image is affected. Text says so too, and statements only there.
	Exploited bool `json:"-"`
}

// Verdict is what the rule says of an image at an instant. Two controls read it: one its scan, one its vulnerabilities.
type Verdict struct {
	At              time.Time
	Rule            string   // the name of the rule
	Scan            []Reason // one: when it was scanned, or that it was not
	Vulnerabilities []Reason // worst first; empty: none that matters, or nothing known
}

// Advisories gives what is published of a vulnerability under one of its names; nil knows nothing.
type Advisories func(name string) (Advisory, bool)

// Advisory is what the world knows of a vulnerability, whichever image has it.
type Advisory struct {
	ID        string   `json:"id"`
	Aliases   []string `json:"aliases,omitempty"`
	Published []Dated  `json:"published,omitempty"` // one a source, in no order
	Exploited bool     `json:"exploited,omitempty"` // known to be exploited (CISA KEV)
}

// Dated is when a source says that something was published.
type Dated struct {
	At     time.Time `json:"at"`
	Source string    `json:"source"` // "nvd", "osv", "scanner"
}

// Judge says what the rule says of an image now. It reads nothing but what it is given.
//
// Instants: a scan counts while now - At <= MaxScanAge, and a vulnerability warns while now - Published <= Grace, both to the
// second in UTC. So what Until and Since name is one second after the last instant that still counted.
func Judge(f Facts, r Rule, known Advisories, now time.Time) Verdict {
	v := Verdict{At: now, Rule: r.Name, Scan: []Reason{judgeScan(f, r, now)}}
	for _, w := range weaknesses(f, r, known, now) {
		if reason, matters := w.judge(r, now); matters {
			v.Vulnerabilities = append(v.Vulnerabilities, reason)
		}
	}
	slices.SortStableFunc(v.Vulnerabilities, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(rank[b.Outcome], rank[a.Outcome]), a.Until.Compare(b.Until), strings.Compare(a.Vulnerability, b.Vulnerability))
	})
	return v
}

// Outcome is the strictest of what the reasons say.
func (v Verdict) Outcome() Outcome { return worst(append(slices.Clone(v.Scan), v.Vulnerabilities...)) }

// worst is the strictest outcome of reasons; of none it is Allow.
func worst(reasons []Reason) Outcome {
	o := Allow
	for _, r := range reasons {
		if rank[r.Outcome] > rank[o] || rank[r.Outcome] == 0 {
			o = r.Outcome
		}
	}
	return o
}

// Worst is the stricter of two outcomes.
func Worst(a, b Outcome) Outcome { return worst([]Reason{{Outcome: a}, {Outcome: b}}) }

// Until is the first instant at which the clock alone changes the verdict, and the reason that does; zero where none does.
func (v Verdict) Until() (time.Time, Reason) {
	var first Reason
	for _, r := range append(slices.Clone(v.Scan), v.Vulnerabilities...) {
		if !r.Until.IsZero() && (first.Until.IsZero() || r.Until.Before(first.Until)) {
			first = r
		}
	}
	return first.Until, first
}

// Rescheduled is the outcome for a workload whose image ran before it became refused: it may start again until the
// second instant, which is the end of its debt. Where nobody knows since when it is refused, lost says when it was first seen to be.
func (v Verdict) Rescheduled(r Rule, lost time.Time) (Outcome, time.Time) {
	o := v.Outcome()
	if o != Deny {
		return o, time.Time{}
	}
	since := lost
	for _, reason := range append(slices.Clone(v.Scan), v.Vulnerabilities...) {
		if reason.Outcome == Deny && !reason.Since.IsZero() && (since.IsZero() || reason.Since.Before(since)) {
			since = reason.Since
		}
	}
	if end := since.Add(r.RescheduleGrace); !since.IsZero() && v.At.Before(end) {
		return Warn, end
	}
	return Deny, time.Time{}
}

// Forecast is how the verdict changes from now until an instant if nothing new is learnt: the verdict of now first, then each
// change in order of time.
func Forecast(f Facts, r Rule, known Advisories, now, end time.Time) []Verdict {
	all := []Verdict{Judge(f, r, known, now)}
	for {
		next, _ := all[len(all)-1].Until()
		if next.IsZero() || !next.Before(end) || !next.After(now) {
			return all
		}
		now = next
		all = append(all, Judge(f, r, known, now))
	}
}

// after is the first instant at which something from at is older than an age, to the second.
func after(at time.Time, age time.Duration) time.Time {
	return at.UTC().Truncate(time.Second).Add(age + time.Second)
}

// judgeScan says whether the image is scanned: the newest scan that counts decides.
func judgeScan(f Facts, r Rule, now time.Time) Reason {
	var newest, future Scan
	for _, s := range f.Scans {
		switch {
		case s.At.IsZero() || !r.counts(s.Scanner):
		case s.At.After(now.Add(skew)):
			future = s
		case s.At.After(newest.At):
			newest = s
		}
	}
	end := after(newest.At, r.MaxScanAge)
	switch {
	case len(f.Digests) == 0:
		return Reason{Outcome: Deny, Text: "not scanned: no report names its digest"}
	case newest.At.IsZero() && !future.At.IsZero():
		return Reason{Outcome: Undecided, Until: future.At.UTC().Add(-skew), Text: fmt.Sprintf("scanned by %s at %s, which is in the future; want a right clock", future.Scanner, stamp(future.At))}
	case newest.At.IsZero() && len(r.Scanners) > 0:
		return Reason{Outcome: Deny, Text: "not scanned by " + strings.Join(r.Scanners, " or ")}
	case newest.At.IsZero():
		return Reason{Outcome: Deny, Text: "not scanned"}
	case !now.Before(end):
		return Reason{Outcome: Deny, Since: end, Text: fmt.Sprintf("scanned last by %s at %s; want a scan at most %s old", newest.Scanner, stamp(newest.At), span(r.MaxScanAge))}
	}
	return Reason{Outcome: Allow, Until: end, Text: fmt.Sprintf("scanned by %s at %s, which counts for %s", newest.Scanner, stamp(newest.At), span(r.MaxScanAge))}
}

// counts tells whether a scanner's scans count.
func (r Rule) counts(scanner string) bool {
	return len(r.Scanners) == 0 || slices.Contains(r.Scanners, scanner)
}

// dates tells whether a source's dates count. A scanner names the field behind a colon.
func (r Rule) dates(source string) bool {
	who, _, _ := strings.Cut(source, ":")
	return len(r.DatedBy) == 0 || slices.Contains(r.DatedBy, who)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// span writes a duration as people say it: whole days where it is such.
func span(d time.Duration) string {
	if day := 24 * time.Hour; d >= day && d%day == 0 {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}
