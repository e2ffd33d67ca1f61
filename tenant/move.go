package tenant

import (
	"fmt"
	"maps"
	"slices"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// This file gives an environment to another tenant: its namespace stays, with all that is in it, and changes hands. A native policy of
// ours sees to who asks and who approves; see moves.yaml.

// moving is the approved move of a namespace that its tenant no longer asks for; nil where there is none. One that a single person asked
// for and approved, while no policy was there to refuse it, is none.
func moving(t *v1alpha1.Tenant, namespace string) *v1alpha1.Move {
	if m := t.Spec.Move; m != nil && m.Approver != "" && m.Approver != m.Requester && string(m.Namespace) == namespace && t.DeletionTimestamp == nil && !ends(t) {
		return m
	}
	return nil
}

// handOver plans for a namespace that goes to another tenant: people of the old one lose their rights first, then the namespace's labels
// change, and the new tenant's plan furnishes it. What runs is never without a Guard. Where the new tenant does not ask for it, nobody
// has rights, and nothing is deleted.
func handOver(in Input, name string, live Live, m *v1alpha1.Move) EnvironmentPlan {
	plan := EnvironmentPlan{Reason: ReasonMoving,
		Status: v1alpha1.EnvironmentStatus{Namespace: name, Name: m.Environment, Phase: v1alpha1.EnvironmentCordoned, Message: fmt.Sprintf("moves to tenant %s under %s", m.To, m.Ticket)}}
	if live.Namespace.DeletionTimestamp != nil {
		plan.Status.Phase, plan.Reason, plan.Status.Message = v1alpha1.EnvironmentDeleting, ReasonDeleting, "the namespace is being deleted"
		return plan
	}
	plan.Changes = changeBindings(live, nil)
	i := slices.IndexFunc(in.Tenants, func(t v1alpha1.Tenant) bool { return t.Name == m.To })
	var env *v1alpha1.Environment
	if i >= 0 && in.Tenants[i].DeletionTimestamp == nil && !ends(&in.Tenants[i]) {
		env = environmentOf(&in.Tenants[i], name)
	}
	if env == nil {
		plan.Status.Message = fmt.Sprintf("moved to tenant %s under %s, which does not ask for it; what runs stays and nobody has rights here; name it there as an environment with namespace: %s, "+
			"or bring environment %s back here and remove spec.move", m.To, m.Ticket, name, m.Environment)
		return plan
	}
	// Who created the namespace is forgotten once the new tenant applies its own: nobody deletes it for being empty.
	notes := map[string]string{AnnotationCreatedBy: m.To}
	if live.Namespace.Annotations[AnnotationCreatedBy] != in.Tenant.Name {
		notes = nil
	}
	plan.Changes = append(plan.Changes, applyNamespace(name, live.Namespace, namespaceLabels(&in.Tenants[i], *env, false), notes)...)
	return plan
}

// Moved are both tenants as an approved move makes them: from without the environment, and without pipelines that deployed into it alone;
// to with it. The error says why it cannot be.
func Moved(from, to *v1alpha1.Tenant, m v1alpha1.Move) (left, right *v1alpha1.Tenant, err error) {
	refuse := func(format string, args ...any) (*v1alpha1.Tenant, *v1alpha1.Tenant, error) {
		return nil, nil, fmt.Errorf("move environment %s of tenant %s to tenant %s: "+format, append([]any{m.Environment, from.Name, to.Name}, args...)...)
	}
	left, right = from.DeepCopy(), to.DeepCopy()
	at := slices.IndexFunc(from.Spec.Environments, func(e v1alpha1.Environment) bool { return e.Name == m.Environment })
	switch {
	case from.Name == to.Name:
		return refuse("it is the same tenant; name another")
	case at < 0:
		return refuse("tenant %s has no such environment", from.Name)
	case NamespaceOf(from, from.Spec.Environments[at]) != string(m.Namespace):
		return refuse("its namespace is %s by now and was %s when the move was asked for; ask again", NamespaceOf(from, from.Spec.Environments[at]), m.Namespace)
	case ends(from) || ends(to) || from.DeletionTimestamp != nil || to.DeletionTimestamp != nil:
		return refuse("one of the two ends; stop that first")
	}
	env := from.Spec.Environments[at]
	given := v1alpha1.Environment{Name: m.As, Production: env.Production, Namespace: m.Namespace, Quota: maps.Clone(env.Quota)}
	left.Spec.Environments = slices.Delete(left.Spec.Environments, at, at+1)
	left.Spec.Pipelines = slices.DeleteFunc(left.Spec.Pipelines, func(p v1alpha1.Pipeline) bool { return slices.Equal(p.Environments, []string{m.Environment}) })
	for i, p := range left.Spec.Pipelines {
		left.Spec.Pipelines[i].Environments = slices.DeleteFunc(slices.Clone(p.Environments), func(e string) bool { return e == m.Environment })
	}
	switch there := environmentOf(to, string(m.Namespace)); {
	case there != nil && there.Name != m.As:
		return refuse("tenant %s asks for namespace %s as environment %s; move it as that", to.Name, m.Namespace, there.Name)
	case there != nil: // named there already, as by somebody who keeps manifests
	case slices.ContainsFunc(to.Spec.Environments, func(e v1alpha1.Environment) bool { return e.Name == m.As }):
		return refuse("tenant %s has an environment %s; give it another name there", to.Name, m.As)
	default:
		right.Spec.Environments = append(right.Spec.Environments, given)
	}
	return left, right, nil
}

// Losses are what a namespace may do under one Guard and no longer under another, one line each, sorted by what it is of.
func Losses(before, after v1alpha1.GuardSpec) (lines []string) {
	missing := func(what string, had, has []string) {
		for _, v := range slices.Sorted(slices.Values(had)) {
			if !slices.Contains(has, v) {
				lines = append(lines, what+" "+v)
			}
		}
	}
	registries := func(s v1alpha1.GuardSpec) []string { return words(s.Registries) }
	networks := func(s v1alpha1.GuardSpec) (all []string) {
		for _, c := range s.EgressCIDRs {
			all = append(all, fmt.Sprintf("%s:%d", c.CIDR, c.Port))
		}
		return all
	}
	missing("images of", registries(before), registries(after))
	missing("egress to", slices.Collect(maps.Keys(before.Egress)), slices.Collect(maps.Keys(after.Egress)))
	missing("egress to", networks(before), networks(after))
	missing("host", before.Grants.Hosts, after.Grants.Hosts)
	missing("priority class", before.Grants.PriorityClasses, after.Grants.PriorityClasses)
	missing("runtime class", before.Grants.RuntimeClasses, after.Grants.RuntimeClasses)
	missing("toleration of", before.Grants.Tolerations, after.Grants.Tolerations)
	missing("node pool", before.Grants.NodePools, after.Grants.NodePools)
	missing("network", before.Grants.Networks, after.Grants.Networks)
	missing("storage class", before.StorageClasses, after.StorageClasses)
	missing("ingress class", before.IngressClasses, after.IngressClasses)
	for _, id := range slices.Sorted(maps.Keys(after.Actions)) {
		if after.Actions[id] == v1alpha1.Deny && before.Actions[id] != v1alpha1.Deny {
			lines = append(lines, "leniency of "+id+", which denies there")
		}
	}
	return lines
}
