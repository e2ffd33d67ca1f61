package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/fleet"
	"ringfence.dev/ringfence/report"
)

// The JSON of image forecast. Fields are only added; every key is always there.
type (
	imageForecast struct {
		SchemaVersion string        `json:"schemaVersion"` // ringfence.dev/image-forecast/v1
		From          time.Time     `json:"from"`
		To            time.Time     `json:"to"`
		Changes       []imageChange `json:"changes"` // in the order of time
		Refused       int           `json:"refused"` // images that are refused already
		Steady        int           `json:"steady"`  // images that the clock does not change
		Tenant        *string       `json:"tenant"`  // of whom alone images are told; null: all that the reports name
	}
	imageChange struct {
		At           time.Time     `json:"at"`
		Digests      []string      `json:"digests"`
		Repositories []string      `json:"repositories"`
		Rule         *string       `json:"rule"` // the Platform's for some tenants or environments; null: the bank's own
		Was          image.Outcome `json:"was"`
		Becomes      image.Outcome `json:"becomes"`
		Why          string        `json:"why"`
		// Instead are digests of the same repository that may run then.
		Instead []string `json:"instead"`
		// Workloads run it, each with the waivers by which it may start again then; null without --tenant.
		Workloads []runningWorkload `json:"workloads"`
	}
)

func newImageForecast(env Env) *cobra.Command {
	const command = "ringfence image forecast"
	var o fleetOptions
	days, of := 14, ""
	cmd := &cobra.Command{
		Use: "forecast REPORT...", Short: "Say which images become undeployable, when, and why",
		Long: `Say which images of scanners' reports may run now and will be refused within --days, if nothing new is learnt: their scan gets too old,
or the grace of a vulnerability ends. Where another digest of the same repository may run then, it is named.

With --tenant only images are told that pods of that tenant run in the cluster of the kubeconfig, in its namespaces or in that of
--namespace, and which workloads those are; one that no report names is told as refused already. Which workload has waivers by which it may start
again all the same is shown: the Guards say so, as they are now. Whose a namespace is says its label, or the Tenants of --platform. The cluster is
only read.

Exit codes: 0 nothing becomes refused, or each workload of what does has waivers; 1 something does; 2 the cluster, a report or a setting cannot be read.`,
		Example: "  ringfence image forecast reports/*.json --days 30 --platform platform.yaml --advisories advisories.gz\n" +
			"  ringfence image forecast reports/*.json --tenant payments --platform settings/ --advisories advisories.gz",
		RunE: func(cmd *cobra.Command, args []string) error {
			if days < 1 || days > 3650 {
				return usagef(command, "--days %d: want 1 to 3650", days)
			}
			if of == "" && (o.namespace != "" || o.kubeconfig != "" || o.context != "") {
				return usagef(command, "a cluster is named and no --tenant; want the tenant whose images are told, or no cluster: without one all images of the reports are")
			}
			j, err := o.judge(cmd.Context(), env, command, args)
			if err != nil {
				return err
			}
			var told []toldImage
			var waived waivers
			if of == "" {
				j.judgeIn(env, "", "--tenant")
				for _, f := range j.facts {
					told = append(told, toldImage{f, j.rule, nil})
				}
			} else if told, waived, err = o.runBy(cmd.Context(), env, command, j, of); err != nil {
				return err
			}
			f := j.forecast(told, waived, time.Duration(days)*24*time.Hour)
			if of != "" {
				f.Tenant = &of
			}
			if err := f.write(env, o.output); err != nil {
				return fmt.Errorf("write the forecast: %w", err)
			}
			switch {
			case j.invalid > 0:
				return exit(finding.ExitUsage)
			case slices.ContainsFunc(f.Changes, func(c imageChange) bool { return !waivedAll(c.Workloads) }):
				return exit(finding.ExitRefused)
			}
			return nil
		},
	}
	o.register(cmd)
	cmd.Flags().IntVar(&days, "days", days, "look so many days ahead")
	cmd.Flags().StringVar(&of, "tenant", "", "only images that pods of this `TENANT` run in the cluster")
	return cmd
}

// toldImage is an image that is told of, a rule that holds where it runs, and what runs it there; nil where no cluster is asked.
type toldImage struct {
	image.Facts
	rule      image.Rule
	workloads []fleet.Workload
}

