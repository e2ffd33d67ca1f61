package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/rollout"
	"ringfence.dev/ringfence/tenant"
	"ringfence.dev/ringfence/tenant/desk"
)

// promoteOptions are the flags of `ringfence control promote`.
type promoteOptions struct {
	preflightOptions
	insist, approve, due bool
	reason, ticket       string
	grace                time.Duration
}

// promotionGrace is how long controllers may make what fails, unless somebody says otherwise.
const promotionGrace = 168 * time.Hour

// shownBreaks is how many lines of each list a refused promotion shows.
const shownBreaks = 10

func newControlPromote(env Env) *cobra.Command {
	var o promoteOptions
	cmd := &cobra.Command{
		Use: "promote ID --to ACTION | ID --approve | --due", Short: "Change a control's action, once nothing would break", ValidArgsFunction: completeIDs(env),
		Long: `Change a control's action in the Platform: everywhere, in production (--production) or for a ring of tenants (--ring), in the name
of the kubeconfig's user. Preflight comes first, and what it finds refuses the change, unless a person insists with a reason and
a ticket, and another person approves it: with --approve, within 72 hours, and only while no more would break than was asked for. Both show a
second factor where the Platform names one; the Platform notes both. A change that makes a control weaker needs no preflight.

A promotion to Deny begins with a grace: until its end, what Kubernetes' own controllers make of workloads that are there is not
refused, so that a pod that is moved comes back. The Platform is changed only where nobody else changed it meanwhile.

--due promotes what spec.promotion of the Platform says: for each of its rings at most one control a day, that only warned there and
that nothing failed for as many days, with no time unknown. Where a ring has production it only says which; a person promotes that.
Nothing due is no fault, and exits 0.

Exit codes: 0 done; 1 something would break, or the API server said no; 2 bad usage, or something could not be read; 3 it could not
be decided what would break.`,
		Example: "  ringfence control promote RF-WL-08 --to Deny --ring early\n  ringfence control promote RF-WL-08 --to Deny --insist --reason \"the vendor moves on Friday\" --ticket CHG-4711\n  ringfence control promote RF-WL-08 --approve",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.due {
				if len(args) > 0 || o.action != "" || o.insist || o.approve || o.scope != (rollout.Scope{}) || changed(cmd, "grace", "days", "reason", "ticket") {
					return usagef(cmd.CommandPath(), "--due: the Platform says which controls, rings and days; leave all else out")
				}
				return promoteDue(cmd.Context(), env, o)
			}
			if o.approve && changed(cmd, "grace") {
				return usagef(cmd.CommandPath(), "--approve: the grace is the one that was asked for; leave it out")
			}
			return promote(cmd.Context(), env, o, cmd.CommandPath(), args)
		},
	}
	o.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.action, "to", "", "the `ACTION`: Deny, Warn or Audit")
	flags.BoolVar(&o.insist, "insist", false, "go on although something would break")
	flags.BoolVar(&o.approve, "approve", false, "approve what another person insists on")
	flags.BoolVar(&o.due, "due", false, "promote what the Platform's own rules say is due")
	flags.StringVar(&o.reason, "reason", "", "with --insist: why")
	flags.StringVar(&o.ticket, "ticket", "", "with --insist: the bank's record of the decision")
	flags.DurationVar(&o.grace, "grace", promotionGrace, "how long controllers may make pods of workloads that were there before; 0 is not at all")
	return cmd
}

// changed reports whether one of some flags was given.
func changed(cmd *cobra.Command, flags ...string) bool {
	return slices.ContainsFunc(flags, func(name string) bool { return cmd.Flags().Changed(name) })
}

