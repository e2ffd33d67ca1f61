package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/evidence"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/report"
)

// newEvidenceAsk is `ringfence evidence ask`.
func newEvidenceAsk(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ask",
		Short: "Answer the standing questions from the ledger, and say what is unknown",
		Long: `Answer the standing questions from the records of the ledger, which is verified first. What the records do not tell is said to be
unknown, never to be clean. Exit code 0: answered, and of in-force yes; 1: no, or the ledger is not what was signed; 3: the records cannot answer.`,
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
	var all bool
	cmd := &cobra.Command{
		Use: "changed", Short: "What changed between two times, and who did it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(env, "ringfence evidence ask changed"); err != nil {
				return err
			}
			return askChanged(cmd.Context(), env, o, all)
		},
	}
	o.sourceFlags(cmd)
	o.timeFlags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "list writes too that changed nothing in spec")
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

func askChanged(ctx context.Context, env Env, o evidenceOptions, all bool) error {
	from, keys, err := o.open(ctx)
	if err != nil {
		return evidenceFault(err)
	}
	a, err := evidence.Changed(ctx, from, keys, o.filter, all)
	if err != nil {
		return evidenceFault(err)
	}
	if o.output == "json" {
		err = indented(env, a)
	} else {
		for _, c := range a.Changes {
			line := fmt.Sprintf("%s  %s  %s %s by %s%s (entry %d)", c.Time.Format(time.RFC3339), c.Kind, c.What, c.Subject, cmp.Or(shortRef(c.Actor), "nobody named"), toldOf(c), c.Entry)
			fmt.Fprintln(env.Stdout, report.Inert(line))
			for _, f := range c.Changes {
				fmt.Fprintln(env.Stdout, report.Inert("    "+field(f)))
			}
			if c.MoreChanges > 0 {
				fmt.Fprintf(env.Stdout, "    and %d more\n", c.MoreChanges)
			}
		}
		if a.More > 0 {
			env.note("%d more changes are not listed; ask about a shorter time", a.More)
		}
		if a.Unchanged > 0 {
			env.note("%d writes that changed nothing in spec are not listed; --all lists them", a.Unchanged)
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

// toldOf says of a change what is known of its contents, where no fields follow.
func toldOf(c evidence.Change) string {
	switch c.Known {
	case "unchanged":
		return ": nothing in spec"
	case "first seen":
		return ": first seen, so what changed is unknown"
	case "unknown":
		return ": what changed is unknown"
	}
	return ""
}

// field is one change of a field.
func field(f record.Field) string {
	short := func(s string) string {
		if strings.HasPrefix(s, "hmac-sha256:") {
			return shortRef(s)
		}
		return s
	}
	switch {
	case f.From == nil && f.To == nil:
		return f.Path
	case f.From == nil:
		return f.Path + ": " + short(*f.To) + " came"
	case f.To == nil:
		return f.Path + ": " + short(*f.From) + " went"
	}
	return f.Path + ": " + short(*f.From) + " became " + short(*f.To)
}
