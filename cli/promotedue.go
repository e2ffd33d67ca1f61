package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/rollout"
	"ringfence.dev/ringfence/server"
	"ringfence.dev/ringfence/tenant/desk"
)

// duty is one look whether the Platform's own rules promote something for a ring.
type duty struct {
	env      Env
	o        promoteOptions
	desk     *desk.Desk
	platform *v1alpha1.Platform
	ring     rollout.Ring
}

// promoteDue promotes what the Platform's own rules say is due, one control a ring at most.
func promoteDue(ctx context.Context, env Env, o promoteOptions) error {
	o.action, o.grace = string(v1alpha1.Deny), promotionGrace
	d, err := openRollout(env, o.preflightOptions)
	if err != nil {
		return err
	}
	platform, err := d.Platform(ctx)
	if err != nil {
		return answered(err)
	}
	if platform.Spec.Promotion == nil {
		env.note("the Platform promotes nothing by itself: it has no spec.promotion")
		return nil
	}
	o.days = int(platform.Spec.Promotion.CleanDays)
	var faults []error
	for _, ring := range platform.Spec.Promotion.Rings {
		o.scope = rollout.Scope{Ring: ring}
		if err := dueIn(ctx, env, o, d); err != nil {
			faults = append(faults, fmt.Errorf("ring %s: %w", ring, err))
		}
	}
	return errors.Join(faults...)
}

// dueIn promotes the first control that is due in a ring.
func dueIn(ctx context.Context, env Env, o promoteOptions, d *desk.Desk) error {
	platform, err := d.Platform(ctx) // as the ring before left it
	if err != nil {
		return answered(err)
	}
	tenants, err := d.Tenants(ctx)
	if err != nil {
		return answered(err)
	}
	cat, err := env.catalogue()
	if err != nil {
		return err
	}
	now := &settings{controls: cat.Controls, platform: rollout.Plain(platform), tenants: tenants, now: env.Now(), guards: map[string]*policy.Guard{}}
	look := duty{env, o, d, platform, rollout.RingOf(tenants, o.scope.Ring)}
	look.ring.Action = func(ns, id string) finding.Action { return action(now, finding.Subject{Namespace: ns}, id) }
	var ids []string
	var why error
	for _, c := range cat.Controls {
		if named := platform.Spec.Promotion.Controls; len(named) > 0 && !slices.Contains(named, c.ID) {
			continue
		}
		if not := rollout.Candidate(platform, c.ID, look.ring, env.Now()); not == nil {
			ids = append(ids, c.ID)
		} else if why == nil {
			why = fmt.Errorf("such as %s: %w", c.ID, not)
		}
	}
	if len(ids) == 0 {
		env.note("ring %s: no control is due, %v", o.scope.Ring, cmp.Or(why, errors.New("for the catalogue has none of them")))
		return nil
	}
	if cat, err = only(cat, ids); err != nil {
		return err
	}
	return look.first(ctx, cat)
}

// first promotes the first that is due of the candidates in a catalogue, those that would break least before the others.
func (l duty) first(ctx context.Context, cat *control.Catalogue) error {
	all, err := l.o.ask(ctx, l.env, cat)
	if err != nil {
		return err
	}
	var why error
	for _, c := range all.Controls {
		not := l.due(ctx, c.ID, all.Of(c.ID))
		if not == nil || errors.Is(not, rollout.ErrPerson) { // a report of many does not tell everything apart
			one, err := only(cat, []string{c.ID})
			if err != nil {
				return err
			}
			r, err := l.o.ask(ctx, l.env, one)
			if err != nil {
				return err
			}
			not = l.due(ctx, c.ID, r)
		}
		switch {
		case not == nil:
			return l.promote(ctx, c.ID)
		case errors.Is(not, rollout.ErrPerson):
			_, err := fmt.Fprintf(l.env.Stdout, "%s ring %s: clean for %s; %v: ringfence control promote %s --to Deny --ring %s\n", c.ID, l.ring.Name, count(l.o.days, "day"), not, c.ID, l.ring.Name)
			return err
		case why == nil:
			why = fmt.Errorf("%s: %w", c.ID, not)
		}
	}
	l.env.note("ring %s: none of %s is due, such as %v", l.ring.Name, count(len(all.Controls), "control"), why)
	return nil
}

// due asks the scan too, and decides.
func (l duty) due(ctx context.Context, id string, preflight rollout.Report) error {
	stood, err := l.stood(ctx, id)
	if err != nil {
		return fmt.Errorf("%w: %w", rollout.ErrNotDue, err)
	}
	return rollout.Due(l.platform, id, l.ring, preflight, stood, l.env.Now())
}

// promote puts a control to Deny for the ring.
func (l duty) promote(ctx context.Context, id string) error {
	platform, err := unchanged(ctx, l.desk, l.platform)
	if err != nil {
		return err
	}
	step := rollout.Step{Control: id, Scope: l.o.scope, To: v1alpha1.Deny, Grace: l.o.grace, CleanDays: l.platform.Spec.Promotion.CleanDays}
	after, err := rollout.Promote(platform, step, l.env.Now())
	if err != nil {
		return err
	}
	return putInForce(ctx, l.env, l.desk, platform, after, id, fmt.Sprintf("%s ring %s: Deny, after %s that were clean", id, l.ring.Name, count(l.o.days, "day")))
}

// stood is what the background scan says of a control in the time.
func (l duty) stood(ctx context.Context, id string) (out rollout.Stood, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client := onSocket(l.o.socketPath())
	defer client.CloseIdleConnections()
	q := record.Query{Since: time.Duration(l.o.days) * 24 * time.Hour, Source: record.SourceScan, State: "closed", Filter: record.Filter{Control: id}}
	for {
		answer, err := record.Fetch(ctx, client, "http://ringfence", q)
		if err != nil {
			return out, fmt.Errorf("ask for what the background scan found: %w", err)
		}
		if answer.Scan != nil {
			out.Whole, out.Unread = answer.Scan.Whole != nil && answer.Behind == 0, answer.Scan.Unread
			for _, ns := range answer.Scan.Unguarded {
				if slices.Contains(l.ring.Namespaces, ns) {
					out.Unread = append(out.Unread, "namespace "+ns+", which has no Guard")
				}
			}
		}
		for _, f := range answer.Findings {
			out.Failed = append(out.Failed, f.Subject)
		}
		if q.After = answer.Next; q.After == "" {
			return out, nil
		}
	}
}

// socketPath is where the control plane answers.
func (o preflightOptions) socketPath() string { return cmp.Or(o.socket, local.SocketPath(o.dir)) }

// promoter is `ringfence serve --promote-as`: it looks now and then whether a control is due.
type promoter struct {
	as    string // kubeconfig; "" for nobody
	every time.Duration
}

// validate says what is wrong with the flags.
func (p promoter) validate(cfg server.Config) error {
	switch {
	case p.as != "" && (cfg.Socket == "" || cfg.Evidence == ""):
		return usagef("ringfence serve", "--promote-as: want --socket and --evidence too: what is due follows from what was recorded")
	case p.as != "" && p.every <= 0:
		return usagef("ringfence serve", "--promote-every %v: want a time above 0, such as 1h", p.every)
	}
	return nil
}

// loop promotes what is due until ctx ends; what the control plane knows it asks over its socket.
func (p promoter) loop(ctx context.Context, env Env, socket string) {
	var o promoteOptions
	o.cluster.kubeconfig, o.socket = p.as, socket
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(p.every):
		}
		if err := promoteDue(ctx, env, o); err != nil && ctx.Err() == nil {
			env.note("promote what is due: %v", err)
		}
	}
}
