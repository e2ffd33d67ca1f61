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

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/report"
)

// findingsOptions is what the user asked of `ringfence findings`.
type findingsOptions struct {
	dir, output string
	query       record.Query
	limit       int
	standing    standingOptions
}

// newFindings is `ringfence findings`: what the API server refused and warned of, as its audit stream told, and what lies in the
// cluster, as the background scan found.
func newFindings(env Env) *cobra.Command {
	var o findingsOptions
	cmd := &cobra.Command{
		Use:   "findings",
		Short: "Show what the cluster refused and warned of, and what fails in it",
		Long: `Show what the API server refused and warned of, newest last. A native refusal reaches no webhook: Ringfence reads it from
the audit stream, a second or two later. Where the cluster sends no audit events this says so; it never shows "none". Times of
which something is not known are told too. Dry runs are shown as such: nothing would have been stored.

With --open it shows what lies in the cluster and fails now, judged in the background as objects and rules change and as waivers end; with
--waived what is waived, with --closed what was fixed, deleted or is no longer asked for. It says of which moment that is, and what was not
looked at: that is unknown, never clean.`,
		Example: "  ringfence findings --since 10m\n  ringfence findings --namespace payments-dev -o json\n  ringfence findings --open --tenant payments\n  ringfence findings --closed --since 24h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.standing.query(&o.query, cmd.Flags().Changed("since")); err != nil {
				return err
			}
			return findings(cmd.Context(), env, o)
		},
	}
	o.standing.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.dir, "dir", defaultDir, "the directory of the running ringfence up")
	flags.DurationVar(&o.query.Since, "since", time.Hour, "how far back to look, for instance 10m")
	flags.StringVarP(&o.query.Namespace, "namespace", "n", "", "only this namespace")
	flags.StringVar(&o.query.Control, "control", "", "only this control, for instance RF-WL-01")
	flags.StringVar(&o.query.Tenant, "tenant", "", "only the namespaces of this tenant")
	flags.StringVar(&o.query.Request, "request", "", "only the request with this id: the one at the end of a webhook's refusal, or an audit event's auditID (the header Audit-Id of kubectl -v=8)")
	flags.IntVar(&o.limit, "limit", 1000, "how many at most, the newest")
	flags.StringVarP(&o.output, "output", "o", "text", "text or json; of what lies in the cluster policyreport or openreports too")
	_ = cmd.RegisterFlagCompletionFunc("control", completeIDs(env))
	return cmd
}

// podDir is where Ringfence's own pod has its socket.
const podDir = "/run/ringfence"

// nobodyAt is the error where no control plane answers in a directory.
func nobodyAt(dir string) error {
	return fmt.Errorf("no ringfence up is running on %s; start one, name its --dir, or ask the one of a cluster: kubectl -n %s exec deploy/ringfence -- ringfence COMMAND --dir %s",
		dir, v1alpha1.SystemNamespace, podDir)
}

func findings(ctx context.Context, env Env, o findingsOptions) error {
	reported := o.output == "policyreport" || o.output == "openreports"
	if o.output != "text" && o.output != "json" && !reported {
		return usagef("ringfence findings", "-o %q: want text, json, policyreport or openreports", finding.Value(o.output))
	}
	if reported && o.query.Source != record.SourceScan {
		return usagef("ringfence findings", "-o %s is of what lies in the cluster; add --open, --waived or --closed", o.output)
	}
	if o.limit < 1 {
		return usagef("ringfence findings", "--limit %d: want 1 or more", o.limit)
	}
	answer, older, err := fetchFindings(ctx, o)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return nobodyAt(o.dir)
	case err != nil:
		return err
	}
	if o.output == "json" {
		out := json.NewEncoder(env.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(answer)
	}
	if reported {
		tellScan(env, answer)
		return writeReport(env, o.output, answer)
	}
	dry := 0
	for _, f := range answer.Findings {
		if f.Stands != nil {
			fmt.Fprintln(env.Stdout, standingLine(f, env.Now()))
			continue
		}
		fmt.Fprintln(env.Stdout, findingLine(f))
		if f.Observed != nil && f.Observed.DryRun {
			dry++
		}
	}
	if dry > 0 {
		env.note("%d findings%s", len(answer.Findings), ofThemDry(dry))
	}
	tellAnswer(env, o, answer)
	if older {
		env.note("older ones are not shown; see --limit and --since")
	}
	return nil
}

// fetchFindings asks for the newest pages until there are enough, and says whether there are older ones.
func fetchFindings(ctx context.Context, o findingsOptions) (record.Answer, bool, error) {
	client := onSocket(local.SocketPath(o.dir))
	defer client.CloseIdleConnections()
	answer, err := record.Fetch(ctx, client, "http://ringfence", o.query)
	for err == nil && answer.Next != "" && len(answer.Findings) < o.limit {
		var page record.Answer
		o.query.After = answer.Next
		page, err = record.Fetch(ctx, client, "http://ringfence", o.query)
		answer.Findings, answer.Next = append(page.Findings, answer.Findings...), page.Next
	}
	more := max(0, len(answer.Findings)-o.limit)
	answer.Findings = answer.Findings[more:]
	return answer, more > 0 || answer.Next != "", err
}

// tellAnswer says how far an answer reaches.
func tellAnswer(env Env, o findingsOptions, answer record.Answer) {
	switch {
	case o.query.Source == record.SourceScan:
		tellScan(env, answer)
	case answer.Observed.LastEvent == nil:
		env.note("refusals not observed: no audit event has arrived; the API server must be started with --audit-webhook-config-file")
	case len(answer.Findings) == 0 && answer.Behind == 0:
		env.note("nothing refused or warned of in %s; last audit event %s ago", o.query.Since, env.Now().Sub(*answer.Observed.LastEvent).Round(time.Second))
	}
	if answer.Dropped > 0 {
		env.note("%d older findings were dropped for lack of room", answer.Dropped)
	}
	if answer.Behind > 0 {
		env.note("%d records are not in the store yet and may be missing here", answer.Behind)
	}
	if answer.From == "memory" {
		env.note("this is what was seen since the control plane started: there is no store of evidence that could be asked")
	}
	for n, g := range answer.Unknown {
		if n == 20 {
			env.note("unknown: %d more times", len(answer.Unknown)-n)
			break
		}
		until := "no end recorded"
		if g.Until != nil {
			until = g.Until.Format(time.RFC3339)
		}
		env.note("unknown: %s to %s: %s", g.Since.Format(time.RFC3339), until, report.Inert(g.What))
	}
}

// findingLine is one finding of the audit stream on one line: when, what came of the request, who asked, and the rule.
func findingLine(f finding.Finding) string {
	var when, who, what string
	if seen := f.Observed; seen != nil {
		when, who = seen.Time.Local().Format("15:04:05"), cmp.Or(seen.ImpersonatedUser, seen.User)
		if strings.HasPrefix(who, "hmac-sha256:") { // whom it means was forgotten, or never known
			who = shortRef(who)
		}
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
