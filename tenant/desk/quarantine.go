package desk

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/remediate"
)

// Quarantine opens a quarantine in the user's own name, or asks with dryRun whether it could be, and returns the names of the pods that
// it is of. ErrNotThere where there is no such workload, ErrRefused where it is in quarantine already.
func (d *Desk) Quarantine(ctx context.Context, q *v1alpha1.Quarantine, dryRun bool) (pods []string, err error) {
	what := fmt.Sprintf("quarantine %s %s in %s", q.Spec.Subject.Kind, q.Spec.Subject.Name, q.Namespace)
	user, err := d.User(ctx)
	if err != nil {
		return nil, err
	}
	all, err := d.Quarantines(ctx, q.Namespace)
	if err != nil {
		return nil, err
	}
	for _, have := range all {
		if have.Spec.Subject == q.Spec.Subject && have.Status.Phase != v1alpha1.QuarantineEnded {
			return nil, fmt.Errorf("%s: %w: it is in quarantine already, as %s (%s)", what, ErrRefused, have.Name, have.Spec.Ticket)
		}
	}
	members, err := remediate.FindMembers(ctx, d.client, q)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, said(err))
	}
	if members.Workload == nil {
		return nil, fmt.Errorf("%s: %w: there is no such object", what, ErrNotThere)
	}
	for _, p := range members.Pods {
		pods = append(pods, p.Name)
	}
	q.Spec.Requester = user
	var options []client.CreateOption
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	if err := d.client.Create(ctx, q, options...); err != nil {
		return nil, fmt.Errorf("%s: %w", what, said(err))
	}
	return pods, nil
}

// Confirm makes a quarantine last until it is lifted, and Lift ends one, in the user's name. name is the quarantine's, or KIND/NAME in the
// API's words of the workload that is in one.
func (d *Desk) Confirm(ctx context.Context, namespace, name, reason string) (*v1alpha1.Quarantine, error) {
	return d.decide(ctx, namespace, name, reason, "confirmed")
}

// Lift is described with Confirm.
func (d *Desk) Lift(ctx context.Context, namespace, name, reason string) (*v1alpha1.Quarantine, error) {
	return d.decide(ctx, namespace, name, reason, "lifted")
}

// decide writes a decision into a quarantine that has not ended, unless there is one.
func (d *Desk) decide(ctx context.Context, namespace, name, reason, field string) (*v1alpha1.Quarantine, error) {
	user, err := d.User(ctx)
	if err != nil {
		return nil, err
	}
	q, err := d.quarantine(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	next, decision := q.DeepCopy(), &v1alpha1.QuarantineDecision{By: user, At: metav1.NewTime(d.now().UTC().Truncate(time.Second)), Reason: reason}
	have := q.Spec.Lifted
	if field == "confirmed" {
		have, next.Spec.Confirmed = q.Spec.Confirmed, decision
	} else {
		next.Spec.Lifted = decision
	}
	switch {
	case q.Status.Phase == v1alpha1.QuarantineEnded:
		return nil, fmt.Errorf("quarantine %s in %s: %w: it has ended: %s", q.Name, namespace, ErrRefused, q.Status.Outcome)
	case have != nil:
		return nil, fmt.Errorf("quarantine %s in %s: %w: %s has %s it", q.Name, namespace, ErrRefused, have.By, field)
	}
	if err := d.client.Patch(ctx, next, client.MergeFrom(q)); err != nil {
		return nil, fmt.Errorf("quarantine %s in %s, to be %s: %w", q.Name, namespace, field, said(err))
	}
	return next, nil
}

// quarantine is that of a name, or the one of a workload that has not ended.
func (d *Desk) quarantine(ctx context.Context, namespace, name string) (*v1alpha1.Quarantine, error) {
	kind, workload, isWorkload := strings.Cut(name, "/")
	if !isWorkload {
		return read[v1alpha1.Quarantine](ctx, d, "quarantine", namespace, name)
	}
	all, err := d.Quarantines(ctx, namespace)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Spec.Subject == (v1alpha1.QuarantineSubject{Kind: kind, Name: workload}) && all[i].Status.Phase != v1alpha1.QuarantineEnded {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("quarantine of %s in %s: %w: it is in none", name, namespace, ErrNotThere)
}

// Quarantines are those of a namespace, of all for "", by namespace and name.
func (d *Desk) Quarantines(ctx context.Context, namespace string) ([]v1alpha1.Quarantine, error) {
	return listed(ctx, d, "quarantines", namespace, func(page *v1alpha1.QuarantineList) []v1alpha1.Quarantine { return page.Items })
}

// Await waits until Ringfence has brought a quarantine to a phase, at most so long, and returns it as it stands then.
func (d *Desk) Await(ctx context.Context, of *v1alpha1.Quarantine, phase v1alpha1.QuarantinePhase, within time.Duration) (*v1alpha1.Quarantine, error) {
	return await(ctx, within, func() (*v1alpha1.Quarantine, bool, error) {
		q, err := read[v1alpha1.Quarantine](ctx, d, "quarantine", of.Namespace, of.Name)
		return q, err == nil && (q.Status.Phase == phase || q.Status.Phase == v1alpha1.QuarantineEnded), err
	})
}
