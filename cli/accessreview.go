package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/tenant/desk"
)

func newAccessReview(env Env) *cobra.Command {
	var o accessOptions
	cmd := &cobra.Command{
		Use: "review NAME -n NS [--note TEXT]", Short: "Look at what was done under an elevation, and say that you did",
		Long: `Show what was done under an elevation, as the audit stream told of it, newest last. Where no audit events arrive it says so; it never
shows "nothing". With --note you say, in your name, that you have looked and what you found: another person than the requester,
with the verb review (ClusterRole ringfence-elevation-approver), once the elevation has ended. A review is never changed.`,
		Example: `  ringfence access review inc0012345-x7k2p -n payments-prod
  ringfence access review inc0012345-x7k2p -n payments-prod --note "read one Secret and restarted api; nothing else"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.one(env, cmd.CommandPath(), args, func(d *desk.Desk, name string) error {
				return reviewElevation(cmd.Context(), env, o, d, name)
			})
		},
	}
	o.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.note, "note", "", "what you found; without it the elevation is shown and not reviewed")
	flags.StringVar(&o.dir, "dir", defaultDir, "the directory of the running ringfence up")
	return cmd
}

func reviewElevation(ctx context.Context, env Env, o accessOptions, d *desk.Desk, name string) error {
	if o.note != "" {
		if len(strings.TrimSpace(o.note)) < 3 {
			return usagef("ringfence access review", "--note %q: want some words on what you found", finding.Value(o.note))
		}
		e, err := d.ReviewElevation(ctx, o.namespace, name, o.note)
		if err != nil {
			return err
		}
		fmt.Fprintf(env.Stdout, "%s/%s\n", e.Namespace, e.Name)
		env.note("reviewed by %s", e.Status.Review.Reviewer)
		return nil
	}
	e, err := d.Elevation(ctx, o.namespace, name)
	if err != nil {
		return err
	}
	l := listElevation(e, env.Now())
	env.note("%s of %s in %s (%s), %s: %s", l.Name, finding.Clean(l.Requester), l.Namespace, l.Ticket, l.State, finding.Clean(l.Reason))
	showActs(ctx, env, o.dir, e)
	if l.State == "ended" || l.State == "overdue" {
		env.note("to say that you have looked: ringfence access review %s -n %s --note TEXT", e.Name, e.Namespace)
	}
	return nil
}

// showActs shows what the audit stream told of requests under an elevation.
func showActs(ctx context.Context, env Env, dir string, e *v1alpha1.Elevation) {
	client := onSocket(local.SocketPath(dir))
	defer client.CloseIdleConnections()
	acts, err := record.FetchActs(ctx, client, "http://ringfence", e.Namespace, e.Name)
	if err != nil {
		env.note("not observed: no Ringfence could be asked on %s what was done: %v", dir, err)
		return
	}
	for _, a := range acts.Acts {
		fmt.Fprintln(env.Stdout, finding.Clean(a.String()))
	}
	switch {
	case acts.LastEvent == nil:
		env.note("not observed: no audit event has arrived; see docs/audit.md")
	case !acts.Kept:
		env.note("%d requests since the control plane started; it keeps no evidence, so that what was before is not known", len(acts.Acts))
	default:
		env.note("%d requests; reads are among them where the audit policy logs them: docs/audit-policy.yaml", len(acts.Acts))
	}
	if acts.More > 0 {
		env.note("%d earlier ones are not shown; all are in the ledger: ringfence evidence list --kind elevated-request", acts.More)
	}
}
