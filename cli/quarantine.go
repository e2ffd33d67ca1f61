package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/tenant"
	"ringfence.dev/ringfence/tenant/desk"
)

// quarantinesSchema is the version of the JSON of `ringfence quarantine list`. Fields are only added.
const quarantinesSchema = "ringfence.dev/quarantines/v1"

// quarantineOptions are the flags of `ringfence quarantine` and of the commands below it.
type quarantineOptions struct {
	deskOptions // how to reach the cluster, namespace, reason, ticket, and of list
	lasts       string
	dryRun      bool
	wait        time.Duration
}

// newQuarantine is `ringfence quarantine`.
func newQuarantine(env Env) *cobra.Command {
	var o quarantineOptions
	cmd := &cobra.Command{
		Use: "quarantine KIND/NAME -n NS --reason TEXT --ticket ID", Short: "Cut a workload off and freeze it: open, confirm, lift, list",
		Long: `Cut a workload off the network and freeze it, so that what runs can be looked at: nothing goes in or out of its pods, nothing
of it is made, changed or deleted, and its spec, pods and events are kept as evidence. It takes one person and one command, and
one to undo it. Unless somebody confirms it, it ends by itself. docs/spec/v1alpha1/quarantine.md says what holds when.

The commands speak to the cluster of the kubeconfig, as the user it names; ClusterRole ringfence-quarantine-responder may use them.
Exit codes: 0 done; 1 the API server said no, or there is no such workload; 2 bad usage, or the cluster could not be asked; 3 it
is stored, and Ringfence has not yet closed or given back the network.`,
		Example: `  ringfence quarantine deploy/api -n payments-prod --reason "talks to an unknown host" --ticket INC0012345
  ringfence quarantine confirm deploy/api -n payments-prod
  ringfence quarantine lift deploy/api -n payments-prod --reason "false alarm"`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && cmd.Flags().NFlag() == 0 || len(args) > 0 && !strings.Contains(args[0], "/") {
				return group(cmd, args)
			}
			return openQuarantine(cmd.Context(), env, o, args)
		},
	}
	o.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.reason, "reason", "", "why")
	flags.StringVar(&o.ticket, "ticket", "", "the bank's record of the incident")
	flags.StringVar(&o.lasts, "for", "24h", "`TIME` after which it ends unless it is confirmed, for instance 24h or 3d; at most 30d")
	flags.BoolVar(&o.dryRun, "dry-run", false, "show what would happen, and have the API server say whether it may; nothing is stored")
	waitFlag(cmd, &o)
	cmd.AddCommand(newQuarantineDecision(env, "confirm"), newQuarantineDecision(env, "lift"), newQuarantineList(env))
	return cmd
}

// open opens the cluster once the usage is right.
func (o *quarantineOptions) open(env Env, command string) (*desk.Desk, error) {
	return o.deskOptions.open(env, command, "quarantine", "a quarantine is of a workload in one namespace")
}

func waitFlag(cmd *cobra.Command, o *quarantineOptions) {
	cmd.Flags().DurationVar(&o.wait, "wait", 30*time.Second, "how long to wait for Ringfence to act; 0 does not")
}

// quarantineSubject reads KIND/NAME as kubectl does, of the kinds that can be quarantined.
func quarantineSubject(arg string) (v1alpha1.QuarantineSubject, error) {
	kinds := []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod"}
	word, name, ok := strings.Cut(arg, "/")
	if !ok || word == "" || name == "" || strings.ContainsAny(name, "/*?") {
		return v1alpha1.QuarantineSubject{}, fmt.Errorf("%s: want one workload by its name as KIND/NAME, for instance deploy/api", finding.Value(arg))
	}
	kind, _, _ := strings.Cut(strings.ToLower(word), ".")
	kind = strings.ToLower(cmp.Or(shortKinds()[kind], kind))
	for _, k := range kinds {
		if kind == strings.ToLower(k) || kind == strings.ToLower(k)+"s" {
			return v1alpha1.QuarantineSubject{Kind: k, Name: name}, nil
		}
	}
	return v1alpha1.QuarantineSubject{}, fmt.Errorf("%s: no such workload can be quarantined; want one of %s", finding.Value(word), strings.Join(kinds, ", "))
}

