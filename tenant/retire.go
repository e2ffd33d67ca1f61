package tenant

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// retire plans for a namespace that is the tenant's and that it no longer asks for.
//
// deletionPolicy: Delete deletes it. Otherwise people lose their rights first and the namespace is cordoned; what runs
// keeps running under its Guard, quota and baseline. Once nobody has rights there and nothing runs or claims a volume, a
// namespace that Ringfence created is deleted, and one that was there before is handed back.
func retire(in Input, name string, live Live) EnvironmentPlan {
	env := v1alpha1.Environment{
		Name:       live.Namespace.Labels[v1alpha1.LabelEnvironment],
		Production: live.Namespace.Labels[v1alpha1.LabelProduction] == "true",
		Namespace:  v1alpha1.NamespaceName(name),
	}
	if env.Name == "" { // created for the tenant, and given up before it was labelled
		env.Name = strings.TrimPrefix(name, in.Tenant.Name+"-")
	}
	plan := EnvironmentPlan{
		Status: v1alpha1.EnvironmentStatus{Namespace: name, Name: env.Name, Phase: v1alpha1.EnvironmentDeleting, Message: "the namespace is being deleted"},
		Reason: ReasonDeleting,
	}
	if live.Namespace.DeletionTimestamp != nil {
		return plan
	}
	if in.Tenant.Spec.DeletionPolicy == v1alpha1.DeletionDelete || in.over() {
		plan.Changes = []Change{{Delete, live.Namespace}}
		return plan
	}
	rights := changeBindings(live, nil)
	cordoned := live.Namespace.Labels[v1alpha1.LabelCordoned] == "true" && len(rights) == 0
	switch {
	case live.Workloads != "" || !cordoned: // nothing is deleted while somebody could still create something
		plan.Status.Phase, plan.Reason = v1alpha1.EnvironmentCordoned, ReasonCordoned
		plan.Status.Message = cordonMessage(in.Tenant, name, live.Workloads)
		plan.Changes = rights
		was := in.Tenant.DeepCopy()
		was.Spec.Environments = []v1alpha1.Environment{env}
		message := plan.Status.Message
		furnish(in, was, env, live, true, &plan)
		plan.Status.Message, plan.Reason = message, ReasonCordoned
	case live.Namespace.Annotations[AnnotationCreatedBy] == in.Tenant.Name:
		plan.Changes = []Change{{Delete, live.Namespace}}
	default:
		plan.Changes = release(name, live)
		plan.Status.Message = "the namespace was there before the tenant and is handed back"
	}
	return plan
}

func cordonMessage(t *v1alpha1.Tenant, namespace, workloads string) string {
	if workloads == "" {
		return "people's rights are being taken away; then the namespace, which is empty, goes"
	}
	what := "the environment is gone from the tenant"
	if t.DeletionTimestamp != nil {
		what = "the tenant is deleted"
	}
	return fmt.Sprintf("%s and %s still holds %s, which keep running under guard while nobody has rights there; "+
		"delete them, or set deletionPolicy: Delete on the tenant to delete the namespace with all in it, or bring the environment back", what, namespace, workloads)
}

// release hands an adopted namespace back: Ringfence's objects and labels go, the Guard stays, for every namespace has
// one. The labels go last, so that an interrupted release is taken up again.
func release(name string, live Live) []Change {
	changes := changeQuota(live.Quota, nil)
	if live.Limits != nil {
		changes = append(changes, Change{Delete, live.Limits})
	}
	if live.Policy != nil {
		changes = append(changes, Change{Delete, live.Policy})
	}
	if live.CiliumPolicy != nil {
		changes = append(changes, Change{Delete, live.CiliumPolicy})
	}
	if live.Account != nil && labelled(live.Account) {
		changes = append(changes, Change{Apply, account(name, false)})
	}
	return append(changes, applyNamespace(name, live.Namespace, guardedAlone, nil)...)
}

// guardedAlone are Ringfence's labels on a namespace that is no tenant's.
var guardedAlone = map[string]string{v1alpha1.LabelGuarded: "true"}

// planUnowned plans for a namespace that is no tenant's, and for the end of every namespace. guard is nil where there is
// none; runs are the digests of the Pods there; waiting says that something in an ending namespace may still need a verdict. The Guard is let go only once the
// namespace controller has come to it: by then no request from before the end is still under way. platform may be nil: then
// a Guard that is there is kept, for a Platform deleted by mistake must not stop the bank, and a missing one refuses everything.
func planUnowned(in Input, ns *corev1.Namespace, guard *v1alpha1.Guard, runs []string, waiting bool) []Change {
	if ns.DeletionTimestamp != nil {
		if guard != nil && guard.DeletionTimestamp != nil && len(guard.Finalizers) > 0 && !waiting {
			return []Change{{Free, guard}}
		}
		return nil
	}
	if ns.Name == v1alpha1.SystemNamespace { // exempt itself, it keeps the Guard for what lies in no namespace
		alone := compileUnowned(in, ns.Name)
		return changeGuard(guard, keep(in, in.Platform == nil, guard, alone))
	}
	if Exempt(in.Platform, ns.Name) {
		if ns.Labels[v1alpha1.LabelTenant] != "" || len(managedKeys(ns.ManagedFields, "f:labels")) == 0 {
			return nil
		}
		return applyNamespace(ns.Name, ns, nil, nil)
	}
	alone := compileUnowned(in, ns.Name)
	in.addImages(&alone.Spec, guard, runs)
	if owner(ns, in.Platform, in.Tenants) != nil {
		if in.Platform == nil && guard == nil && in.Last != nil { // its tenant waits for a Platform
			return changeGuard(nil, keep(in, true, nil, alone))
		}
		return nil
	}
	// A tenant that vanished without its finalizer went with its kind. What it asked for may be stricter than the Platform, so its
	// Guard stays, and the labels for whoever has to find out.
	vanished := ns.Labels[v1alpha1.LabelTenant] != ""
	changes := changeGuard(guard, keep(in, in.Platform == nil || vanished, guard, alone))
	if vanished {
		return changes
	}
	return append(changes, applyNamespace(ns.Name, ns, guardedAlone, nil)...)
}

// compileUnowned makes the Guard of a namespace that is no tenant's, or for what lies in none.
func compileUnowned(in Input, namespace string) v1alpha1.Guard {
	guard := Compile(in.Controls, in.Platform, nil, nil, namespace)
	if namespace == v1alpha1.SystemNamespace {
		NameTenants(&guard.Spec, in.Platform, in.Tenants)
	}
	DropExpired(&guard.Spec, in.Now)
	return guard
}

// keep is want; or where last says so, the last Guard that is known, without what has ended since.
func keep(in Input, last bool, guard *v1alpha1.Guard, want v1alpha1.Guard) v1alpha1.Guard {
	switch {
	case last && guard != nil:
		want.Spec = *guard.Spec.DeepCopy()
	case last && in.Last != nil:
		want.Spec = *in.Last.DeepCopy()
	default:
		return want
	}
	DropExpired(&want.Spec, in.Now)
	return want
}
