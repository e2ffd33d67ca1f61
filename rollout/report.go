package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
)

// Schema is the version of a Report's JSON. Fields are only added.
const Schema = "ringfence.dev/preflight/v1"

// Report is what a change would break. Lists are sorted and never null.
type Report struct {
	SchemaVersion string    `json:"schemaVersion"`
	Cluster       string    `json:"cluster"`
	At            time.Time `json:"at"`
	Action        string    `json:"action"`
	Scope         string    `json:"scope"`
	// Objects were judged. Already is how many of them are refused without the change too, and Undecided how often a control could
	// not be decided.
	Objects   int      `json:"objects"`
	Already   int      `json:"already"`
	Undecided int      `json:"undecided"`
	Controls  []Rule   `json:"controls"` // those that break least first
	Breaks    []Break  `json:"breaks"`
	Requests  Requests `json:"requests"`
	// NotObserved says what could not be read, and why: it is unknown, and not clean.
	NotObserved []string `json:"notObserved"`
}

// Rule is one control, and what its change would break.
type Rule struct {
	ID       string           `json:"id"`
	Title    string           `json:"title"`
	Severity finding.Severity `json:"severity"`
	// Restart, Anew and Requests are numbers of Breaks and of recorded requests.
	Restart  int `json:"restart"`
	Anew     int `json:"anew"`
	Requests int `json:"requests"`
	// Tenants are those with one, nobody's namespaces counted as one.
	Tenants int `json:"tenants"`
	// Unjudged says why the control could not be judged at all; "" where it was.
	Unjudged string `json:"unjudged"`
	// Unrecorded is in how many namespaces of tenants it only audits: of requests there that would be refused none is recorded.
	Unrecorded int `json:"unrecorded"`
}

// Seen is what a Preflight does not know by itself.
type Seen struct {
	Cluster     string
	At          time.Time
	Action      string
	Scope       Scope
	Rules       []Rule // with ID, Title, Severity and Unjudged
	Requests    Requests
	NotObserved []string
}

// Report is what was gathered.
func (p *Preflight) Report(s Seen) Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := Report{SchemaVersion: Schema, Cluster: s.Cluster, At: s.At.UTC().Truncate(time.Second), Action: s.Action, Scope: s.Scope.String(),
		Objects: p.objects, Already: p.already, Undecided: p.undecided, Controls: slices.Clone(s.Rules), Breaks: p.breaks(), Requests: s.Requests,
		NotObserved: append([]string{}, s.NotObserved...)}
	p.requests.sum(&r.Requests)
	r.Requests.Unknown, r.Requests.Unrecorded = append([]Unknown{}, r.Requests.Unknown...), append([]string{}, r.Requests.Unrecorded...)
	slices.Sort(r.Requests.Unrecorded)
	if r.Breaks == nil {
		r.Breaks = []Break{}
	}
	tenants := map[[2]string]bool{}
	at := map[string]*Rule{}
	for i := range r.Controls {
		at[r.Controls[i].ID] = &r.Controls[i]
	}
	touch := func(id, tenant string) *Rule {
		c := at[id]
		if c != nil && !tenants[[2]string{id, tenant}] {
			tenants[[2]string{id, tenant}] = true
			c.Tenants++
		}
		return c
	}
	for _, b := range r.Breaks {
		if c := touch(b.Control, b.Tenant); c != nil && b.When == Restart {
			c.Restart++
		} else if c != nil {
			c.Anew++
		}
	}
	for _, g := range r.Requests.Groups {
		if c := touch(g.Control, g.Tenant); c != nil {
			c.Requests += g.Times
		}
	}
	slices.SortStableFunc(r.Controls, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(a.Restart, b.Restart), cmp.Compare(a.Anew, b.Anew), cmp.Compare(a.Requests, b.Requests), strings.Compare(a.ID, b.ID))
	})
	return r
}

// Broken is how many objects and groups of requests would be refused.
func (r Report) Broken() int { return len(r.Breaks) + len(r.Requests.Groups) }

// Unjudged are the ids of the controls that could not be judged.
func (r Report) Unjudged() (ids []string) {
	for _, c := range r.Controls {
		if c.Unjudged != "" {
			ids = append(ids, c.ID+" ("+c.Unjudged+")")
		}
	}
	return ids
}

// Exit is the exit code: something could not be read before something would break before something could not be decided. strict wants
// requests to be observed.
func (r Report) Exit(strict bool) int {
	switch {
	case len(r.NotObserved) > 0:
		return finding.ExitUsage
	case r.Broken() > 0:
		return finding.ExitRefused
	case r.Undecided > 0 || len(r.Unjudged()) > 0 || strict && !r.Requests.Observed:
		return finding.ExitUndecided
	}
	return finding.ExitAllowed
}