func openQuarantine(ctx context.Context, env Env, o quarantineOptions, args []string) error {
	const command = "ringfence quarantine"
	if len(args) != 1 {
		return usagef(command, "found %d arguments; want one workload as KIND/NAME, for instance deploy/api", len(args))
	}
	subject, err := quarantineSubject(args[0])
	if err != nil {
		return usagef(command, "%w", err)
	}
	if len(strings.TrimSpace(o.reason)) < 3 || strings.TrimSpace(o.ticket) == "" {
		return usagef(command, "no --reason or no --ticket: a quarantine says why and under which ticket; give both")
	}
	lasts, err := days(o.lasts)
	if err != nil {
		return usagef(command, "--for: %w", err)
	}
	if lasts > 720*time.Hour || lasts < time.Second {
		return usagef(command, "--for %s: want at most 30d; what is to last longer is confirmed: ringfence quarantine confirm", finding.Value(o.lasts))
	}
	d, err := o.open(env, command)
	if err != nil {
		return err
	}
	q := &v1alpha1.Quarantine{}
	name := strings.ToLower(subject.Kind) + "-" + strings.ReplaceAll(subject.Name, ".", "-")
	q.Namespace, q.GenerateName = o.namespace, strings.TrimRight(name[:min(len(name), 57)], "-")+"-"
	q.Spec = v1alpha1.QuarantineSpec{Subject: subject, Reason: o.reason, Ticket: o.ticket, Expires: instantOf(env.Now().Add(lasts))}
	pods, err := d.Quarantine(ctx, q, o.dryRun)
	if err != nil {
		return answered(err)
	}
	if o.dryRun {
		env.note("dry run: %s %s in %s would be frozen until %s; network closed for %d pods:", subject.Kind, subject.Name, o.namespace, q.Spec.Expires, len(pods))
		for _, pod := range pods {
			fmt.Fprintf(env.Stdout, "%s/%s\n", o.namespace, pod)
		}
		return nil
	}
	fmt.Fprintf(env.Stdout, "%s/%s\n", q.Namespace, q.Name)
	env.note("%s %s is frozen: the API server refuses every change of it, by %s, until %s", subject.Kind, subject.Name, q.Spec.Requester, q.Spec.Expires)
	stands, err := awaitPhase(ctx, d, o, q, v1alpha1.QuarantineActive)
	if err != nil {
		return err
	}
	env.note("network closed for %d pods, by %s policy; to keep it: ringfence quarantine confirm %s -n %s; to undo it: ringfence quarantine lift %s -n %s",
		len(stands.Status.Pods), stands.Status.Network, q.Name, q.Namespace, q.Name, q.Namespace)
	if stands.Status.Message != "" {
		env.note("%s", finding.Clean(stands.Status.Message))
	}
	return nil
}

// awaitPhase waits for Ringfence; what it has not done in time is not known to be done.
func awaitPhase(ctx context.Context, d *desk.Desk, o quarantineOptions, q *v1alpha1.Quarantine, phase v1alpha1.QuarantinePhase) (*v1alpha1.Quarantine, error) {
	stands, err := d.Await(ctx, q, phase, o.wait)
	if err != nil {
		return nil, answered(err)
	}
	if stands.Status.Phase == phase {
		return stands, nil
	}
	what := "the network of its pods is NOT closed yet"
	if phase == v1alpha1.QuarantineEnded {
		what = "it is not given back yet"
	}
	return nil, &exitError{finding.ExitUndecided, fmt.Errorf("quarantine %s is stored and %s: Ringfence has not acted within %s; check that ringfence serve runs, and look: ringfence quarantine list -n %s",
		q.Name, what, o.wait, q.Namespace)}
}

