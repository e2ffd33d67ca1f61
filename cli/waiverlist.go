package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
	"ringfence.dev/ringfence/tenant"
	"ringfence.dev/ringfence/tenant/desk"
)

// waiversSchema is the version of the JSON of `ringfence waiver list`. Fields are only added.
const waiversSchema = "ringfence.dev/waivers/v1"

// The states of a waiver. They are part of the contract.
const (
	waiverLive    = "live"
	waiverPending = "pending"
	waiverEnded   = "ended"
	waiverVoid    = "void"
)

// listedWaiver is one waiver in the JSON of waiver list.
type listedWaiver struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Control   string   `json:"control"`
	Subjects  []string `json:"subjects"`
	// State is live, pending (nobody approved it), ended, or void (approved and of no effect, see Why).
	State   string  `json:"state"`
	Why     *string `json:"why"`
	Expires string  `json:"expires"`
	Reason  string  `json:"reason"`
	Ticket  string  `json:"ticket"`
	Owner   string  `json:"owner"`
	// Requester and Approver are users as the API server knows them; Approver is null where nobody approved.
	Requester  string  `json:"requester"`
	Approver   *string `json:"approver"`
	ApprovedAt *string `json:"approvedAt"`
	// Unused is whether no object that it names fails its control now; null where --unused did not ask.
	Unused *bool `json:"unused"`

	end     time.Time
	objects []v1alpha1.WaiverSubject
}

func newWaiverList(env Env) *cobra.Command {
	var o waiverOptions
	cmd := &cobra.Command{
		Use: "list -n NS|-A", Short: "List waivers: all, or those that are unused, have ended or end soon",
		Long: `List the waivers of a namespace or of all. --unused reads the objects that each waiver names, judges them, and lists the waivers
that have not ended and of whose objects none fails the control now: they can go. Several filters narrow each other.`,
		Example: "  ringfence waiver list -n payments-prod\n  ringfence waiver list -A --expiring 14d\n  ringfence waiver list -A --unused -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return listWaivers(cmd.Context(), env, o) },
	}
	o.register(cmd)
	o.listFlags(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&o.unused, "unused", false, "only those that cover nothing that fails now")
	flags.BoolVar(&o.expired, "expired", false, "only those that have ended")
	flags.StringVar(&o.expiring, "expiring", "", "only those that end within `TIME`, for instance 14d or 36h")
	return cmd
}

func listWaivers(ctx context.Context, env Env, o waiverOptions) error {
	const command = "ringfence waiver list"
	var within time.Duration
	var err error
	if err := o.checkList(command); err != nil {
		return err
	}
	switch {
	case o.expired && (o.unused || o.expiring != ""):
		return usagef(command, "--expired lists what has ended, --unused and --expiring what has not; give one of the two")
	case o.expiring != "":
		if within, err = days(o.expiring); err != nil {
			return usagef(command, "--expiring: %w", err)
		}
	}
	d, err := o.open(env, command)
	if err != nil {
		return err
	}
	all, err := d.List(ctx, o.namespace)
	if err != nil {
		return answered(err)
	}
	now, kept := env.Now(), []listedWaiver{}
	for i := range all {
		w := listWaiver(&all[i], now)
		ended := w.State == waiverEnded
		if o.expired && !ended || (o.unused || o.expiring != "") && ended || o.expiring != "" && w.end.Sub(now) > within {
			continue
		}
		kept = append(kept, w)
	}
	var undecided error
	if o.unused {
		if kept, undecided, err = unusedOf(ctx, env, d, kept); err != nil {
			return err
		}
	}
	if err := writeWaivers(env, o, kept); err != nil {
		return err
	}
	if undecided != nil {
		return &exitError{finding.ExitUndecided, undecided}
	}
	return nil
}

// days reads a duration that may be given in days, such as 14d.
func days(text string) (time.Duration, error) {
	if number, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(number); err == nil && n > 0 && n <= 36500 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d, nil
	}
	return 0, fmt.Errorf("%s: want a time such as 14d or 36h", finding.Value(text))
}

