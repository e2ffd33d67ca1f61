package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/tenant"
	"ringfence.dev/ringfence/tenant/desk"
)

// moveOptions are the flags of `ringfence tenant move`.
type moveOptions struct {
	tenantOptions
	to, as                 string
	confirm, approve, stop bool
}

func newTenantMove(env Env) *cobra.Command {
	var o moveOptions
	cmd := &cobra.Command{
		Use: "move TENANT ENVIRONMENT --to TENANT", Short: "Give an environment to another tenant; what runs there goes on",
		Long: `Give an environment to another tenant. Without --confirm nothing is changed: what would happen is shown. With it the move is asked for
in your name. It begins when another person, who signed in with a second factor, says: ringfence tenant move TENANT --approve. Then people and
pipelines of the old tenant lose their rights, the namespace becomes the other tenant's, and its people get theirs. The namespace keeps its
name and all that is in it, and is under guard all the time; what runs is not touched. Both Tenant objects are changed: change manifests that
you keep of them, too.`,
		Example: `  ringfence tenant move payments prod --to cards
  ringfence tenant move payments prod --to cards --as ledger --confirm --reason "team of ledger moved" --ticket CHG0004712
  ringfence tenant move payments --approve`,
		RunE: func(cmd *cobra.Command, args []string) error { return moveEnvironment(cmd.Context(), env, o, args) },
	}
	o.register(cmd)
	o.whyFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.to, "to", "", "the `TENANT` that gets it")
	flags.StringVar(&o.as, "as", "", "what the environment is called there (default: as here)")
	flags.BoolVar(&o.confirm, "confirm", false, "ask for it; without it nothing is changed")
	flags.BoolVar(&o.approve, "approve", false, "approve what another person asked for")
	flags.BoolVar(&o.stop, "stop", false, "take a request back")
	cmd.MarkFlagsMutuallyExclusive("confirm", "approve", "stop")
	return cmd
}

func moveEnvironment(ctx context.Context, env Env, o moveOptions, args []string) error {
	const command = "ringfence tenant move"
	if !o.approve && !o.stop {
		if len(args) != 2 || o.to == "" {
			return usagef(command, "found %d arguments and --to %s; want the TENANT and its ENVIRONMENT, and --to with the tenant that gets it", len(args), finding.Value(o.to))
		}
		if o.confirm {
			if err := o.checkWhy(command, "a move"); err != nil {
				return err
			}
		}
		return o.plan(ctx, env, args[0], v1alpha1.Move{Environment: args[1], To: o.to, As: cmp.Or(o.as, args[1]), Reason: o.reason, Ticket: o.ticket})
	}
	name, err := oneTenant(command, args)
	if err != nil {
		return err
	}
	d, err := o.open(env)
	if err != nil {
		return err
	}
	if o.stop {
		if err := d.StopMove(ctx, name); err != nil {
			return answered(err)
		}
		env.note("no environment of tenant %s moves", name)
		return nil
	}
	m, err := d.ApproveMove(ctx, name)
	if err != nil {
		return answered(err)
	}
	env.note("approved by %s; namespace %s becomes environment %s of tenant %s, once ringfence tenant show %s says Active; to undo it: move it back", finding.Value(m.Approver), m.Namespace, m.As, m.To, m.To)
	return nil
}

// plan shows a move, and asks for it where that is wanted.
func (o *moveOptions) plan(ctx context.Context, env Env, from string, m v1alpha1.Move) error {
	d, err := o.open(env)
	if err != nil {
		return err
	}
	plan, err := d.PlanMove(ctx, from, m)
	if err != nil {
		return answered(err)
	}
	contents, err := inside(ctx, d, string(plan.Namespace))
	if err != nil {
		return answered(err)
	}
	writeMove(env, plan, contents)
	if len(plan.Faults) > 0 {
		return exit(finding.ExitRefused)
	}
	if !o.confirm {
		env.note("nothing was changed; to ask for it: ringfence tenant move %s %s --to %s --as %s --confirm --reason TEXT --ticket ID", from, m.Environment, m.To, m.As)
		return nil
	}
	t, err := d.AskMove(ctx, plan)
	if err != nil {
		return answered(err)
	}
	env.note("asked for by %s; nothing moves yet: another person says ringfence tenant move %s --approve", finding.Value(t.Spec.Move.Requester), from)
	return nil
}

// writeMove writes what a move would mean.
func writeMove(env Env, m *desk.Move, contents string) {
	say := func(format string, args ...any) { fmt.Fprintf(env.Stdout, format+"\n", args...) }
	list := func(title string, lines []string) {
		if len(lines) > 0 {
			say("%s", title)
		}
		for _, line := range lines {
			say("     %s", finding.Clean(line))
		}
	}
	namespace := string(m.Namespace)
	say("environment %s of tenant %s becomes environment %s of tenant %s", m.Environment, m.From.Name, m.As, m.To.Name)
	say("1. another person approves, with a second factor")
	list("2. rights end in "+namespace+":", rightsIn(m.From, namespace))
	say("3. namespace %s stays, with its name, its Guard and all in it: %s", namespace, contents)
	list("4. rights come:", rightsIn(m.Right, namespace))
	list("what runs there may do now, and may not as the other tenant's; it is refused when it is made anew:", m.Losses)
	list("RoleBindings that Ringfence did not write, and that stay:", m.Bindings)
	list("elevations that must end before:", m.Elevations)
	for _, f := range m.Faults {
		say("not possible: tenant %s, %s: %s", f.Tenant, f.Path, f.Text)
	}
	say("Secrets there are known to whoever could read them: change them")
}

// rightsIn are the groups and pipelines that a tenant has in one of its namespaces.
func rightsIn(t *v1alpha1.Tenant, namespace string) (lines []string) {
	for _, e := range t.Spec.Environments {
		if tenant.NamespaceOf(t, e) != namespace {
			continue
		}
		groups := tenant.GroupsOf(t, e)
		lines = append(lines, "group "+groups.Admin+" (admin), group "+groups.ReadOnly+" (readOnly)")
		for _, p := range t.Spec.Pipelines {
			if slices.Contains(p.Environments, e.Name) {
				lines = append(lines, "pipeline "+p.Name)
			}
		}
	}
	return lines
}

// inside says in one line what a namespace holds.
func inside(ctx context.Context, d *desk.Desk, namespace string) (string, error) {
	counts, err := d.Contents(ctx, namespace)
	if err != nil {
		return "", err
	}
	return cmp.Or(strings.Join(counted(counts), ", "), "nothing"), nil
}
