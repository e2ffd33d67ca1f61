package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/record"
)

// findingsOptions is what the user asked of `ringfence findings`.
type findingsOptions struct {
	dir, output string
	query       record.Query
}

// newFindings is `ringfence findings`: what the API server refused and warned of, as its audit stream told.
func newFindings(env Env) *cobra.Command {
	var o findingsOptions
	cmd := &cobra.Command{
		Use:   "findings",
		Short: "Show what the cluster refused and warned of",
		Long: `Show what the API server refused and warned of, newest last. A native refusal reaches no webhook: Ringfence reads it from
the audit stream, a second or two later. Where the cluster sends no audit events this says so; it never shows "none".`,
		Example: "  ringfence findings --since 10m\n  ringfence findings --namespace payments-dev -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return findings(cmd.Context(), env, o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.dir, "dir", defaultDir, "the directory of the running ringfence up")
	flags.DurationVar(&o.query.Since, "since", time.Hour, "how far back to look, for instance 10m")
	flags.StringVarP(&o.query.Namespace, "namespace", "n", "", "only this namespace")
	flags.StringVar(&o.query.Control, "control", "", "only this control, for instance RF-WL-01")
	flags.StringVarP(&o.output, "output", "o", "text", "text or json")
	_ = cmd.RegisterFlagCompletionFunc("control", completeIDs(env))
	return cmd
}

func findings(ctx context.Context, env Env, o findingsOptions) error {
	if o.output != "text" && o.output != "json" {
		return usagef("ringfence findings", "-o %q: want text or json", finding.Value(o.output))
	}
	answer, err := record.Fetch(ctx, onSocket(local.SocketPath(o.dir)), "http://ringfence", o.query)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no ringfence up is running on %s; start one, or name its --dir", o.dir)
	case err != nil:
		return err
	}
	if o.output == "json" {
		out := json.NewEncoder(env.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(answer)
	}
	for _, f := range answer.Findings {
		fmt.Fprintln(env.Stdout, findingLine(f))
	}
	switch {
	case answer.Observed.LastEvent == nil:
		env.note("refusals not observed: no audit event has arrived; the API server must be started with --audit-webhook-config-file")
	case len(answer.Findings) == 0:
		env.note("nothing refused or warned of in %s; last audit event %s ago", o.query.Since, env.Now().Sub(*answer.Observed.LastEvent).Round(time.Second))
	}
	if answer.Dropped > 0 {
		env.note("%d older findings were dropped for lack of room", answer.Dropped)
	}
	return nil
}

// findingLine is one finding of the audit stream on one line: when, what came of the request, who asked, and the rule.
func findingLine(f finding.Finding) string {
	var when, who, what string
	if seen := f.Observed; seen != nil {
		when, who = seen.Time.Local().Format("15:04:05"), cmp.Or(seen.ImpersonatedUser, seen.User)
		what = "warned "
		if seen.Refused {
			what = "refused"
		}
		if seen.DryRun {
			what += " (dry run)"
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%s  %s  %s  by %s: %s", when, what, f.Subject, who, f.Message))
}
