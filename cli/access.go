package cli

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/tenant"
	"ringfence.dev/ringfence/tenant/desk"
	"ringfence.dev/ringfence/tenant/elevation"
)

// elevationsSchema is the version of the JSON of `ringfence access list`. Fields are only added.
const elevationsSchema = "ringfence.dev/elevations/v1"

// accessOptions are the flags of the commands of `ringfence access` that speak of elevations.
type accessOptions struct {
	deskOptions                 // how to reach the cluster, namespace, reason, ticket, and of list
	tenant, environment, lasts  string
	note, dir                   string
	api, apiTokenFile, apiCAPem string
	wait                        time.Duration
}

// newAccess is `ringfence access`.
func newAccess(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "access", Short: "Who you are, who signs in, and with which rights; more rights for a while",
		Long: `Who you are, what a cluster must be told about sign-in, and which rights nobody uses: whoami, authn, unused.

More rights in one namespace for a while, in an emergency: an elevation. One person asks and another approves; Ringfence makes an
account for it, gives whoever asked tokens of that account, and takes all away at the end. What was done is reviewed by another
person. docs/break-glass.md tells the whole way, docs/spec/v1alpha1/elevation.md says what holds when.

The commands speak to the cluster of the kubeconfig, as the user it names. Exit codes: 0 done; 1 the API server or Ringfence said
no; 2 bad usage, or the cluster could not be asked; 3 it is stored, and what was waited for has not come.`,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(newAccessElevate(env), newAccessApprove(env), newAccessToken(env), newAccessEnd(env), newAccessReview(env), newAccessList(env),
		newAccessWhoami(env), newAccessAuthn(env), newAccessUnused(env))
	return cmd
}

// open opens the cluster once the usage is right.
func (o *accessOptions) open(env Env, command string) (*desk.Desk, error) {
	return o.deskOptions.open(env, command, "access", "an elevation is of one namespace")
}

// one runs what a command does with the one elevation that is named.
func (o *accessOptions) one(env Env, command string, args []string, do func(d *desk.Desk, name string) error) error {
	if len(args) != 1 {
		return usagef(command, "found %d arguments; want the NAME of one elevation; list them: ringfence access list -n NS", len(args))
	}
	d, err := o.open(env, command)
	if err != nil {
		return err
	}
	return answered(do(d, args[0]))
}

func newAccessElevate(env Env) *cobra.Command {
	var o accessOptions
	cmd := &cobra.Command{
		Use: "elevate --tenant TENANT --env ENV --for TIME --ticket ID --reason TEXT", Short: "Ask for more rights in one environment for a while",
		Long: `Ask for more rights in one environment of a tenant, or in the namespace given with -n, for a while and in your own name. Another
person approves; the time begins when they have. Then get a token: ringfence access token NAME -n NS. With --wait it waits until
the rights are there.`,
		Example: `  ringfence access elevate --tenant payments --env prod --for 30m --ticket INC0012345 --reason "payments hang, want heap of api"`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return elevate(cmd.Context(), env, o) },
	}
	o.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.tenant, "tenant", "", "the `TENANT` whose environment it is")
	flags.StringVar(&o.environment, "env", "", "the `ENV` of the tenant, for instance prod")
	flags.StringVar(&o.lasts, "for", "30m", "the `TIME` that it lasts, at least 15m and at most what the Platform allows")
	flags.StringVar(&o.reason, "reason", "", "why")
	flags.StringVar(&o.ticket, "ticket", "", "the bank's record of the incident")
	flags.DurationVar(&o.wait, "wait", 0, "how long to wait for approval; 0 does not")
	return cmd
}