// validate says what is wrong with the flags.
func (o *promoteOptions) validate(command string) error {
	o.format = "text"
	if o.approve {
		if o.action != "" || o.insist || o.scope != (rollout.Scope{}) {
			return usagef(command, "--approve: the action, the scope and the reason are those that were asked for; leave them out")
		}
		o.action = string(v1alpha1.Deny) // what is asked for says it
	}
	if err := o.preflightOptions.validate(command); err != nil {
		return err
	}
	switch {
	case o.insist && (len(strings.TrimSpace(o.reason)) < 3 || o.ticket == ""):
		return usagef(command, "--insist: want --reason and --ticket too: both are evidence")
	case !o.insist && (o.reason != "" || o.ticket != ""):
		return usagef(command, "--reason and --ticket are for --insist; give it too")
	case o.grace < 0 || o.grace > tenant.MaxWaiver:
		return usagef(command, "--grace %s: want 0 to %s", o.grace, tenant.MaxWaiver)
	}
	return nil
}

// oneOf is the control that a command is about, and the catalogue cut to it.
func oneOf(env Env, command string, args []string) (c control.Control, cut *control.Catalogue, err error) {
	if c, err = oneControl(env, command, args); err != nil {
		return c, nil, err
	}
	cat, err := env.catalogue()
	if err != nil {
		return c, nil, err
	}
	cut, err = only(cat, []string{c.ID})
	return c, cut, err
}

// promote changes a control's action. Its error carries the exit code.
func promote(ctx context.Context, env Env, o promoteOptions, command string, args []string) error {
	if err := o.validate(command); err != nil {
		return err
	}
	c, cut, err := oneOf(env, command, args)
	if err != nil {
		return err
	}
	d, err := openRollout(env, o.preflightOptions)
	if err != nil {
		return err
	}
	platform, err := d.Platform(ctx)
	if err != nil {
		return answered(err)
	}
	if o.approve {
		return approve(ctx, env, o, d, cut, platform)
	}
	step := rollout.Step{Control: c.ID, Scope: o.scope, To: v1alpha1.Action(o.action), Grace: o.grace}
	after, err := rollout.Promote(platform, step, env.Now())
	if errors.Is(err, rollout.ErrNothing) {
		return &exitError{finding.ExitRefused, err}
	}
	if step.To == v1alpha1.Deny {
		r, err := o.ask(ctx, env, cut)
		if err != nil {
			return err
		}
		code := r.Exit(o.requireRequests)
		if !r.Requests.Observed {
			env.note("requests not observed: %s", r.Requests.Why)
		}
		if code != 0 && !o.insist {
			if _, err := io.WriteString(env.Stdout, r.Text(shownBreaks)); err != nil {
				return err
			}
			return &exitError{code, fmt.Errorf("%s is not promoted: %s; see all: %s; a person may insist: --insist --reason TEXT --ticket ID",
				c.ID, whyNot(r, code), o.preflightCommand(c.ID))}
		}
		if platform, err = unchanged(ctx, d, platform); err != nil {
			return err
		}
		if code != 0 {
			return insist(ctx, env, o, d, platform, step, r)
		}
		if after, err = rollout.Promote(platform, step, env.Now()); err != nil {
			return err
		}
	}
	return putInForce(ctx, env, d, platform, after, c.ID, fmt.Sprintf("%s %s: %s", c.ID, o.scope, step.To))
}

// insist asks for a step that would break something, in the user's own name.
func insist(ctx context.Context, env Env, o promoteOptions, d *desk.Desk, platform *v1alpha1.Platform, step rollout.Step, r rollout.Report) error {
	who, err := d.Who(ctx)
	if err != nil {
		return answered(err)
	}
	step.Insisted = &v1alpha1.Insistence{Reason: o.reason, Ticket: o.ticket, Breaks: broken(r), Unknown: unknown(r), Requester: who.Name, RequesterObject: who.Object}
	after, err := rollout.Ask(platform, step, env.Now())
	if err != nil {
		return &exitError{finding.ExitRefused, err}
	}
	if _, err := d.PatchPlatform(ctx, platform, func(now *v1alpha1.Platform) ([]byte, error) { return rollout.Patch(now, after, step.Control) }); err != nil {
		return answered(err)
	}
	_, err = fmt.Fprintf(env.Stdout, "%s %s: %s is asked for, and changes nothing until another person approves it: ringfence control promote %s --approve\n", step.Control, step.Scope, step.To, step.Control)
	return err
}

