package desk

import (
	"context"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/approval"
	"ringfence.dev/ringfence/tenant"
)

// Move is a move of an environment as it would be: both tenants as they are and as they become.
type Move struct {
	v1alpha1.Move
	From, To, Left, Right *v1alpha1.Tenant
	// Faults are what the move would make wrong with either tenant.
	Faults []tenant.Fault
	// Losses are what the namespace may do now and not as the other tenant's.
	Losses []string
	// Bindings are RoleBindings there that Ringfence did not write; they stay, whomever they name.
	Bindings []string
	// Elevations are those that live there.
	Elevations []string
}

// PlanMove works out a move. It changes nothing.
func (d *Desk) PlanMove(ctx context.Context, from string, m v1alpha1.Move) (*Move, error) {
	plan := &Move{Move: m}
	var err error
	if plan.From, err = d.Tenant(ctx, from); err != nil {
		return nil, err
	}
	if plan.To, err = d.Tenant(ctx, m.To); err != nil {
		return nil, err
	}
	if plan.Namespace == "" {
		for _, e := range plan.From.Spec.Environments {
			if e.Name == m.Environment {
				plan.Namespace = v1alpha1.NamespaceName(tenant.NamespaceOf(plan.From, e))
			}
		}
	}
	if plan.Left, plan.Right, err = tenant.Moved(plan.From, plan.To, plan.Move); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return plan, d.weigh(ctx, plan)
}

// weigh finds out what a move would mean.
func (d *Desk) weigh(ctx context.Context, plan *Move) error {
	platform, err := d.Platform(ctx)
	if err != nil {
		return err
	}
	all, err := d.Tenants(ctx)
	if err != nil {
		return err
	}
	was := tenant.Faults(platform, all)
	for i := range all {
		switch all[i].Name {
		case plan.From.Name:
			all[i] = *plan.Left
		case plan.To.Name:
			all[i] = *plan.Right
		}
	}
	for _, f := range tenant.Faults(platform, all) {
		if !slices.Contains(was, f) {
			plan.Faults = append(plan.Faults, f)
		}
	}
	namespace := string(plan.Namespace)
	guard, err := d.Guard(ctx, namespace)
	if err != nil {
		return err
	}
	before := tenant.Compile(nil, platform, plan.From, nil, namespace).Spec
	before.Actions = guard.Spec.Actions
	after := tenant.Compile(nil, platform, plan.Right, nil, namespace).Spec
	plan.Losses = tenant.Losses(before, after)

	var bindings rbacv1.RoleBindingList
	if err := d.client.List(ctx, &bindings, client.InNamespace(namespace)); err != nil {
		return fmt.Errorf("list RoleBindings of %s: %w", namespace, said(err))
	}
	for _, b := range bindings.Items {
		if b.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy {
			plan.Bindings = append(plan.Bindings, b.Name)
		}
	}
	elevations, err := d.Elevations(ctx, namespace)
	if err != nil {
		return err
	}
	for _, e := range elevations {
		if e.Status.Phase == v1alpha1.ElevationActive {
			plan.Elevations = append(plan.Elevations, e.Name)
		}
	}
	return nil
}

// AskMove asks in the user's own name for a move that was planned.
func (d *Desk) AskMove(ctx context.Context, plan *Move) (*v1alpha1.Tenant, error) {
	who, err := d.Who(ctx)
	if err != nil {
		return nil, err
	}
	if old := plan.From.Spec.Move; old != nil && old.Approver != "" && slices.ContainsFunc(plan.From.Status.Environments, func(e v1alpha1.EnvironmentStatus) bool { return e.Namespace == string(old.Namespace) }) {
		return nil, fmt.Errorf("move environment %s: %w: environment %s is still on its way to tenant %s; wait for it: ringfence tenant show %s", plan.Environment, ErrRefused, old.Environment, old.To, plan.From.Name)
	}
	m := plan.Move
	m.Requester, m.RequesterObject, m.Approver = who.Name, who.Object, ""
	return d.write(ctx, plan.From, "move an environment of", func(t *v1alpha1.Tenant) { t.Spec.Move = &m })
}

// ApproveMove approves in the user's own name what another person asked for. The tenant that gets the environment is written first: until
// the other one's approval its wish counts for nothing, and then both agree. What was interrupted is done by approving again.
func (d *Desk) ApproveMove(ctx context.Context, from string) (*v1alpha1.Move, error) {
	who, err := d.Who(ctx)
	if err != nil {
		return nil, err
	}
	t, err := d.Tenant(ctx, from)
	if err != nil {
		return nil, err
	}
	refuse := func(format string, args ...any) (*v1alpha1.Move, error) {
		return nil, fmt.Errorf("move an environment of tenant %s: %w: %s", from, ErrRefused, fmt.Sprintf(format, args...))
	}
	m := t.Spec.Move
	switch {
	case m == nil:
		return refuse("nobody asked for it")
	case m.Approver != "":
		return refuse("%s has approved it", m.Approver)
	case !approval.Two(approval.Person{Name: m.Requester, Object: m.RequesterObject}, who): // before anything is written
		return refuse("%s asked for it; have another person approve it, and the identity provider must know both people, or neither", m.Requester)
	}
	plan, err := d.PlanMove(ctx, from, *m)
	switch {
	case err != nil:
		return nil, err
	case plan.From.Generation != t.Generation:
		return refuse("somebody changed the tenant at the same time; look at what is asked for and approve again")
	case len(plan.Faults) > 0:
		return refuse("it would make %s of tenant %s wrong: %s", plan.Faults[0].Path, plan.Faults[0].Tenant, plan.Faults[0].Text)
	case len(plan.Elevations) > 0:
		return refuse("elevation %s lives in %s, and whoever has it would keep it; end it: ringfence access end %s -n %s", plan.Elevations[0], m.Namespace, plan.Elevations[0], m.Namespace)
	}
	approve := func(t *v1alpha1.Tenant) {
		t.Spec.Environments, t.Spec.Pipelines = plan.Left.Spec.Environments, plan.Left.Spec.Pipelines
		t.Spec.Move.Approver = who.Name
	}
	dry := plan.From.DeepCopy()
	approve(dry)
	if err := d.client.Patch(ctx, dry, client.MergeFromWithOptions(plan.From, client.MergeFromWithOptimisticLock{}), client.DryRunAll); err != nil {
		return nil, fmt.Errorf("move an environment of tenant %s: %w", from, said(err)) // nothing is written
	}
	// Both as the plan saw them: it holds all their environments, and what somebody added to either since would be gone.
	if _, err := d.write(ctx, plan.To, "give an environment to", func(t *v1alpha1.Tenant) { t.Spec.Environments = plan.Right.Spec.Environments }); err != nil {
		return nil, err
	}
	t, err = d.write(ctx, plan.From, "move an environment of", approve)
	if err != nil {
		return nil, err
	}
	return t.Spec.Move, nil
}

// StopMove takes a request back that nobody approved.
func (d *Desk) StopMove(ctx context.Context, from string) error {
	t, err := d.Tenant(ctx, from)
	if err != nil {
		return err
	}
	if m := t.Spec.Move; m == nil || m.Approver != "" {
		return fmt.Errorf("move an environment of tenant %s: %w: there is no request to take back; what was approved is undone by a move the other way", from, ErrRefused)
	}
	_, err = d.change(ctx, from, "move an environment of", func(t *v1alpha1.Tenant) { t.Spec.Move = nil })
	return err
}