// runBy are the images that pods of a tenant run, and what is waived; of what no report names the facts are empty but for its digest or reference.
func (o *fleetOptions) runBy(ctx context.Context, env Env, command string, j *judgedImages, of string) ([]toldImage, waivers, error) {
	whose, err := o.owners(ctx, env, command, j.settings)
	if err != nil {
		return nil, nil, err
	}
	if !whose.know(of) {
		return nil, nil, usagef(command, "--tenant %q: no namespace has the label %s with it, and no Tenant of --platform has that name; want a tenant's name", finding.Value(of), v1alpha1.LabelTenant)
	}
	waived, err := o.waivers(ctx, env, command)
	if err != nil {
		return nil, nil, err
	}
	running, err := o.running(ctx, env, command)
	if err != nil {
		return nil, nil, err
	}
	known, at, told := j.byDigest(), map[[2]string]int{}, []toldImage{} // at is one higher
	rules := &placedRules{whose, j.settings.platform}
	for _, r := range running.Running() {
		f, scanned := known[r.Digest]
		if !scanned {
			f = image.Facts{Digests: []string{r.Name()}}
		}
		own := slices.DeleteFunc(r.Workloads, func(w fleet.Workload) bool { return whose.of(w.Namespace).Tenant != of })
		for _, part := range rules.split(own) {
			is := [2]string{f.Digests[0], part.rule.Name}
			if at[is] == 0 {
				told = append(told, toldImage{Facts: f, rule: part.rule})
				at[is] = len(told)
			}
			one := &told[at[is]-1]
			one.workloads = append(one.workloads, part.workloads...)
		}
	}
	return told, waived, nil
}

// forecast finds those of images that become refused.
func (j *judgedImages) forecast(told []toldImage, waived waivers, span time.Duration) *imageForecast {
	out := &imageForecast{SchemaVersion: "ringfence.dev/image-forecast/v1", From: j.at, To: j.at.Add(span), Changes: []imageChange{}}
	for _, f := range told {
		course := image.Forecast(f.Facts, f.rule, j.known, j.at, out.To)
		now := course[0].Outcome()
		at := slices.IndexFunc(course, func(v image.Verdict) bool { return v.Outcome() == image.Deny })
		switch {
		case at == 0:
			out.Refused++
		case at < 0:
			out.Steady++
		default:
			_, why := course[at-1].Until()
			var workloads []runningWorkload
			for _, w := range f.workloads {
				workloads = append(workloads, runningWorkload{w, waived.of(w, j.refusing(course[at]), course[at].At)})
			}
			out.Changes = append(out.Changes, imageChange{Workloads: workloads, At: course[at].At, Digests: nonNil(f.Digests), Repositories: nonNil(f.Repositories),
				Rule: ruleName(f.rule), Was: now, Becomes: image.Deny, Why: why.Text, Instead: j.instead(f.Facts, course[at].At, f.rule)})
		}
	}
	slices.SortStableFunc(out.Changes, func(a, b imageChange) int { return a.At.Compare(b.At) })
	return out
}

// instead are the first digests of other images of the same repositories that may run at a time, by each of some rules.
func (j *judgedImages) instead(f image.Facts, at time.Time, by ...image.Rule) []string {
	found := []string{}
	for _, other := range j.facts {
		same := slices.ContainsFunc(other.Repositories, func(r string) bool { return slices.Contains(f.Repositories, r) })
		if !same || len(other.Digests) == 0 || slices.Equal(other.Digests, f.Digests) {
			continue
		}
		refused := slices.ContainsFunc(by, func(r image.Rule) bool {
			o := image.Judge(other, r, j.known, at).Outcome()
			return o != image.Allow && o != image.Warn
		})
		if !refused {
			found = append(found, other.Digests[0])
		}
	}
	return found
}

func (f *imageForecast) write(env Env, output string) error {
	if output == "json" {
		return indented(env, f)
	}
	for _, c := range f.Changes {
		text := fmt.Sprintf("%s  %s\n  %s\n", c.At.Format(time.RFC3339), imageName(c.Repositories, c.Digests), report.Inert(c.Why))
		if c.Rule != nil {
			text += "  by rule " + *c.Rule + "\n"
		}
		if len(c.Instead) > 0 {
			text += "  may run then: " + strings.Join(c.Instead[:min(3, len(c.Instead))], ", ") + "\n"
		}
		for _, w := range c.Workloads {
			text += "  run by " + w.line() + "\n"
		}
		if _, err := io.WriteString(env.Stdout, text); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(env.Stdout, "until %s: %d become refused, %d are already, %d stay as they are\n", f.To.Format(time.RFC3339), len(f.Changes), f.Refused, f.Steady)
	return err
}
