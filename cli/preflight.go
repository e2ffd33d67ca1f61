package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/report"
	"ringfence.dev/ringfence/rollout"
	"ringfence.dev/ringfence/tenant"
)

// preflightOptions are the flags of `ringfence control preflight`, and of what asks it first.
type preflightOptions struct {
	checkOptions
	action, dir, format string
	socket              string // in the place of dir's
	scope               rollout.Scope
	days                int
	everything          bool
	requireRequests     bool
}

func (o *preflightOptions) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	userFlags(cmd, &o.cluster.kubeconfig, &o.cluster.context)
	flags.StringVar(&o.scope.Ring, "ring", "", "only tenants of this `RING`")
	flags.BoolVar(&o.scope.Production, "production", false, "only production environments")
	flags.StringVar(&o.dir, "dir", defaultDir, "the directory of the running ringfence up or serve, which is asked for recorded requests")
	flags.IntVar(&o.days, "days", 30, "how many days of recorded requests to ask for")
	flags.BoolVar(&o.requireRequests, "require-requests", false, "exit 3 where no requests were observed, instead of saying so")
}

func newControlPreflight(env Env) *cobra.Command {
	var o preflightOptions
	cmd := &cobra.Command{
		Use: "preflight ID | --all", Short: "See what a control would refuse if its action were changed", ValidArgsFunction: completeIDs(env),
		Long: `See what a change of a control's action would break, and change nothing: what is in the cluster now and would be refused at its next
restart, or could not be created anew; and which recorded requests would have been refused. Both by tenant and owner, for objects that
controllers made by the workload that they are of.

Objects are read as check --cluster reads them, and judged with the Platform and the Tenants of the cluster, or of --platform, in
which the action is replaced. Waivers count; suspensions do not, because they end. Requests are asked of the control plane at --dir;
where there is none, or it saw no audit event, the answer is "requests not observed" and never 0. --all asks for every control and
shows those that break least first.

Exit codes: 0 nothing would break; 1 something would; 2 bad usage, or something could not be read; 3 it could not be decided.`,
		Example: "  ringfence control preflight RF-WL-08 --ring early\n  ringfence control preflight --all --platform platform.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			return preflight(cmd.Context(), env, o, cmd.CommandPath(), args)
		},
	}
	o.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.action, "action", string(v1alpha1.Deny), "the `ACTION` to try: Deny, Warn or Audit")
	flags.StringVar(&o.scope.Tenant, "tenant", "", "only this `TENANT`, as if it strengthened the control for itself")
	flags.StringArrayVar(&o.platform, "platform", nil, "`FILE|DIR` with Platform, Tenant and Waiver objects (default the cluster's own); may be repeated")
	flags.BoolVar(&o.everything, "all", false, "ask for every control")
	flags.StringVarP(&o.format, "output", "o", "text", "text or json")
	return cmd
}

// validate says what is wrong with the flags.
func (o *preflightOptions) validate(command string) error {
	given := 0
	for _, is := range []bool{o.scope.Ring != "", o.scope.Production, o.scope.Tenant != ""} {
		if is {
			given++
		}
	}
	switch {
	case !slices.Contains([]v1alpha1.Action{v1alpha1.Deny, v1alpha1.Warn, v1alpha1.Audit}, v1alpha1.Action(o.action)):
		return usagef(command, "%s: want the action Deny, Warn or Audit", finding.Value(o.action))
	case o.format != "text" && o.format != "json":
		return usagef(command, "--output %q: want text or json", finding.Value(o.format))
	case given > 1:
		return usagef(command, "--ring, --production and --tenant: give one of them")
	case o.days < 1 || o.days > 3650:
		return usagef(command, "--days %d: want 1 to 3650", o.days)
	}
	return nil
}