// newQuarantineDecision is `ringfence quarantine confirm` or lift.
func newQuarantineDecision(env Env, verb string) *cobra.Command {
	var o quarantineOptions
	short, long := "Make a quarantine last until it is lifted", "Make a quarantine last until it is lifted, in your name. NAME is the quarantine's, or KIND/NAME of the workload."
	if verb == "lift" {
		short, long = "End a quarantine and give everything back", `End a quarantine in your name, confirmed or not: labels and network policies become what they were, and the workload can be changed
again. NAME is the quarantine's, or KIND/NAME of the workload. The object stays to be read; the evidence is in the ledger.`
	}
	cmd := &cobra.Command{
		Use: verb + " NAME -n NS", Short: short, Long: long,
		RunE: func(cmd *cobra.Command, args []string) error {
			return decideQuarantine(cmd.Context(), env, o, verb, cmd.CommandPath(), args)
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&o.reason, "reason", "", "why")
	if verb == "lift" {
		waitFlag(cmd, &o)
	}
	return cmd
}

func decideQuarantine(ctx context.Context, env Env, o quarantineOptions, verb, command string, args []string) error {
	if len(args) != 1 {
		return usagef(command, "found %d arguments; want the NAME of one quarantine; list them: ringfence quarantine list -n NS", len(args))
	}
	name := args[0]
	if strings.Contains(name, "/") {
		subject, err := quarantineSubject(name)
		if err != nil {
			return usagef(command, "%w", err)
		}
		name = subject.Kind + "/" + subject.Name
	}
	d, err := o.open(env, command)
	if err != nil {
		return err
	}
	decide := d.Lift
	if verb == "confirm" {
		decide = d.Confirm
	}
	q, err := decide(ctx, o.namespace, name, o.reason)
	if err != nil {
		return answered(err)
	}
	fmt.Fprintf(env.Stdout, "%s/%s\n", q.Namespace, q.Name)
	if verb == "confirm" {
		env.note("confirmed by %s; it lasts until it is lifted: ringfence quarantine lift %s -n %s", q.Spec.Confirmed.By, q.Name, q.Namespace)
		return nil
	}
	if _, err := awaitPhase(ctx, d, o, q, v1alpha1.QuarantineEnded); err != nil {
		return err
	}
	env.note("lifted by %s: %s %s and its pods are as they were", q.Spec.Lifted.By, q.Spec.Subject.Kind, q.Spec.Subject.Name)
	return nil
}

// listedQuarantine is one quarantine in the JSON of quarantine list.
type listedQuarantine struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Workload  string `json:"workload"`
	// State is frozen (the network is not closed yet), active, confirmed or ended; Outcome how it ended, null before.
	State   string  `json:"state"`
	Outcome *string `json:"outcome"`
	// Expires is the end unless it is confirmed.
	Expires   string  `json:"expires"`
	Reason    string  `json:"reason"`
	Ticket    string  `json:"ticket"`
	Requester string  `json:"requester"`
	Confirmed *string `json:"confirmedBy"`
	Lifted    *string `json:"liftedBy"`
	// Pods are those whose network is closed, or was.
	Pods    []string `json:"pods"`
	Message *string  `json:"message"`
}

func newQuarantineList(env Env) *cobra.Command {
	var o quarantineOptions
	cmd := &cobra.Command{
		Use: "list -n NS|-A", Short: "List quarantines, those that have ended included",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return listQuarantines(cmd.Context(), env, o) },
	}
	o.register(cmd)
	o.listFlags(cmd)
	return cmd
}

func listQuarantines(ctx context.Context, env Env, o quarantineOptions) error {
	const command = "ringfence quarantine list"
	if err := o.checkList(command); err != nil {
		return err
	}
	d, err := o.open(env, command)
	if err != nil {
		return err
	}
	all, err := d.Quarantines(ctx, o.namespace)
	if err != nil {
		return answered(err)
	}
	listed := []listedQuarantine{}
	for i := range all {
		listed = append(listed, listQuarantine(&all[i]))
	}
	return writeList(env, o.output, quarantinesSchema, "quarantines", listed, "NAMESPACE\tNAME\tWORKLOAD\tSTATE\tEXPIRES\tPODS\tREQUESTER\tTICKET", "no quarantine",
		func(q listedQuarantine) string {
			state, expires := q.State, q.Expires
			if q.Outcome != nil {
				state += " (" + *q.Outcome + ")"
			}
			if q.State == "confirmed" {
				expires = "-"
			}
			return strings.Join([]string{q.Namespace, q.Name, q.Kind + "/" + q.Workload, state, expires, strconv.Itoa(len(q.Pods)), finding.Value(q.Requester), q.Ticket}, "\t")
		})
}

// listQuarantine is a quarantine as it stands.
func listQuarantine(q *v1alpha1.Quarantine) listedQuarantine {
	given := func(text string) *string {
		if text == "" {
			return nil
		}
		return &text
	}
	out := listedQuarantine{Namespace: q.Namespace, Name: q.Name, Kind: q.Spec.Subject.Kind, Workload: q.Spec.Subject.Name, State: "frozen", Outcome: given(q.Status.Outcome),
		Expires: q.Spec.Expires, Reason: q.Spec.Reason, Ticket: q.Spec.Ticket, Requester: q.Spec.Requester, Pods: append([]string{}, slices.Sorted(slices.Values(q.Status.Pods))...),
		Message: given(q.Status.Message)}
	if end, err := tenant.Expiry(q.Spec.Expires); err == nil {
		out.Expires = instantOf(end)
	}
	if c := q.Spec.Confirmed; c != nil {
		out.Confirmed = &c.By
	}
	if l := q.Spec.Lifted; l != nil {
		out.Lifted = &l.By
	}
	switch {
	case q.Status.Phase == v1alpha1.QuarantineEnded:
		out.State = "ended"
	case q.Status.Phase == v1alpha1.QuarantineActive && q.Spec.Confirmed != nil:
		out.State = "confirmed"
	case q.Status.Phase == v1alpha1.QuarantineActive:
		out.State = "active"
	}
	return out
}