// listWaiver is a waiver as it stands at a time.
func listWaiver(w *v1alpha1.Waiver, now time.Time) listedWaiver {
	out := listedWaiver{
		Namespace: w.Namespace, Name: w.Name, Control: w.Spec.Control, Subjects: strings.Split(subjectsOf(w), ","), State: waiverLive, Expires: w.Spec.Expires,
		Reason: w.Spec.Reason, Ticket: w.Spec.Ticket, Owner: w.Spec.Owner, Requester: w.Spec.Requester, objects: w.Spec.Subjects,
	}
	end, err := tenant.Expiry(w.Spec.Expires)
	if err == nil {
		out.end, out.Expires = end, instantOf(end)
	}
	if a := w.Status.Approval; a != nil {
		at := instantOf(a.ApprovedAt.Time)
		out.Approver, out.ApprovedAt = &a.Approver, &at
	}
	_, why := tenant.Approved(w)
	switch {
	case err == nil && !now.Before(end):
		out.State = waiverEnded
	case w.Status.Approval == nil:
		out.State = waiverPending
	case why != "":
		out.State, out.Why = waiverVoid, &why
	}
	return out
}

// instantOf is a time as JSON and messages have it.
func instantOf(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// unusedOf keeps the waivers of which no object fails the control now. What could not be decided is kept out, and named in
// undecided.
func unusedOf(ctx context.Context, env Env, d *desk.Desk, all []listedWaiver) (kept []listedWaiver, undecided, err error) {
	cat, err := env.catalogue()
	if err != nil {
		return nil, nil, err
	}
	sets, err := cel.Lazy(cat)
	if err != nil {
		return nil, nil, err
	}
	engine, guards := policy.New(sets...), map[string]*policy.Guard{}
	kept = []listedWaiver{}
	var faults []error
	for _, w := range all {
		guard, known := guards[w.Namespace]
		if !known {
			found, err := d.Guard(ctx, w.Namespace)
			if err == nil {
				guard, err = policy.NewGuard(found.Spec)
			}
			if err != nil {
				faults = append(faults, fmt.Errorf("waiver %s/%s: %w", w.Namespace, w.Name, err))
				continue
			}
			guards[w.Namespace] = guard
		}
		used, err := covers(ctx, d, engine, guard, w)
		if err != nil {
			faults = append(faults, fmt.Errorf("waiver %s/%s: %w", w.Namespace, w.Name, err))
		} else if !used {
			yes := true
			w.Unused = &yes
			kept = append(kept, w)
		}
	}
	return kept, errors.Join(faults...), nil
}

// covers reports whether an object of the waiver fails its control, or cannot be decided, now.
func covers(ctx context.Context, d *desk.Desk, engine *policy.Engine, guard *policy.Guard, w listedWaiver) (bool, error) {
	for _, s := range w.objects {
		group := s.APIGroup
		if group == "" {
			group = tenant.GroupOf(s.Kind)
		}
		object, err := d.Object(ctx, group, s.Kind, w.Namespace, s.Name)
		if errors.Is(err, desk.ErrNotThere) {
			continue
		}
		if err != nil {
			return false, err
		}
		apiVersion, _ := object["apiVersion"].(string)
		subject := finding.Subject{APIVersion: apiVersion, Kind: s.Kind, Namespace: w.Namespace, Name: s.Name}
		failures, _ := engine.Failures(policy.Input{Object: object, Namespace: w.Namespace, Guard: guard}, subject, func(string) bool { return false })
		for _, f := range failures {
			if f.Control == w.Control {
				return true, nil
			}
		}
	}
	return false, nil
}

// writeWaivers prints what is listed.
func writeWaivers(env Env, o waiverOptions, all []listedWaiver) error {
	return writeList(env, o.output, waiversSchema, "waivers", all, "NAMESPACE\tNAME\tCONTROL\tSTATE\tEXPIRES\tOWNER\tAPPROVER\tTICKET\tSUBJECTS", "no waiver",
		func(w listedWaiver) string {
			approver := "-"
			if w.Approver != nil {
				approver = finding.Value(*w.Approver)
			}
			return strings.Join([]string{w.Namespace, w.Name, w.Control, w.State, w.Expires, finding.Value(w.Owner), approver, w.Ticket, strings.Join(w.Subjects, ",")}, "\t")
		})
}
