package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/tenant"
	"ringfence.dev/ringfence/tenant/desk"
)

func (o *tenantOptions) whyFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.reason, "reason", "", "why")
	cmd.Flags().StringVar(&o.ticket, "ticket", "", "the bank's record of it")
}

func (o *tenantOptions) checkWhy(command, what string) error {
	if len(strings.TrimSpace(o.reason)) < 3 || strings.TrimSpace(o.ticket) == "" {
		return usagef(command, "no --reason or no --ticket: %s says why and under which ticket; give both", what)
	}
	return nil
}

func newTenantCordon(env Env) *cobra.Command {
	var o tenantOptions
	cmd := &cobra.Command{
		Use: "cordon NAME --reason TEXT --ticket ID", Short: "Let nothing new into a tenant; what runs stays",
		Long: `Let nothing new into the environments of a tenant: its people and pipelines look and change nothing, and nobody, a deploying
controller of the platform neither, adds a Deployment, StatefulSet, DaemonSet, CronJob or ReplicationController. What runs goes on, and its
pods and scheduled jobs are made anew as ever. It holds with Ringfence stopped, once the Tenant says Cordoned. Every write of it is
evidence. ringfence tenant uncordon NAME undoes it.`,
		Example: `  ringfence tenant cordon payments --reason "found in the review of rights" --ticket INC0012345`,
		RunE: func(cmd *cobra.Command, args []string) error {
			const command = "ringfence tenant cordon"
			name, err := oneTenant(command, args)
			if err == nil {
				err = o.checkWhy(command, "a cordon")
			}
			if err != nil {
				return err
			}
			return cordonTenant(cmd.Context(), env, o, name, &v1alpha1.Cordon{Reason: o.reason, Ticket: o.ticket})
		},
	}
	o.register(cmd)
	o.whyFlags(cmd)
	return cmd
}

func newTenantUncordon(env Env) *cobra.Command {
	var o tenantOptions
	cmd := &cobra.Command{
		Use: "uncordon NAME", Short: "Undo a cordon",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := oneTenant("ringfence tenant uncordon", args)
			if err != nil {
				return err
			}
			return cordonTenant(cmd.Context(), env, o, name, nil)
		},
	}
	o.register(cmd)
	return cmd
}

func cordonTenant(ctx context.Context, env Env, o tenantOptions, name string, cordon *v1alpha1.Cordon) error {
	d, err := o.open(env)
	if err != nil {
		return err
	}
	t, err := d.Cordon(ctx, name, cordon)
	if err != nil {
		return answered(err)
	}
	if cordon == nil {
		env.note("tenant %s is not cordoned; its people get their rights again", t.Name)
		return nil
	}
	env.note("tenant %s is cordoned; it holds once ringfence tenant show %s says Cordoned; to undo it: ringfence tenant uncordon %s", t.Name, t.Name, t.Name)
	return nil
}

// offboardOptions are the flags of `ringfence tenant offboard`.
type offboardOptions struct {
	tenantOptions
	evidenceOptions
	keep                   string
	confirm, approve, stop bool
}

func newTenantOffboard(env Env) *cobra.Command {
	var o offboardOptions
	cmd := &cobra.Command{
		Use: "offboard NAME", Short: "End a tenant: evidence first, then access, then after a time its data",
		Long: `End a tenant. Without --confirm nothing is changed: what would happen is shown. With it, evidence about the tenant is exported first,
to the file that --evidence names, and the end is asked for in your name. It begins when another person, who signed in with a second
factor, says: ringfence tenant offboard NAME --approve. Then people and pipelines lose their rights; what runs stays, under guard; and
after --keep the namespaces are deleted with all in them, those that were there before Ringfence too. Until then --stop takes it back.`,
		Example: `  ringfence tenant offboard payments
  ringfence tenant offboard payments --confirm --evidence payments.zip --keep 90d --reason "sold" --ticket CHG0004711
  ringfence tenant offboard payments --approve`,
		RunE: func(cmd *cobra.Command, args []string) error { return offboardTenant(cmd.Context(), env, o, args) },
	}
	o.register(cmd)
	o.whyFlags(cmd)
	o.sourceFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.file, "evidence", "", "with --confirm: the `FILE` to export evidence to, or - where none was ever kept")
	flags.StringVar(&o.keep, "keep", "30d", "how long the data is kept, for instance 90d or 12h")
	flags.BoolVar(&o.confirm, "confirm", false, "ask for it; without it nothing is changed")
	flags.BoolVar(&o.approve, "approve", false, "approve what another person asked for")
	flags.BoolVar(&o.stop, "stop", false, "take a request or an approval back")
	cmd.MarkFlagsMutuallyExclusive("confirm", "approve", "stop")
	return cmd
}