// broken is how much a preflight names, as a Platform notes it.
func broken(r rollout.Report) int32 { return int32(min(r.Broken(), 1<<30)) }

// unknown is how much a preflight could not read or decide.
func unknown(r rollout.Report) int32 {
	n := len(r.NotObserved) + r.Undecided + len(r.Unjudged())
	if !r.Requests.Observed {
		n++
	}
	return int32(min(n, 1<<30))
}

// approve makes the step that another person insists on, where no more would break than that person was shown, and no more is unknown.
func approve(ctx context.Context, env Env, o promoteOptions, d *desk.Desk, cut *control.Catalogue, platform *v1alpha1.Platform) error {
	who, err := d.Who(ctx)
	if err != nil {
		return answered(err)
	}
	id := cut.Controls[0].ID
	step, err := rollout.Waiting(platform, id, who, env.Now())
	if err != nil {
		return &exitError{finding.ExitRefused, err}
	}
	o.scope, o.action = step.Scope, string(step.To)
	r, err := o.ask(ctx, env, cut)
	if err != nil {
		return err
	}
	if found, blind := broken(r), unknown(r); found > step.Insisted.Breaks || blind > step.Insisted.Unknown {
		if _, err := io.WriteString(env.Stdout, r.Text(shownBreaks)); err != nil {
			return err
		}
		return &exitError{finding.ExitRefused, fmt.Errorf("%s is not promoted: %d would break and %d could not be read, observed or decided, and it was asked for when these were %d and %d; have it asked for again, or the rest mended",
			id, found, blind, step.Insisted.Breaks, step.Insisted.Unknown)}
	}
	if platform, err = unchanged(ctx, d, platform); err != nil {
		return err
	}
	after, err := rollout.Promote(platform, step, env.Now())
	if err != nil {
		return &exitError{finding.ExitRefused, err}
	}
	return putInForce(ctx, env, d, platform, after, id, fmt.Sprintf("%s %s: %s; %s insists and %s approves", id, step.Scope, step.To, step.Insisted.Requester, who.Name))
}

// unchanged is the Platform as it is now, where its spec is still the one that preflight was about.
func unchanged(ctx context.Context, d *desk.Desk, seen *v1alpha1.Platform) (*v1alpha1.Platform, error) {
	now, err := d.Platform(ctx)
	if err != nil {
		return nil, answered(err)
	}
	if now.Generation != seen.Generation {
		return nil, &exitError{finding.ExitRefused, errors.New("somebody changed the Platform during the preflight; nothing was changed here: run it again")}
	}
	return now, nil
}

// whyNot says why a promotion is refused.
func whyNot(r rollout.Report, code int) string {
	switch code {
	case finding.ExitRefused:
		if !r.Requests.Observed {
			return count(len(r.Breaks), "object") + " would be refused, and requests were not observed"
		}
		return fmt.Sprintf("%s and %s would be refused", count(len(r.Breaks), "object"), count(r.Requests.Times, "recorded request"))
	case finding.ExitUsage:
		return "what would break could not be read whole"
	}
	return "what would break could not be decided"
}

// preflightCommand is the command that shows all.
func (o preflightOptions) preflightCommand(id string) string {
	command := "ringfence control preflight " + id
	if o.scope.Ring != "" {
		command += " --ring " + o.scope.Ring
	}
	if o.scope.Production {
		command += " --production"
	}
	return command
}

// openRollout opens the cluster in the name of the kubeconfig's user.
func openRollout(env Env, o preflightOptions) (*desk.Desk, error) {
	return openDesk(env, o.cluster.kubeconfig, o.cluster.context, "rollout")
}

func newControlRollback(env Env) *cobra.Command {
	var o preflightOptions
	cmd := &cobra.Command{
		Use: "rollback ID", Short: "Undo the last promotion of a control, at once", ValidArgsFunction: completeIDs(env),
		Long: `Put the action back that a control had before its last promotion, and wait until it is in force. Said again, the one before that
is undone; the Platform remembers ten.

Exit codes: 0 done; 1 there is nothing to undo, or the API server said no; 2 bad usage, or the cluster could not be asked.`,
		Example: "  ringfence control rollback RF-WL-08",
		RunE: func(cmd *cobra.Command, args []string) error {
			return rollback(cmd.Context(), env, o, cmd.CommandPath(), args)
		},
	}
	userFlags(cmd, &o.cluster.kubeconfig, &o.cluster.context)
	return cmd
}

