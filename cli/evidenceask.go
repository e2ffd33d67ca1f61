package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/evidence"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/report"
)

// newEvidenceAsk is `ringfence evidence ask`.
func newEvidenceAsk(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ask",
		Short: "Answer the standing questions from the ledger, and say what is unknown",
		Long: `Answer the standing questions from the records of the ledger, which is verified first. What the records do not tell is said to be
unknown, never to be clean. Exit code 0: answered; 3: the records cannot answer; 1: the ledger is not what was signed.`,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(newAskInForce(env), newAskRefused(env), newAskChanged(env))
	return cmd
}

// newAskRefused is `ringfence evidence ask refused`.
func newAskRefused(env Env) *cobra.Command {
	var o evidenceOptions
	cmd := &cobra.Command{
		Use: "refused", Short: "What was refused, to whom, and what became of it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(env, "ringfence evidence ask refused"); err != nil {
				return err
			}
			return askRefused(cmd.Context(), env, o)
		},
	}
	o.sourceFlags(cmd)
	o.filterFlags(env, cmd)
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

func askRefused(ctx context.Context, env Env, o evidenceOptions) error {
	from, keys, err := o.open(ctx)
	if err != nil {
		return evidenceFault(err)
	}
	a, err := evidence.Refused(ctx, from, keys, o.filter)
	if err != nil {
		return evidenceFault(err)
	}
	if o.output == "json" {
		return indented(env, a)
	}
	for _, r := range a.Refusals {
		times := ""
		if r.Times > 1 {
			times = fmt.Sprintf(", %d times since %s", r.Times, r.First.Format(time.RFC3339))
		}
		who := shortRef(r.Actor)
		if r.For != "" {
			who = shortRef(r.For) + ", asked for by " + who
		}
		what := "refused"
		if r.DryRun {
			what = "would have refused"
		}
		fmt.Fprintln(env.Stdout, report.Inert(fmt.Sprintf("%s  %s %s to %s by %s%s: %s (entry %d)",
			r.Last.Format(time.RFC3339), what, r.Subject, who, strings.Join(r.Controls, " "), times, r.Became, r.Entry)))
	}
	if a.More > 0 {
		env.note("%d more refusals are not listed; ask about a shorter time", a.More)
	}
	told := fmt.Sprintf("%d objects and people refused", len(a.Refusals)) + ofThemDry(a.DryRuns())
	if len(a.Refusals) == 0 {
		told = "no refusal is recorded"
	}
	if a.WarnedDryRuns > 0 {
		told += fmt.Sprintf("; %d dry runs were warned of", a.WarnedDryRuns)
	}
	env.note("%s; %d requests were warned of and let through; %s", told, a.Warned, reach(a.Known))
	tellUnknown(env, a.Unknown, a.MoreUnknown)
	return nil
}

// ofThemDry says how many were dry runs; "" for none.
func ofThemDry[N int | uint64](n N) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d of them dry runs", n)
}

// reach says what an answer was made of.
func reach(k evidence.Known) string {
	if k.Entries == 0 {
		return "the ledger is empty"
	}
	return fmt.Sprintf("from %d verified entries of %s to %s", k.Entries, k.First.Format(time.RFC3339), k.Last.Format(time.RFC3339))
}

// newAskChanged is `ringfence evidence ask changed`.
func newAskChanged(env Env) *cobra.Command {
	var o evidenceOptions
	cmd := &cobra.Command{
		Use: "changed", Short: "What changed between two times, and who did it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(env, "ringfence evidence ask changed"); err != nil {
				return err
			}
			return askChanged(cmd.Context(), env, o)
		},
	}
	o.sourceFlags(cmd)
	o.timeFlags(cmd)
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

func askChanged(ctx context.Context, env Env, o evidenceOptions) error {
	from, keys, err := o.open(ctx)
	if err != nil {
		return evidenceFault(err)
	}
	a, err := evidence.Changed(ctx, from, keys, o.filter)
	if err != nil {
		return evidenceFault(err)
	}
	if o.output == "json" {
		err = indented(env, a)
	} else {
		for _, c := range a.Changes {
			line := fmt.Sprintf("%s  %s  %s %s by %s", c.Time.Format(time.RFC3339), c.Kind, c.What, c.Subject, cmp.Or(shortRef(c.Actor), "nobody named"))
			fmt.Fprintln(env.Stdout, report.Inert(strings.TrimSpace(fmt.Sprintf("%s %s (entry %d)", line, strings.Join(c.Fields, " "), c.Entry))))
		}
		if a.More > 0 {
			env.note("%d more changes are not listed; ask about a shorter time", a.More)
		}
		env.note("%s", reach(a.Known))
		tellUnknown(env, a.Unknown, a.MoreUnknown)
	}
	if err == nil && !a.Recorded {
		env.note("no change records exist in this ledger: what changed in the rules is unknown")
		return exit(finding.ExitUndecided)
	}
	return err
}

// newAskInForce is `ringfence evidence ask in-force`.
func newAskInForce(env Env) *cobra.Command {
	var o evidenceOptions
	var at string
	cmd := &cobra.Command{
		Use: "in-force CONTROL --at TIME", Short: "Whether a control was in force at a time or on a day, everywhere", Args: cobra.ExactArgs(1),
		Example: "  ringfence evidence ask in-force RF-WL-08 --at 2026-11-01",
		RunE: func(cmd *cobra.Command, args []string) error {
			const command = "ringfence evidence ask in-force"
			if !control.ValidID(args[0]) {
				return usagef(command, "%s: want an id like RF-WL-01", finding.Value(args[0]))
			}
			since, err := instant(at, env.Now(), false)
			if err == nil && since.IsZero() {
				err = fmt.Errorf("is missing: want a date or a time")
			}
			if err != nil {
				return usagef(command, "--at %w", err)
			}
			until, err := instant(at, env.Now(), true) // a date is its whole day
			if err != nil {
				return usagef(command, "--at %w", err)
			}
			if until.Equal(since) {
				until = since.Add(1)
			}
			if err := o.check(env, command); err != nil {
				return err
			}
			return askInForce(cmd.Context(), env, o, args[0], since, until)
		},
	}
	o.sourceFlags(cmd)
	cmd.Flags().StringVar(&at, "at", "", "the day (UTC), or the time in RFC 3339")
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

func askInForce(ctx context.Context, env Env, o evidenceOptions, id string, since, until time.Time) error {
	from, keys, err := o.open(ctx)
	if err != nil {
		return evidenceFault(err)
	}
	a, err := evidence.InForce(ctx, from, keys, id, since, until)
	if err != nil {
		return evidenceFault(err)
	}
	if o.output == "json" {
		if err := indented(env, a); err != nil {
			return err
		}
		return exit(finding.ExitUndecided)
	}
	fmt.Fprintf(env.Stdout, "%s everywhere from %s to %s: %s\n", id, since.Format(time.RFC3339), until.Format(time.RFC3339), a.Verdict)
	for _, s := range a.Seen {
		fmt.Fprintln(env.Stdout, report.Inert(fmt.Sprintf("  seen at work in %s: %d refused, %d warned of%s, %s to %s",
			cmp.Or(s.Namespace, "no namespace"), s.Refused, s.Warned, ofThemDry(s.DryRuns), s.First.Format(time.RFC3339), s.Last.Format(time.RFC3339))))
	}
	for _, why := range a.Reasons {
		fmt.Fprintf(env.Stdout, "  unknown, because %s\n", why)
	}
	env.note("%s", reach(a.Known))
	tellUnknown(env, a.Unknown, a.MoreUnknown)
	return exit(finding.ExitUndecided)
}