func offboardTenant(ctx context.Context, env Env, o offboardOptions, args []string) error {
	const command = "ringfence tenant offboard"
	name, err := oneTenant(command, args)
	if err != nil {
		return err
	}
	keep, err := days(o.keep)
	if err != nil || keep < time.Hour {
		return usagef(command, "--keep %s: want a time of an hour at least, such as 90d or 12h", finding.Value(o.keep))
	}
	if o.confirm {
		if err := o.checkWhy(command, "the end of a tenant"); err != nil {
			return err
		}
		if o.file == "" {
			return usagef(command, "no --evidence: evidence is exported before anybody loses a right; name a file, or - where none was ever kept")
		}
	}
	d, err := o.tenantOptions.open(env)
	if err != nil {
		return err
	}
	switch {
	case o.approve:
		t, err := d.ApproveOffboarding(ctx, name)
		if err != nil {
			return answered(err)
		}
		env.note("approved by %s; people and pipelines of tenant %s lose their rights now, and its namespaces go %s later; to stop it: %s %s --stop", finding.Value(t.Spec.Offboarding.Approver), name, t.Spec.Offboarding.Keep.Duration, command, name)
		return nil
	case o.stop:
		if _, err := d.StopOffboarding(ctx, name); err != nil {
			return answered(err)
		}
		env.note("tenant %s goes on; its people get their rights again", name)
		return nil
	}
	if err := foretell(ctx, env, d, name, keep); err != nil {
		return answered(err)
	}
	if !o.confirm {
		env.note("nothing was changed; to ask for it: %s %s --confirm --evidence FILE --keep %s --reason TEXT --ticket ID", command, name, o.keep)
		return nil
	}
	return o.ask(ctx, env, d, name, keep)
}

// ask exports the evidence and asks for the end.
func (o *offboardOptions) ask(ctx context.Context, env Env, d *desk.Desk, name string, keep time.Duration) error {
	request := v1alpha1.Offboarding{Reason: o.tenantOptions.reason, Ticket: o.tenantOptions.ticket}
	request.Keep.Duration = keep
	if o.file != "-" {
		o.filter.Tenant = name
		if err := exportEvidence(ctx, env, o.evidenceOptions); err != nil {
			return fmt.Errorf("evidence of tenant %s: %w; nothing was changed", name, err)
		}
		sum, err := digestOf(o.file)
		if err != nil {
			return err
		}
		request.Evidence = sum
	}
	t, err := d.Offboard(ctx, name, request)
	if err != nil {
		return answered(err)
	}
	env.note("asked for by %s; nobody lost anything yet: another person says ringfence tenant offboard %s --approve", finding.Value(t.Spec.Offboarding.Requester), name)
	return nil
}

// digestOf is the SHA-256 of a file, in hex.
func digestOf(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// foretell writes what the end of a tenant would mean.
func foretell(ctx context.Context, env Env, d *desk.Desk, name string, keep time.Duration) error {
	t, err := d.Tenant(ctx, name)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "tenant %s, owner %s\n", t.Name, finding.Clean(t.Spec.Owner))
	fmt.Fprintf(env.Stdout, "1. evidence is exported\n2. another person approves, with a second factor\n3. rights end:\n")
	for _, e := range t.Spec.Environments {
		groups := tenant.GroupsOf(t, e)
		fmt.Fprintf(env.Stdout, "     %s: group %s (admin), group %s (readOnly)\n", tenant.NamespaceOf(t, e), finding.Value(groups.Admin), finding.Value(groups.ReadOnly))
		for _, p := range t.Spec.Pipelines {
			if slices.Contains(p.Environments, e.Name) {
				fmt.Fprintf(env.Stdout, "     %s: pipeline %s\n", tenant.NamespaceOf(t, e), p.Name)
			}
		}
	}
	fmt.Fprintf(env.Stdout, "4. what runs goes on for %s, and nothing new comes\n5. deleted then, with all in them:\n", keep)
	for _, e := range t.Spec.Environments {
		namespace := tenant.NamespaceOf(t, e)
		contents, err := inside(ctx, d, namespace)
		if err != nil {
			return err
		}
		fmt.Fprintf(env.Stdout, "     %s: %s\n", namespace, contents)
	}
	return nil
}

// counted are the kinds of which there is something, or may be, with their numbers.
func counted(counts map[string]int) (parts []string) {
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		switch n := counts[kind]; {
		case n < 0:
			parts = append(parts, "? "+kind)
		case n > 0:
			parts = append(parts, fmt.Sprintf("%d %s", n, kind))
		}
	}
	return parts
}
