package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/cluster/probe"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/evidence"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/report"
)

// newAskInForce is `ringfence evidence ask in-force`.
func newAskInForce(env Env) *cobra.Command {
	const command = "ringfence evidence ask in-force"
	var o evidenceOptions
	var at string
	cmd := &cobra.Command{
		Use: "in-force CONTROL --at TIME", Short: "Whether a control was in force at a time or on a day, everywhere", Args: cobra.ExactArgs(1),
		Long: `Say whether a control was in force: yes, no or unknown. Yes (exit code 0) needs postures, which the control plane records, that cover
all of the time: the control at Deny in every guarded namespace, its policies in place as built, and nothing unknown. No (exit code 1) lists
where and when it was weaker, exempt or not in place, and the entries that say so. Unknown (exit code 3) gives the reasons. What only nodes and
network can show is listed beside the verdict: "not proven here" unless a run of ringfence verify-cluster within 90 days before is recorded.`,
		Example: "  ringfence evidence ask in-force RF-WL-08 --at 2026-11-01\n  ringfence evidence ask in-force RF-WL-08 --since 2026-11-01 --until 2026-11-30 --tenant payments",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !control.ValidID(args[0]) {
				return usagef(command, "%s: want an id like RF-WL-01", finding.Value(args[0]))
			}
			err := o.check(env, command)
			if err != nil {
				return err
			}
			if err := o.moment(env, command, at); err != nil {
				return err
			}
			o.filter.Control, o.filter.Good = args[0], probe.GoodFor
			if o.filter.Rests, err = rests(env, args[0]); err != nil {
				return err
			}
			return askInForce(cmd.Context(), env, o)
		},
	}
	o.sourceFlags(cmd)
	o.timeFlags(cmd)
	cmd.Flags().StringVar(&at, "at", "", "the day (UTC), or the time in RFC 3339; or --since and --until")
	cmd.Flags().StringVar(&o.filter.Tenant, "tenant", "", "only the namespaces <tenant>-<environment> of this tenant")
	cmd.Flags().StringVarP(&o.filter.Namespace, "namespace", "n", "", "only this namespace")
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

// moment reads which time is asked about: a moment, a day, or from when until when.
func (o *evidenceOptions) moment(env Env, command, at string) error {
	f := &o.filter
	switch {
	case at != "" && (!f.Since.IsZero() || !f.Until.IsZero()):
		return usagef(command, "--at: want no --since and --until beside it")
	case at == "" && (f.Since.IsZero() || f.Until.IsZero()):
		return usagef(command, "--at is missing: want a date or a time, or --since and --until")
	case at == "":
		return nil
	}
	var err error
	if f.Since, err = instant(at, env.Now(), false); err != nil {
		return usagef(command, "--at %w", err)
	}
	if f.Until, err = instant(at, env.Now(), true); err != nil { // a date is its whole day
		return usagef(command, "--at %w", err)
	}
	if f.Until.Equal(f.Since) {
		f.Until = f.Since.Add(1)
	}
	return nil
}

// rests are what a control rests on beside the API server. Of one that this catalogue does not have nothing is known.
func rests(env Env, id string) (all []evidence.Rest, err error) {
	cat, err := env.catalogue()
	if err != nil {
		return nil, err
	}
	for _, c := range cat.Controls {
		for _, row := range probe.Rows() {
			if c.ID == id && slices.Contains(c.Rests, row.Probe) {
				all = append(all, evidence.Rest{Probe: row.Probe, What: row.What})
			}
		}
	}
	return all, nil
}

func askInForce(ctx context.Context, env Env, o evidenceOptions) error {
	from, keys, err := o.open(ctx)
	if err != nil {
		return evidenceFault(err)
	}
	a, err := evidence.InForce(ctx, from, keys, o.filter)
	if err != nil {
		return evidenceFault(err)
	}
	if o.output == "json" {
		if err := indented(env, a); err != nil {
			return err
		}
	} else {
		tellInForce(env, a)
	}
	switch a.Verdict {
	case evidence.Yes:
		return nil
	case evidence.No:
		return exit(finding.ExitRefused)
	}
	return exit(finding.ExitUndecided)
}

// tellInForce writes the answer for people.
func tellInForce(env Env, a evidence.InForceAnswer) {
	say := func(format string, args ...any) {
		fmt.Fprintln(env.Stdout, report.Inert("  "+fmt.Sprintf(format, args...)))
	}
	where := "everywhere"
	if a.Tenant != "" {
		where = "in the namespaces of tenant " + finding.Value(a.Tenant)
	}
	if a.Namespace != "" {
		where = "in namespace " + finding.Value(a.Namespace)
	}
	fmt.Fprintf(env.Stdout, "%s %s %s: %s\n", a.Control, where, during(a.Since, a.Until), a.Verdict)
	say("%s", a.Means)
	for n, w := range a.Weaker {
		if n == 50 {
			say("and %d more times and places: -o json", uint64(len(a.Weaker)-n)+a.MoreWeaker)
			break
		}
		say("%s%s %s (entry %d)", w.What, places(w.Namespaces), during(w.Since, w.Until), w.Entry)
	}
	for _, why := range a.Reasons {
		say("unknown, because %s", why)
	}
	if a.Verdict == evidence.Yes {
		about := fmt.Sprintf("guarded namespaces at the end: %d", a.Guarded)
		if a.Guarded == 0 {
			about = "it judges what lies in no namespace"
		}
		say("%d postures say so, entries %d to %d; policies: %s; %s", a.Postures, a.FirstPosture, a.LastPosture, strings.Join(a.Policies, " "), about)
	}
	for _, r := range a.Rests {
		say("%s: %s: %s", r.State, r.What, r.Why)
	}
	if len(a.Unguarded) > 0 {
		say("without a Guard at some moment, so that every request was refused there: %s", namespacesIn(a.Unguarded))
	}
	if len(a.NeverJudged) > 0 && a.Namespace == "" && a.Tenant == "" {
		say("never judged by any policy, and not part of this answer: %s", strings.Join(a.NeverJudged, " "))
	}
	for _, s := range a.Seen {
		waived := ""
		if s.Waived > 0 {
			waived = fmt.Sprintf(", %d let in by a waiver", s.Waived)
		}
		say("seen at work in %s: %d refused, %d warned of%s%s, %s to %s", cmp.Or(s.Namespace, "no namespace"), s.Refused, s.Warned, waived, ofThemDry(s.DryRuns), s.First.Format(time.RFC3339), s.Last.Format(time.RFC3339))
	}
	env.note("%s", reach(a.Known))
	if n := uint64(len(a.Unknown)) + a.MoreUnknown; n > 0 && a.Verdict == evidence.Yes {
		env.note("%d gaps in this time are of other things, as which requests were refused: -o json lists them", n)
	}
}

// during is a time, or a moment.
func during(since, until time.Time) string {
	if until.Sub(since) <= 1 {
		return "at " + since.Format(time.RFC3339Nano)
	}
	return "from " + since.Format(time.RFC3339Nano) + " to " + until.Format(time.RFC3339Nano)
}

// places says where something was weaker.
func places(namespaces []string) string {
	if len(namespaces) == 0 {
		return ", everywhere,"
	}
	return " in " + namespacesIn(namespaces)
}

// namespacesIn names namespaces, folded, and at most 20 of such names.
func namespacesIn(namespaces []string) string {
	folded := record.Fold(namespaces)
	if len(folded) > 20 {
		return fmt.Sprintf("%s and others, %d in all (-o json)", strings.Join(folded[:20], " "), len(namespaces))
	}
	return strings.Join(folded, " ")
}