func elevate(ctx context.Context, env Env, o accessOptions) error {
	const command = "ringfence access elevate"
	byTenant := o.tenant != "" || o.environment != ""
	switch {
	case byTenant && (o.tenant == "" || o.environment == "" || o.namespace != ""):
		return usagef(command, "want --tenant and --env, or -n NS alone")
	case !byTenant && o.namespace == "":
		return usagef(command, "no --tenant and --env: an elevation is of one environment; give both, or -n NS")
	case len(strings.TrimSpace(o.reason)) < 3 || strings.TrimSpace(o.ticket) == "":
		return usagef(command, "no --reason or no --ticket: an elevation says why and under which ticket; give both")
	}
	lasts, err := days(o.lasts)
	if err != nil {
		return usagef(command, "--for: %w", err)
	}
	if lasts < 15*time.Minute {
		return usagef(command, "--for %s: want 15m at least: a token has 10 minutes, and ends before the elevation does; end it when the work is done: ringfence access end", finding.Value(o.lasts))
	}
	o.allNamespaces = byTenant // the namespace follows
	d, err := o.open(env, command)
	if err != nil {
		return err
	}
	if byTenant {
		if o.namespace, err = d.NamespaceOf(ctx, o.tenant, o.environment); err != nil {
			return answered(err)
		}
	}
	e := &v1alpha1.Elevation{}
	e.Namespace, e.GenerateName = o.namespace, elevationName(o.ticket)
	e.Spec.Reason, e.Spec.Ticket, e.Spec.Lasts.Duration = o.reason, o.ticket, lasts
	if err := d.Elevate(ctx, e); err != nil {
		return answered(err)
	}
	fmt.Fprintf(env.Stdout, "%s/%s\n", e.Namespace, e.Name)
	env.note("asked for by %s, for %s once another person has approved it: ringfence access approve %s -n %s", e.Spec.Requester, lasts, e.Name, e.Namespace)
	if o.wait > 0 {
		stands, err := d.AwaitElevation(ctx, e.Namespace, e.Name, v1alpha1.ElevationActive, o.wait)
		if err != nil {
			return answered(err)
		}
		if err := notThere(stands, v1alpha1.ElevationActive, o.wait); err != nil {
			return err
		}
		env.note("it lives until %s", instantOf(stands.Status.Expires.Time))
	}
	env.note("then: ringfence access token %s -n %s", e.Name, e.Namespace)
	return nil
}

// notThere is the error of an elevation that has not come to a phase in time.
func notThere(e *v1alpha1.Elevation, phase v1alpha1.ElevationPhase, wait time.Duration) error {
	switch {
	case e.Status.Phase == phase:
		return nil
	case e.Status.Phase == v1alpha1.ElevationEnded:
		return &exitError{1, fmt.Errorf("elevation %s is over: %s", e.Name, e.Status.Outcome)}
	case e.Status.Approval == nil:
		return &exitError{finding.ExitUndecided, fmt.Errorf("nobody has approved elevation %s within %s; have a colleague: ringfence access approve %s -n %s", e.Name, wait, e.Name, e.Namespace)}
	}
	return &exitError{finding.ExitUndecided, fmt.Errorf("elevation %s is stored, and Ringfence has not acted within %s; check that ringfence serve runs, and look: ringfence access list -n %s", e.Name, wait, e.Namespace)}
}

var notInElevation = regexp.MustCompile(`[^a-z0-9]+`)

// elevationName begins the name of an elevation under a ticket, of which letters and digits count.
func elevationName(ticket string) string {
	name := notInElevation.ReplaceAllString(strings.ToLower(ticket), "-")
	return cmp.Or(strings.Trim(name[:min(len(name), 40)], "-"), "elevation") + "-"
}

