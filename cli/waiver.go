package cli

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/tenant"
	"ringfence.dev/ringfence/tenant/desk"
)

// waiverOptions are the flags of `ringfence waiver` and of the commands below it.
type waiverOptions struct {
	deskOptions
	// of request
	name, owner, expires string
	// of list
	unused, expired bool
	expiring        string
}

// newWaiver is `ringfence waiver`.
func newWaiver(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "waiver", Short: "Accept a finding for a while: request, approve, revoke, list",
		Long: `A waiver accepts one control's finding for objects named one by one, for 90 days at most. It counts once another person
than its owner and its requester has approved it. docs/spec/v1alpha1/waiver.md says what it covers and when it ends.

The commands speak to the cluster of the kubeconfig, as the user it names. Exit codes: 0 done; 1 the API server said no; 2 bad
usage, or the cluster could not be asked; 3 something could not be decided.`,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(newWaiverRequest(env), newWaiverApprove(env), newWaiverRevoke(env), newWaiverList(env))
	return cmd
}

// open opens the cluster once the usage is right.
func (o *waiverOptions) open(env Env, command string) (*desk.Desk, error) {
	return o.deskOptions.open(env, command, "waiver", "a waiver counts in one namespace")
}

func newWaiverRequest(env Env) *cobra.Command {
	var o waiverOptions
	cmd := &cobra.Command{
		Use: "request CONTROL KIND/NAME... -n NS", Short: "Ask for a waiver of one control for objects by name",
		Long: `Ask for a waiver of one control for objects of a namespace, each by its name: deploy/api, CronJob/nightly, Kind.group/name for
custom kinds. The waiver of a workload covers the pods that Kubernetes makes of it. Somebody else approves it.`,
		Example: `  ringfence waiver request RF-WL-08 deploy/api -n payments-prod --reason "the vendor's image needs it until release 5" --ticket RISK-4711 --expires 2027-01-31`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return requestWaiver(cmd.Context(), env, o, args)
		},
		ValidArgsFunction: completeIDs(env),
	}
	o.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.reason, "reason", "", "why the rule cannot be kept for now")
	flags.StringVar(&o.ticket, "ticket", "", "the bank's record of the decision")
	flags.StringVar(&o.expires, "expires", "", "`DATE|INSTANT` of its end: a date holds all of that day, UTC; at most 90 days ahead")
	flags.StringVar(&o.owner, "owner", "", "the person who answers for the risk (default: you)")
	flags.StringVar(&o.name, "name", "", "the waiver's `NAME` (default: made of control and object)")
	return cmd
}

func requestWaiver(ctx context.Context, env Env, o waiverOptions, args []string) error {
	const command = "ringfence waiver request"
	if len(args) < 2 {
		return usagef(command, "found %d arguments; want CONTROL KIND/NAME..., for instance RF-WL-08 deploy/api", len(args))
	}
	cat, err := env.catalogue()
	if err != nil {
		return err
	}
	c, err := findControl(cat, args[0])
	if err != nil {
		return err
	}
	w := &v1alpha1.Waiver{}
	for _, arg := range args[1:] {
		subject, err := waiverSubject(cat, arg)
		if err != nil {
			return usagef(command, "%w", err)
		}
		w.Spec.Subjects = append(w.Spec.Subjects, subject)
	}
	for flag, value := range map[string]string{"--reason": o.reason, "--ticket": o.ticket, "--expires": o.expires} {
		if strings.TrimSpace(value) == "" {
			return usagef(command, "no %s: a waiver says why, under which ticket and until when; give --reason, --ticket and --expires", flag)
		}
	}
	end, err := tenant.Expiry(o.expires)
	if err != nil {
		return usagef(command, "--expires: %w", err)
	}
	d, err := o.open(env, command)
	if err != nil {
		return err
	}
	w.Namespace, w.Name = o.namespace, cmp.Or(o.name, waiverName(c.ID, w.Spec.Subjects[0].Name))
	w.Spec.Control, w.Spec.Reason, w.Spec.Ticket, w.Spec.Owner, w.Spec.Expires = c.ID, o.reason, o.ticket, o.owner, o.expires
	if err := d.Request(ctx, w); err != nil {
		return answered(err)
	}
	fmt.Fprintf(env.Stdout, "%s/%s\n", w.Namespace, w.Name)
	env.note("requested by %s, owned by %s, until %s; it counts once somebody else has approved it: ringfence waiver approve %s -n %s",
		w.Spec.Requester, w.Spec.Owner, instantOf(end), w.Name, w.Namespace)
	return nil
}