// rollback undoes the last promotion of a control.
func rollback(ctx context.Context, env Env, o preflightOptions, command string, args []string) error {
	c, err := oneControl(env, command, args)
	if err != nil {
		return err
	}
	d, err := openRollout(env, o)
	if err != nil {
		return err
	}
	platform, err := d.Platform(ctx)
	if err != nil {
		return answered(err)
	}
	after, step, err := rollout.Rollback(platform, c.ID, env.Now())
	if err != nil {
		return &exitError{finding.ExitRefused, err}
	}
	return putInForce(ctx, env, d, platform, after, c.ID, fmt.Sprintf("%s %s: back from %s to %s", c.ID, rollout.ScopeOf(step.Place), step.To, cmp.Or(string(step.From), "the profile's action")))
}

// inForceWithin is how long it is waited for one more Guard, which takes well under a second; lookEvery how often they are looked at, at most:
// a third of the time goes into looking.
const inForceWithin, lookEvery = 10 * time.Second, 50 * time.Millisecond

// putInForce writes what a Platform says of one control, waits until every Guard says so, and tells how long it took.
func putInForce(ctx context.Context, env Env, d *desk.Desk, before, after *v1alpha1.Platform, id, what string) error {
	began := time.Now()
	stored, err := d.PatchPlatform(ctx, before, func(now *v1alpha1.Platform) ([]byte, error) { return rollout.Patch(now, after, id) })
	if err != nil {
		return answered(err)
	}
	fmt.Fprintln(env.Stdout, what)
	tenants, err := d.Tenants(ctx)
	if err != nil {
		env.note("the Platform is changed; whether it is in force was not seen: %v", err)
		return nil
	}
	cat, err := env.catalogue()
	if err != nil {
		return err
	}
	if cat, err = only(cat, []string{id}); err != nil {
		return err
	}
	want := &settings{controls: cat.Controls, platform: stored, tenants: tenants, now: env.Now(), guards: map[string]*policy.Guard{}}
	for last, least := time.Now(), -1; ; {
		looked := time.Now()
		behind, all, err := notYet(ctx, d, want, id)
		if least < 0 || len(behind) < least {
			last, least = time.Now(), len(behind)
		}
		switch {
		case err != nil:
			env.note("the Platform is changed; whether it is in force was not seen: %v", err)
			return nil
		case len(behind) == 0:
			env.note("in force in %s after %s", count(all, "namespace"), time.Since(began).Round(10*time.Millisecond))
			return nil
		case time.Since(last) > inForceWithin:
			text := strings.Join(behind[:min(3, len(behind))], ", ")
			if more := len(behind) - 3; more > 0 {
				text += fmt.Sprintf(" and %d more", more)
			}
			return &exitError{finding.ExitUndecided, fmt.Errorf("the Platform is changed, and after %s the Guard of %s does not say so: is ringfence serve running?", time.Since(began).Round(time.Second), text)}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(lookEvery, 2*time.Since(looked))):
		}
	}
}

// notYet are namespaces whose Guard has another action for a control than the settings give it, and how many Guards there are.
func notYet(ctx context.Context, d *desk.Desk, want *settings, id string) (behind []string, all int, err error) {
	guards, err := d.Guards(ctx)
	for _, g := range guards {
		if g.Name != v1alpha1.GuardName || g.Spec.Tenant != "" && tenant.Of(want.tenants, g.Namespace) == nil {
			continue // a namespace that its tenant gave up
		}
		compiled, err := want.guard(g.Namespace)
		if err != nil {
			return nil, 0, err
		}
		if all++; finding.Action(g.Spec.Actions[id]) != compiled.Action(id) {
			behind = append(behind, g.Namespace)
		}
	}
	return behind, all, err
}