func newAccessApprove(env Env) *cobra.Command {
	var o accessOptions
	cmd := &cobra.Command{
		Use: "approve NAME -n NS", Short: "Approve an elevation in your name",
		Long: `Approve an elevation in your name. You are another person than the requester, not only another account, and may approve: ClusterRole
ringfence-elevation-approver. An approval is not taken back; end the elevation instead.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.one(env, cmd.CommandPath(), args, func(d *desk.Desk, name string) error {
				e, err := d.ApproveElevation(cmd.Context(), o.namespace, name)
				if err != nil {
					return err
				}
				fmt.Fprintf(env.Stdout, "%s/%s\n", e.Namespace, e.Name)
				env.note("%s approved more rights of %s in %s for %s: %s (%s)", e.Status.Approval.Approver, e.Spec.Requester, e.Namespace, e.Spec.Lasts.Duration, finding.Clean(e.Spec.Reason), e.Spec.Ticket)
				stands, err := d.AwaitElevation(cmd.Context(), e.Namespace, e.Name, v1alpha1.ElevationActive, o.wait)
				if err != nil {
					return err
				}
				if err := notThere(stands, v1alpha1.ElevationActive, o.wait); err != nil {
					return err
				}
				env.note("it lives until %s; to end it: ringfence access end %s -n %s", instantOf(stands.Status.Expires.Time), e.Name, e.Namespace)
				return nil
			})
		},
	}
	o.register(cmd)
	waitForElevation(cmd, &o)
	return cmd
}

func waitForElevation(cmd *cobra.Command, o *accessOptions) {
	cmd.Flags().DurationVar(&o.wait, "wait", 30*time.Second, "how long to wait for Ringfence to act")
}

func newAccessEnd(env Env) *cobra.Command {
	var o accessOptions
	cmd := &cobra.Command{
		Use: "end NAME -n NS", Short: "End an elevation now, in your name",
		Long: "End an elevation now, in your name, approved or not: its account goes, and with it every token.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.one(env, cmd.CommandPath(), args, func(d *desk.Desk, name string) error {
				e, err := d.EndElevation(cmd.Context(), o.namespace, name, o.reason)
				if err != nil {
					return err
				}
				fmt.Fprintf(env.Stdout, "%s/%s\n", e.Namespace, e.Name)
				stands, err := d.AwaitElevation(cmd.Context(), e.Namespace, e.Name, v1alpha1.ElevationEnded, o.wait)
				if err != nil {
					return err
				}
				if err := notThere(stands, v1alpha1.ElevationEnded, o.wait); err != nil {
					return err
				}
				env.note("its account is gone, and every token with it")
				if stands.Status.ReviewBy != nil {
					env.note("another person reviews it by %s: ringfence access review %s -n %s", instantOf(stands.Status.ReviewBy.Time), e.Name, e.Namespace)
				}
				return nil
			})
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&o.reason, "reason", "", "why")
	waitForElevation(cmd, &o)
	return cmd
}

// listedElevation is one elevation in the JSON of access list.
type listedElevation struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// State is requested, unanswered, approved (Ringfence has not acted), active, ended (to be reviewed), overdue or reviewed. Outcome is how
	// it ended, null before.
	State     string  `json:"state"`
	Outcome   *string `json:"outcome"`
	Requester string  `json:"requester"`
	Approver  *string `json:"approver"`
	Reviewer  *string `json:"reviewer"`
	Reason    string  `json:"reason"`
	Ticket    string  `json:"ticket"`
	Lasts     string  `json:"lasts"`
	// Account is the user name of what is done under it.
	Account  string  `json:"account"`
	Expires  *string `json:"expires"`
	ReviewBy *string `json:"reviewBy"`
}

func newAccessList(env Env) *cobra.Command {
	var o accessOptions
	cmd := &cobra.Command{
		Use: "list -n NS|-A", Short: "List elevations, those that have ended included",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return listElevations(cmd.Context(), env, o) },
	}
	o.register(cmd)
	o.listFlags(cmd)
	return cmd
}

func listElevations(ctx context.Context, env Env, o accessOptions) error {
	const command = "ringfence access list"
	if err := o.checkList(command); err != nil {
		return err
	}
	d, err := o.open(env, command)
	if err != nil {
		return err
	}
	all, err := d.Elevations(ctx, o.namespace)
	if err != nil {
		return answered(err)
	}
	listed := []listedElevation{}
	for i := range all {
		listed = append(listed, listElevation(&all[i], env.Now()))
	}
	or := func(s *string) string {
		if s == nil {
			return "-"
		}
		return finding.Clean(*s)
	}
	return writeList(env, o.output, elevationsSchema, "elevations", listed, "NAMESPACE\tNAME\tSTATE\tTICKET\tREQUESTER\tAPPROVER\tEXPIRES\tREVIEWER", "no elevation",
		func(e listedElevation) string {
			return strings.Join([]string{e.Namespace, e.Name, e.State, e.Ticket, finding.Clean(e.Requester), or(e.Approver), or(e.Expires), or(e.Reviewer)}, "\t")
		})
}

// listElevation is an elevation as it is listed at a time. How long a request waits is the Platform's to say, which not everybody may
// read: one that Ringfence has not ended waits.
func listElevation(e *v1alpha1.Elevation, now time.Time) listedElevation {
	course := elevation.CourseOf(e, tenant.ElevationOf(nil))
	course.AnswerBy = time.Time{}
	state, _ := course.State(now)
	l := listedElevation{Namespace: e.Namespace, Name: e.Name, State: string(state), Requester: e.Spec.Requester, Reason: e.Spec.Reason, Ticket: e.Spec.Ticket,
		Lasts: e.Spec.Lasts.Duration.String(), Account: elevation.User(e)}
	if e.Status.Outcome != "" {
		l.Outcome = &e.Status.Outcome
	}
	if a := e.Status.Approval; a != nil {
		l.Approver = &a.Approver
	}
	if r := e.Status.Review; r != nil {
		l.Reviewer = &r.Reviewer
	}
	if end := e.Status.Expires; end != nil {
		l.Expires = new(instantOf(end.Time))
	}
	if by := e.Status.ReviewBy; by != nil {
		l.ReviewBy = new(instantOf(by.Time))
	}
	return l
}