// shortKinds are the short names of kubectl for kinds that are judged.
func shortKinds() map[string]string {
	return map[string]string{"po": "Pod", "deploy": "Deployment", "sts": "StatefulSet", "ds": "DaemonSet", "rs": "ReplicaSet", "rc": "ReplicationController", "cj": "CronJob",
		"svc": "Service", "ing": "Ingress", "netpol": "NetworkPolicy", "cm": "ConfigMap", "sa": "ServiceAccount", "pvc": "PersistentVolumeClaim"}
}

// waiverSubject reads KIND/NAME as kubectl does, of the kinds that are judged.
func waiverSubject(cat *control.Catalogue, arg string) (v1alpha1.WaiverSubject, error) {
	word, name, ok := strings.Cut(arg, "/")
	if !ok || word == "" || name == "" || strings.ContainsAny(name, "/*?") {
		return v1alpha1.WaiverSubject{}, fmt.Errorf("%s: want one object by its name as KIND/NAME, for instance deploy/api", finding.Value(arg))
	}
	kind, apiGroup, grouped := strings.Cut(word, ".")
	kind = cmp.Or(shortKinds()[strings.ToLower(kind)], kind)
	workloads, others := cat.Kinds()
	for _, k := range slices.Concat(workloads, others) {
		if (strings.EqualFold(k.Kind, kind) || strings.EqualFold(k.Resource, kind)) && (!grouped || k.APIGroup == apiGroup) {
			if k.ClusterScoped {
				return v1alpha1.WaiverSubject{}, fmt.Errorf("%s lies in no namespace and cannot be waived", k.Kind)
			}
			return v1alpha1.WaiverSubject{APIGroup: k.APIGroup, Kind: k.Kind, Name: name}, nil
		}
	}
	return v1alpha1.WaiverSubject{}, fmt.Errorf("%s: no control judges such a kind; want one such as deploy, CronJob or Kind.group", finding.Value(word))
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// waiverName is a name for the waiver of a control for an object.
func waiverName(id, object string) string {
	name := notInName.ReplaceAllString(strings.ToLower(id+"-"+object), "-")
	return strings.Trim(name[:min(len(name), 63)], "-")
}

func newWaiverApprove(env Env) *cobra.Command {
	var o waiverOptions
	cmd := &cobra.Command{
		Use: "approve NAME -n NS", Short: "Approve a waiver in your name",
		Long: `Approve a waiver in your name. You are neither its owner nor its requester, and may approve waivers: ClusterRole
ringfence-waiver-approver. What you accept is printed; an approval cannot be changed or taken back, only ended with revoke.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withWaiver(env, &o, cmd.CommandPath(), args, func(d *desk.Desk, name string) error {
				w, err := d.Approve(cmd.Context(), o.namespace, name)
				if err != nil {
					return err
				}
				fmt.Fprintf(env.Stdout, "%s/%s\n", w.Namespace, w.Name)
				end, _ := tenant.Expiry(w.Spec.Expires) // the schema has seen to it
				env.note("%s approved %s for %s until %s: %s (%s)", w.Status.Approval.Approver, w.Spec.Control, subjectsOf(w), instantOf(end), finding.Clean(w.Spec.Reason), w.Spec.Ticket)
				return nil
			})
		},
	}
	o.register(cmd)
	return cmd
}

func newWaiverRevoke(env Env) *cobra.Command {
	var o waiverOptions
	cmd := &cobra.Command{
		Use: "revoke NAME -n NS", Short: "End a waiver now",
		Long: "End a waiver now, approved or not. It stays readable as one that has ended; what runs keeps running until it is changed or made anew.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return withWaiver(env, &o, cmd.CommandPath(), args, func(d *desk.Desk, name string) error {
				w, err := d.Revoke(cmd.Context(), o.namespace, name)
				if err != nil {
					return err
				}
				fmt.Fprintf(env.Stdout, "%s/%s\n", w.Namespace, w.Name)
				if end, _ := tenant.Expiry(w.Spec.Expires); !env.Now().Before(end) {
					env.note("it had ended already, at %s", instantOf(end))
				}
				return nil
			})
		},
	}
	o.register(cmd)
	return cmd
}

// withWaiver runs what a command does with the one waiver that is named.
func withWaiver(env Env, o *waiverOptions, command string, args []string, do func(*desk.Desk, string) error) error {
	if len(args) != 1 {
		return usagef(command, "found %d arguments; want the NAME of one waiver; list them: ringfence waiver list -n NS", len(args))
	}
	d, err := o.open(env, command)
	if err != nil {
		return err
	}
	return answered(do(d, args[0]))
}

// subjectsOf names the objects of a waiver.
func subjectsOf(w *v1alpha1.Waiver) string {
	var names []string
	for _, s := range w.Spec.Subjects {
		names = append(names, s.Kind+"/"+s.Name)
	}
	return strings.Join(names, ",")
}