// preflight asks and writes. Its error carries the exit code.
func preflight(ctx context.Context, env Env, o preflightOptions, command string, args []string) error {
	if err := o.validate(command); err != nil {
		return err
	}
	cat, err := env.catalogue()
	if err != nil {
		return err
	}
	switch {
	case o.everything && len(args) > 0:
		return usagef(command, "found %s and --all; give one of the two", finding.Value(args[0]))
	case !o.everything && len(args) != 1:
		return usagef(command, "found %d arguments; want one control id such as %s, or --all", len(args), cat.Controls[0].ID)
	case !o.everything:
		c, err := findControl(cat, args[0])
		if err != nil {
			return err
		}
		if cat, err = only(cat, []string{c.ID}); err != nil {
			return err
		}
	}
	r, err := o.ask(ctx, env, cat)
	if err != nil {
		return err
	}
	switch {
	case o.format == "json":
		e := json.NewEncoder(env.Stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		err = e.Encode(r)
	case o.everything:
		_, err = io.WriteString(env.Stdout, r.Table())
	default:
		_, err = io.WriteString(env.Stdout, r.Text(0))
	}
	if err != nil {
		return fmt.Errorf("write the preflight: %w", err)
	}
	if code := r.Exit(o.requireRequests); code != 0 {
		return &exitError{code, nil}
	}
	return nil
}

// flight is one preflight under way.
type flight struct {
	o          preflightOptions
	ids        []string
	was, after *settings
	gathered   *rollout.Preflight
}

// ask makes the preflight of the controls of a catalogue.
func (o preflightOptions) ask(ctx context.Context, env Env, cat *control.Catalogue) (rollout.Report, error) {
	f := &flight{o: o}
	for _, c := range cat.Controls {
		f.ids = append(f.ids, c.ID)
	}
	f.gathered = rollout.New(rollout.Config{
		Was:   func(s finding.Subject, id string) finding.Action { return action(f.was, s, id) },
		Owner: func(namespace string) (string, string) { return f.owner(namespace) },
	})
	seen := &report.Report{Time: env.Now()}
	o.cluster.asked, o.cluster.everything, o.cluster.filled = true, true, true
	o.cluster.seen, o.cluster.change = f.gathered.Add, f.change
	quiet := env
	quiet.Stderr = io.Discard // what cannot be read is part of the answer
	if err := gatherCluster(ctx, quiet, o.checkOptions, cat, seen); err != nil {
		return rollout.Report{}, err
	}
	if seen.Interrupted {
		return rollout.Report{}, &exitError{finding.ExitUsage, fmt.Errorf("preflight of cluster %s: interrupted", seen.Cluster)}
	}
	told := rollout.Seen{Cluster: seen.Cluster, At: env.Now(), Action: o.action, Scope: o.scope, Requests: f.requests(ctx, env)}
	for _, c := range cat.Controls {
		told.Rules = append(told.Rules, rollout.Rule{ID: c.ID, Title: c.Title, Severity: c.Severity, Unjudged: seen.Unjudged[c.ID], Unrecorded: len(f.unrecorded(c.ID))})
	}
	for _, fault := range seen.Faults {
		if !strings.HasPrefix(fault.Message, "nothing was found to judge") { // then nothing breaks
			told.NotObserved = append(told.NotObserved, fault.Message)
		}
	}
	return f.gathered.Report(told), nil
}

// change keeps the settings as they are, and puts the action into those that judge.
func (f *flight) change(s *settings) error {
	if s.platform == nil {
		return &exitError{finding.ExitUsage, errors.New("there is no Platform to change, in the cluster or in --platform; see what a cluster without one would refuse with: ringfence observe")}
	}
	if err := f.o.scope.Check(s.tenants); err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	s.platform = rollout.Plain(s.platform)
	f.was = &settings{controls: s.controls, platform: s.platform, tenants: s.tenants, now: s.now, guards: map[string]*policy.Guard{}}
	s.platform, s.tenants = rollout.Apply(s.platform, s.tenants, f.ids, v1alpha1.Action(f.o.action), f.o.scope)
	f.after = s
	return nil
}

// action is a control's for a subject.
func action(s *settings, subject finding.Subject, id string) finding.Action {
	home := subject.Namespace
	if tenant.Exempt(s.platform, home) || subject.Kind == "Namespace" && home == "" && tenant.Exempt(s.platform, subject.Name) {
		return finding.Audit // nobody judges it
	}
	if home == "" {
		home = v1alpha1.SystemNamespace
	}
	g, err := s.guard(home)
	if err != nil {
		return finding.Deny
	}
	return g.Action(id)
}

// owner says whose a namespace is.
func (f *flight) owner(namespace string) (name, owner string) {
	if t := tenant.Of(f.after.tenants, namespace); t != nil && namespace != "" {
		return t.Name, t.Spec.Owner
	}
	return "", ""
}

// askTimeout bounds the asking for recorded requests: 100,000 are 100 pages.
const askTimeout = time.Minute

// requests asks the control plane for what was recorded, and says how far the answer reaches.
func (f *flight) requests(ctx context.Context, env Env) rollout.Requests {
	out := rollout.Requests{Asked: env.Now().Add(-time.Duration(f.o.days) * 24 * time.Hour).UTC().Truncate(time.Second)}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client := onSocket(f.o.socketPath())
	defer client.CloseIdleConnections()
	q := record.Query{Since: time.Duration(f.o.days) * 24 * time.Hour}
	if len(f.ids) == 1 {
		q.Control = f.ids[0]
	}
	refuses := func(s finding.Subject, id string) bool {
		return slices.Contains(f.ids, id) && action(f.after, s, id) == finding.Deny
	}
	for page := 0; ; page++ {
		answer, err := record.Fetch(ctx, client, "http://ringfence", q)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
			out.Why = "no control plane answers at --dir " + f.o.dir + "; name the directory of the running ringfence serve, on its machine"
			return out
		case err != nil:
			out.Observed, out.Why = false, finding.Clean(err.Error())
			return out
		case answer.Observed.LastEvent == nil:
			out.Why = "no audit event has arrived; see docs/audit.md"
			return out
		}
		if page == 0 {
			howFar(&out, answer)
		}
		for _, g := range answer.Findings {
			f.gathered.Request(g, refuses)
		}
		if q.After = answer.Next; q.After == "" {
			break
		}
	}
	if len(f.ids) == 1 {
		out.Unrecorded = f.unrecorded(f.ids[0])
	}
	return out
}

