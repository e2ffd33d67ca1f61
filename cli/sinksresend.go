package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/ledger"
)

// resendOptions is what the user asked of `ringfence sinks resend`.
type resendOptions struct {
	name, sinks, evidence string
	ids                   []string
	all, dryRun           bool
}

// newSinksResend is `ringfence sinks resend`.
func newSinksResend(env Env) *cobra.Command {
	var o resendOptions
	cmd := &cobra.Command{
		Use:   "resend NAME --sinks FILE (--id ID | --all)",
		Short: "Send again what a sink could not take; Ringfence must be stopped",
		Long: `Send again what a sink could not take and what was put aside, once the sink takes it: it was set up wrongly, or has another
limit now. Messages are made anew of the ledger's records and have the same ids. What the sink takes leaves the file
EVIDENCE/sinks/NAME.aside.jsonl, what it refuses again stays. A sink is written by one process at a time, so Ringfence
must be stopped; what happens meanwhile is sent when it runs again. The exit code is 1 where something is still refused.`,
		Example: "  ringfence sinks resend siem --sinks sinks.yaml --all --dry-run\n  ringfence sinks resend siem --sinks sinks.yaml --id native-refusal:1f00",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || o.sinks == "" || o.all == (len(o.ids) > 0) {
				return usagef("ringfence sinks resend", "want the name of one sink, --sinks with the file that names it, and --id or --all")
			}
			o.name = args[0]
			return resend(cmd.Context(), env, o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.sinks, "sinks", "", "file of the sinks, as for serve; needed")
	flags.StringVar(&o.evidence, "evidence", filepath.Join(defaultDir, "evidence"), "folder for evidence of ringfence serve")
	flags.StringArrayVar(&o.ids, "id", nil, "id of a record or message that was put aside; repeatable")
	flags.BoolVar(&o.all, "all", false, "all that was put aside")
	flags.BoolVar(&o.dryRun, "dry-run", false, "say what would be sent, and send nothing")
	return cmd
}

func resend(ctx context.Context, env Env, o resendOptions) (err error) {
	opened, err := loadSinkFile(o.sinks)
	if err != nil {
		return err
	}
	defer func() {
		for _, sink := range opened {
			err = errors.Join(err, sink.Sink.Close())
		}
	}()
	at := slices.IndexFunc(opened, func(s forward.Opened) bool { return s.Name == o.name })
	if at < 0 {
		return usagef("ringfence sinks resend", "%s names no sink %q", o.sinks, finding.Value(o.name))
	}
	dir := filepath.Join(o.evidence, "ledger")
	held, err := ledger.Hold(dir)
	if errors.Is(err, ledger.ErrLocked) {
		return fmt.Errorf("%w: stop Ringfence first: a sink is written by one process at a time", err)
	}
	if err != nil {
		return err
	}
	defer held.Close()
	from, err := ledgerPages(ctx, ledger.Folder(dir))
	if err != nil {
		return err
	}
	verb := "sent"
	if o.dryRun {
		verb = "would be sent"
	}
	r := forward.Resend{Name: o.name, Source: from, Sink: opened[at].Sink, Format: opened[at].Make, Dir: filepath.Join(o.evidence, "sinks"), IDs: o.ids, DryRun: o.dryRun,
		Tell: func(l forward.Resent) {
			if l.Err != nil {
				fmt.Fprintf(env.Stdout, "%s  entry %d  not sent: %s\n", finding.Clean(l.ID), l.Index, finding.Clean(l.Err.Error()))
				return
			}
			fmt.Fprintf(env.Stdout, "%s  entry %d  %s; put aside %s: %s\n", finding.Clean(l.ID), l.Index, verb, finding.Clean(l.Aside), finding.Clean(l.Before))
		}}
	result, err := r.Run(ctx)
	env.note("%s: %d, still refused: %d, left in the file: %d, lines that cannot be read: %d", verb, result.Sent, result.Refused, result.Left, result.Unreadable)
	if err != nil {
		return &exitError{finding.ExitRefused, err}
	}
	if result.Refused+result.Unreadable > 0 || len(o.ids) > 0 && result.Sent == 0 {
		return exit(finding.ExitRefused)
	}
	return nil
}

// ledgerPages reads the records of a ledger that stands still.
func ledgerPages(ctx context.Context, from ledger.Source) (forward.Pages, error) {
	_, tree, err := latest(ctx, from)
	if err != nil {
		return forward.Pages{}, err
	}
	size := uint64(tree.N)
	return forward.Pages{Count: func() uint64 { return size }, Page: func(ctx context.Context, index uint64, n int) ([]forward.Entry, error) {
		if index >= size {
			return nil, nil
		}
		entries, err := ledger.Read(ctx, from, size, index, n)
		if err != nil {
			return nil, err
		}
		out := make([]forward.Entry, len(entries))
		for i, e := range entries {
			r, err := e.Record()
			if err != nil {
				return nil, fmt.Errorf("read entry %d: %w", e.Index, err)
			}
			out[i] = forward.Entry{Index: e.Index, Record: r}
		}
		return out, nil
	}}, nil
}
