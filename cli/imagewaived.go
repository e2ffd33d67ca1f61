package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/fleet"
	"ringfence.dev/ringfence/report"
	"ringfence.dev/ringfence/tenant"
)

// The fields of facts in a Guard by which controls refuse an image.
var (
	factScan            = regexp.MustCompile(`\.\??scannedUntil\b`)
	factVulnerabilities = regexp.MustCompile(`\.\??cleanUntil\b`)
	factSignature       = regexp.MustCompile(`\.\??signed\b`)
)

// imageControls are the ids of the controls that judge an image by a fact.
func imageControls(cat *control.Catalogue, fact *regexp.Regexp) (ids []string) {
	for _, c := range cat.Controls {
		if slices.ContainsFunc(c.Variables, func(v control.Variable) bool { return fact.MatchString(v.Expression) }) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// refusing are the ids of the controls that refuse an image by a verdict, in order.
func (j *judgedImages) refusing(v image.Verdict) (ids []string) {
	for fact, reasons := range map[*regexp.Regexp][]image.Reason{factScan: v.Scan, factVulnerabilities: v.Vulnerabilities} {
		if slices.ContainsFunc(reasons, refuses) {
			ids = append(ids, imageControls(j.catalogue, fact)...)
		}
	}
	slices.Sort(ids)
	return ids
}

// runningWorkload is a workload that runs an image, and the waivers by which it may start again although the image is refused: one for each
// control that refuses it, or none.
type runningWorkload struct {
	fleet.Workload
	Waived []imageWaiver `json:"waived"`
}

// imageWaiver is a waiver in force.
type imageWaiver struct {
	Control string    `json:"control"`
	Name    string    `json:"name"`
	Ticket  string    `json:"ticket"`
	Expires time.Time `json:"expires"`
}

// waivers are what the Guard of each namespace says is waived.
type waivers map[string]map[string]v1alpha1.SubjectWaivers

var guardsKind = control.Kind{APIGroup: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Kind: "Guard"}

// waivers reads the Guards. Who may not read them, and whoever asks a cluster without Ringfence, is told of none.
func (o *fleetOptions) waivers(ctx context.Context, env Env, command string) (waivers, error) {
	all := waivers{}
	err := o.each(ctx, env, command, []control.Kind{guardsKind}, func(object map[string]any) {
		var g v1alpha1.Guard
		if text, err := json.Marshal(object); err == nil && json.Unmarshal(text, &g) == nil && g.Name == v1alpha1.GuardName {
			all[g.Namespace] = g.Spec.Waivers
		}
	})
	if err == nil || ctx.Err() != nil {
		return all, ctx.Err()
	}
	env.note("which waivers are in force is not known: %s", report.Inert(err.Error()))
	return waivers{}, nil
}

// of are the waivers of a workload for all of some controls at a time; none where one of them has none. A Job is not known by its CronJob's.
func (all waivers) of(w fleet.Workload, refusing []string, at time.Time) []imageWaiver {
	found := []imageWaiver{}
	subject := all[w.Namespace][v1alpha1.WaiverKey(tenant.GroupOf(w.Kind), w.Kind, w.Name)]
	for _, id := range refusing {
		is, there := subject[id]
		end, err := time.Parse(time.RFC3339, is.Expires)
		if !there || err != nil || !at.Before(end) {
			return []imageWaiver{}
		}
		found = append(found, imageWaiver{id, is.Name, is.Ticket, end.UTC()})
	}
	return found
}

// waivedAll tells whether all that run an image may start again by waivers.
func waivedAll(by []runningWorkload) bool {
	return len(by) > 0 && !slices.ContainsFunc(by, func(w runningWorkload) bool { return len(w.Waived) == 0 })
}

// line is what the text says of it.
func (w runningWorkload) line() string {
	text := fmt.Sprintf("%s %s/%s, %s", w.Namespace, w.Kind, w.Name, count(w.Pods, "pod"))
	for i, by := range w.Waived {
		if i == 0 {
			text += "; waived: "
		} else {
			text += ", "
		}
		text += fmt.Sprintf("%s by %s until %s", by.Control, by.Name, by.Expires.Format(time.RFC3339))
	}
	return report.Inert(text)
}