// howFar says how far the answer of the first page reaches.
func howFar(out *rollout.Requests, answer record.Answer) {
	out.Observed, out.Since, out.Until = true, answer.Observed.Since, answer.Observed.LastEvent
	for _, g := range answer.Unknown {
		out.Unknown = append(out.Unknown, rollout.Unknown(g))
	}
	if answer.Dropped > 0 {
		out.Unknown = append(out.Unknown, rollout.Unknown{Since: out.Asked, What: fmt.Sprintf("%d older findings were dropped for lack of room", answer.Dropped)})
	}
	if answer.From == "memory" {
		out.Unknown = append(out.Unknown, rollout.Unknown{Since: out.Asked, What: "what was before the control plane started: it keeps no evidence that could be asked"})
	}
	if answer.Behind > 0 {
		out.Unknown = append(out.Unknown, rollout.Unknown{Since: *answer.Observed.LastEvent, What: fmt.Sprintf("%d records are not in the store yet", answer.Behind)})
	}
}

// unrecorded are the tenants' namespaces where a control only audits, of which natively nothing is recorded.
func (f *flight) unrecorded(id string) []string {
	found := map[string]bool{}
	for i := range f.after.tenants {
		t := &f.after.tenants[i]
		for _, env := range t.Spec.Environments {
			s := finding.Subject{Namespace: tenant.NamespaceOf(t, env)}
			if action(f.was, s, id) == finding.Audit && action(f.after, s, id) == finding.Deny {
				found[s.Namespace] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
