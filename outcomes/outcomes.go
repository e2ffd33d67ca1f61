// Package outcomes says what became better, from what the evidence holds of a time: what stands open, how fast it is fixed, who has
// nothing open, what is waived and since when, and where mistakes were stopped.
//
// It only counts: package server gathers what it counts from the store and the cluster, the command line shows it. What was not
// observed is said beside every number that it bears on, never counted as none.
package outcomes

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
)

// SchemaVersion is the form of Outcomes as JSON; fields are only added.
const SchemaVersion = "ringfence.dev/outcomes/v1"

// Stood is a finding of an object in the cluster, while it stood.
type Stood struct {
	Control, Namespace string
	Severity           finding.Severity
	Since              time.Time
	// Until is zero while it stands; Why says why it closed.
	Until  time.Time
	Why    string
	Waived bool
}

// Waiver is one that is in force.
type Waiver struct{ Granted, Expires time.Time }

// Input is what is counted.
type Input struct {
	From, Now time.Time
	// Open stand now, Closed closed since From.
	Open, Closed []Stood
	// Tenants are the namespaces of each; nil where they are not known.
	Tenants map[string][]string
	Waivers []Waiver
	// Promotions are the changes of actions that stand.
	Promotions []Promotion
	// Runs are runs of check that were sent in, RunsRefused those that refused; Refused are requests that the cluster refused, dry runs aside.
	Runs, RunsRefused, Refused int
	// Unknown are what is not known of the time, in words, More that there is more of it, or more findings than were counted.
	Unknown []string
	More    bool
	// Scanned says that everything was judged at least once, but for Unread resources and for what lies in Unguarded namespaces.
	Scanned           bool
	Unread, Unguarded []string
}

// Outcomes is what became of it.
type Outcomes struct {
	SchemaVersion string    `json:"schemaVersion"`
	From          time.Time `json:"from"`
	Until         time.Time `json:"until"`
	// Open are findings that stand, by severity; null where the scan has not judged everything: then it is not known. Waived are not among them.
	Open   map[finding.Severity]int `json:"open"`
	Waived int                      `json:"waived"`
	// OldestOpen is since when the oldest stands; null for none.
	OldestOpen *time.Time `json:"oldestOpen"`
	// Tenants are how many there are, TenantsClean those with nothing open in namespaces that are all judged; null where that is not known.
	Tenants      *int `json:"tenants"`
	TenantsClean *int `json:"tenantsClean"`
	// Waivers that are in force, and since when on average and at most, in days.
	Waivers          int     `json:"waivers"`
	WaiverDaysMean   float64 `json:"waiverDaysMean"`
	WaiverDaysOldest float64 `json:"waiverDaysOldest"`
	// Opened and Fixed are findings within the time that nothing waived. MeanHoursToFix and MedianHoursToFix are from opened to closed, of those that were fixed or deleted
	// in the time; null where none was. What still stands is not in them.
	Opened           int      `json:"opened"`
	Fixed            int      `json:"fixed"`
	MeanHoursToFix   *float64 `json:"meanHoursToFix"`
	MedianHoursToFix *float64 `json:"medianHoursToFix"`
	// ClosedOtherwise are those that closed because a rule, an exemption or what is judged changed: nobody fixed them.
	ClosedOtherwise int `json:"closedOtherwise"`
	// AtCheck are runs of check that refused, of Runs that were sent in; AtAdmission are requests that the cluster refused.
	Runs        int `json:"runs"`
	AtCheck     int `json:"atCheck"`
	AtAdmission int `json:"atAdmission"`
	// Promotions are what became of findings before and after each change of an action in the time, the newest first. Never null.
	Promotions []Effect `json:"promotions"`
	// Unknown is what was not observed, in words. More says that the numbers are "at least". Never null.
	Unknown []string `json:"unknown"`
	More    bool     `json:"more"`
}

// Of counts.
func Of(in Input) Outcomes {
	out := Outcomes{SchemaVersion: SchemaVersion, From: in.From.UTC(), Until: in.Now.UTC(), Waivers: len(in.Waivers), Runs: in.Runs, AtCheck: in.RunsRefused,
		AtAdmission: in.Refused, Unknown: append([]string{}, in.Unknown...), More: in.More}
	dirty := map[string]bool{}
	open := map[finding.Severity]int{finding.Critical: 0, finding.High: 0, finding.Medium: 0, finding.Low: 0}
	for _, f := range in.Open {
		if f.Waived {
			out.Waived++
			continue
		}
		open[f.Severity]++
		dirty[f.Namespace] = true
		if out.OldestOpen == nil || f.Since.Before(*out.OldestOpen) {
			out.OldestOpen = &f.Since
		}
		if !f.Since.Before(in.From) {
			out.Opened++
		}
	}
	if in.Scanned {
		for _, namespace := range in.Unguarded {
			dirty[namespace] = true // nobody has shown that it is not
		}
		out.Open = open
		out.clean(in.Tenants, dirty)
		out.unseen(in)
	} else {
		out.Unknown = append(out.Unknown, "what lies in the cluster: the background scan has not judged everything, or does not run here")
	}
	out.fixed(in)
	out.Promotions = effects(in)
	for _, w := range in.Waivers {
		days := in.Now.Sub(w.Granted).Hours() / 24
		out.WaiverDaysMean += days / float64(len(in.Waivers))
		out.WaiverDaysOldest = max(out.WaiverDaysOldest, days)
	}
	if in.Runs == 0 {
		out.Unknown = append(out.Unknown, "what pipelines stopped: no run of ringfence check was sent in (ringfence check --push)")
	}
	return out
}

// clean counts tenants without anything open.
func (o *Outcomes) clean(tenants map[string][]string, dirty map[string]bool) {
	if tenants == nil {
		o.Unknown = append(o.Unknown, "tenants: the cluster does not tell which there are")
		return
	}
	all, clean := len(tenants), 0
	for _, namespaces := range tenants {
		if !slices.ContainsFunc(namespaces, func(ns string) bool { return dirty[ns] }) {
			clean++
		}
	}
	o.Tenants, o.TenantsClean = &all, &clean
}

// maxUnseen is how many namespaces or resources one line of what is not known names.
const maxUnseen = 20

// unseen names what the scan did not look at, before all else that is not known.
func (o *Outcomes) unseen(in Input) {
	for _, part := range []struct {
		head  string
		names []string
	}{{"objects in namespaces without Guard: ", in.Unguarded}, {"objects that the API server does not let Ringfence read: ", in.Unread}} {
		if len(part.names) == 0 {
			continue
		}
		text := part.head + strings.Join(part.names[:min(len(part.names), maxUnseen)], ", ")
		if more := len(part.names) - maxUnseen; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		o.Unknown = slices.Insert(o.Unknown, 0, text)
	}
}

// fixed counts what closed.
func (o *Outcomes) fixed(in Input) {
	var hours []float64
	sum := 0.0
	for _, f := range in.Closed {
		if f.Waived {
			continue
		}
		if !f.Since.Before(in.From) {
			o.Opened++
		}
		switch {
		case f.Why == "waived": // it goes on as another
		case !f.mended():
			o.ClosedOtherwise++
		default:
			o.Fixed++
			hours = append(hours, f.Until.Sub(f.Since).Hours())
			sum += hours[len(hours)-1]
		}
	}
	if len(hours) == 0 {
		return
	}
	slices.Sort(hours)
	mean, median := sum/float64(len(hours)), hours[len(hours)/2]
	if len(hours)%2 == 0 {
		median = (median + hours[len(hours)/2-1]) / 2
	}
	o.MeanHoursToFix, o.MedianHoursToFix = &mean, &median
}