// Text is the report for people; at most most lines of each list, 0 for all.
func (r Report) Text(most int) string {
	var b strings.Builder
	c := r.Controls[0]
	fmt.Fprintf(&b, "%s %s -> %s, %s: cluster %s, %s judged\n", c.ID, c.Title, r.Action, r.Scope, r.Cluster, plural(r.Objects, "object"))
	for _, when := range []struct{ word, head string }{{Restart, "run now and would be refused at their next restart"}, {Anew, "are there and could not be created anew"}} {
		var some []Break
		for _, br := range r.Breaks {
			if br.When == when.word {
				some = append(some, br)
			}
		}
		fmt.Fprintf(&b, "\n%d %s\n", len(some), when.head)
		writeBreaks(&b, some, most)
	}
	b.WriteString("\n" + r.Requests.text(most))
	if r.Already > 0 {
		fmt.Fprintf(&b, "\n%s refused with or without this change: they are no news and not counted\n", plural(r.Already, "finding"))
	}
	for _, why := range r.NotObserved {
		fmt.Fprintf(&b, "not observed: %s\n", finding.Clean(why))
	}
	if len(r.Unjudged()) > 0 {
		fmt.Fprintf(&b, "could not be decided: %s\n", strings.Join(r.Unjudged(), ", "))
	}
	return b.String()
}

// whose names a tenant and who answers for it.
func whose(tenant, owner string) string {
	if tenant == "" {
		return "no tenant"
	}
	return tenant + " (" + owner + ")"
}

func writeBreaks(b *strings.Builder, all []Break, most int) {
	last := "?"
	for i, br := range all {
		if most > 0 && i == most {
			fmt.Fprintf(b, "  and %d more\n", len(all)-i)
			return
		}
		if who := whose(br.Tenant, br.Owner); who != last {
			fmt.Fprintf(b, "  %s\n", who)
			last = who
		}
		fmt.Fprintf(b, "    %s: %s at %s", br.Subject, br.Found, br.Path)
		if br.Pods > 0 {
			fmt.Fprintf(b, "; %s", plural(br.Pods, "pod"))
		}
		if br.PodsOnly {
			b.WriteString("; its template does not: something adds to it, or it is of an older one")
		}
		b.WriteString("\n")
	}
}

// text tells of requests.
func (r Requests) text(most int) string {
	var b strings.Builder
	if !r.Observed {
		fmt.Fprintf(&b, "requests not observed: %s\n", r.Why)
		return b.String()
	}
	since := r.Asked
	if r.Since != nil && r.Since.After(since) {
		since = *r.Since
	}
	fmt.Fprintf(&b, "%s since %s would have been refused", plural(r.Times, "recorded request"), since.UTC().Format(time.RFC3339))
	if since.After(r.Asked) {
		fmt.Fprintf(&b, " (asked from %s: before, requests were not observed)", r.Asked.UTC().Format(time.RFC3339))
	}
	b.WriteString("\n")
	for i, g := range r.Groups {
		if most > 0 && i == most {
			fmt.Fprintf(&b, "  and %d more\n", len(r.Groups)-i)
			break
		}
		fmt.Fprintf(&b, "  %s: %s %s/%s by %s, %d times, last %s\n", whose(g.Tenant, g.Owner), g.Kind, g.Namespace, g.Name, g.By, g.Times, g.Last.UTC().Format(time.RFC3339))
	}
	if r.DryRuns > 0 {
		fmt.Fprintf(&b, "  %s not counted\n", plural(r.DryRuns, "dry run"))
	}
	for i, g := range r.Unknown {
		if i == 20 {
			fmt.Fprintf(&b, "  unknown: %d more times\n", len(r.Unknown)-i)
			break
		}
		until := "no end recorded"
		if g.Until != nil {
			until = g.Until.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(&b, "  unknown: %s to %s: %s\n", g.Since.UTC().Format(time.RFC3339), until, finding.Clean(g.What))
	}
	if len(r.Unrecorded) > 0 {
		fmt.Fprintf(&b, "  not recorded, as the control only audits there: %s\n", strings.Join(r.Unrecorded, ", "))
	}
	return b.String()
}

// Table is the report of many controls for people, those that break least first.
func (r Report) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s: cluster %s, %s judged; what each control would break\n\n", r.Action, r.Scope, r.Cluster, plural(r.Objects, "object"))
	fmt.Fprintf(&b, "%-10s %-9s %8s %8s %9s %8s  %s\n", "ID", "SEVERITY", "RESTART", "ANEW", "REQUESTS", "TENANTS", "TITLE")
	unrecorded := false
	for _, c := range r.Controls {
		if c.Unjudged != "" {
			fmt.Fprintf(&b, "%-10s %-9s %s  %s\n", c.ID, c.Severity, "could not be decided: "+c.Unjudged, c.Title)
			continue
		}
		requests := fmt.Sprint(c.Requests)
		switch {
		case !r.Requests.Observed || c.Unrecorded > 0 && c.Requests == 0:
			requests = "unknown"
		case c.Unrecorded > 0:
			requests = ">=" + requests
		}
		unrecorded = unrecorded || c.Unrecorded > 0
		fmt.Fprintf(&b, "%-10s %-9s %8d %8d %9s %8d  %s\n", c.ID, c.Severity, c.Restart, c.Anew, requests, c.Tenants, c.Title)
	}
	switch {
	case !r.Requests.Observed:
		fmt.Fprintf(&b, "\nrequests not observed: %s\n", r.Requests.Why)
	case unrecorded:
		b.WriteString("\nrequests are not recorded where a control only audits: there they are unknown\n")
	}
	if n := len(r.Requests.Unknown); n > 0 {
		fmt.Fprintf(&b, "of %s something is not known; the preflight of one control names them\n", plural(n, "time"))
	}
	for _, why := range r.NotObserved {
		fmt.Fprintf(&b, "not observed: %s\n", finding.Clean(why))
	}
	return b.String()
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
