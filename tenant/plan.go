package tenant

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/image"
)

// Input is all that Plan looks at: the wish, and the cluster as it was gathered once.
type Input struct {
	// Controls are the catalogue.
	Controls []control.Control
	// Platform is never nil here: without one there is nothing to plan.
	Platform *v1alpha1.Platform
	// Tenant is the tenant planned for, and Tenants all of them, it included.
	Tenant  *v1alpha1.Tenant
	Tenants []v1alpha1.Tenant
	// Namespaces are, by name, each that the tenant asks for and each that is its own. Absent: there is no such namespace.
	Namespaces map[string]Live
	// Cilium says that the cluster knows CiliumNetworkPolicy.
	Cilium bool
	// Last is what the Guard of a namespace said that went with its kind; nil where none did.
	Last *v1alpha1.GuardSpec
	// Now decides which egress and which waivers have ended.
	Now time.Time
	// Gated says that images are judged by facts. Images are the facts, nil where none can be read at the moment.
	Gated  bool
	Images *image.Index

	// hard is what the quota of each namespace says that the tenant asks for, and taken the groups that others named first; Plan
	// reckons both.
	hard  map[string]corev1.ResourceList
	taken map[string]string
}

// Live is one namespace as it is. Nil fields and absent keys: no such object.
type Live struct {
	Namespace    *corev1.Namespace
	Guard        *v1alpha1.Guard
	Account      *corev1.ServiceAccount
	Quota        *corev1.ResourceQuota
	Limits       *corev1.LimitRange
	Bindings     map[string]*rbacv1.RoleBinding
	Policy       *networkingv1.NetworkPolicy
	CiliumPolicy *unstructured.Unstructured
	// Waivers are those of the namespace, approved or not.
	Waivers []v1alpha1.Waiver
	// Elevations are those of the namespace, approved or not.
	Elevations []v1alpha1.Elevation
	// Runs are the digests of the Pods that are there.
	Runs []string
	// Workloads names a kind of which at least one object is there, "" if nothing runs and no volume is claimed. It is
	// gathered only for namespaces that the tenant gives up.
	Workloads string
}

// Verb is what a Change does.
type Verb string

// The verbs.
const (
	// Create makes an object; where one of that name exists by now, it is replaced, except a Namespace.
	Create Verb = "create"
	// Update replaces an object as it was seen; a change since then is a conflict.
	Update Verb = "update"
	// Apply sets the fields given and drops those that Ringfence set before, by server-side apply.
	Apply Verb = "apply"
	// Delete removes the object that was seen, and no later one of its name.
	Delete Verb = "delete"
	// Renew ends an object that is being deleted and makes it again at once.
	Renew Verb = "renew"
	// Free takes the finalizers off an object that is being deleted.
	Free Verb = "free"
)

// Change is one write.
type Change struct {
	Verb   Verb
	Object client.Object
}

// String names the change for messages, for instance: create Guard payments-dev/guard.
func (c Change) String() string {
	kind := c.Object.GetObjectKind().GroupVersionKind().Kind
	if kind == "" {
		kind = strings.TrimPrefix(fmt.Sprintf("%T", c.Object), "*")
		kind = kind[strings.LastIndexByte(kind, '.')+1:]
	}
	name := c.Object.GetName()
	if c.Object.GetNamespace() != "" {
		name = c.Object.GetNamespace() + "/" + name
	}
	return fmt.Sprintf("%s %s %s", c.Verb, kind, name)
}

// EnvironmentPlan is what is to be written for one namespace, in this order, and its status once that is done.
type EnvironmentPlan struct {
	Status  v1alpha1.EnvironmentStatus
	Changes []Change
	// Reason is the reason of the Ready condition where the environment keeps the tenant from being ready; else "".
	Reason string
	// Next is when something here ends by itself; zero for never.
	Next time.Time

	// wanted says that the tenant asks for the namespace and has it, elevated that somebody has an elevation there.
	wanted, elevated bool
}

// Plan decides what is to be written for one tenant: an EnvironmentPlan for each environment it asks for, in its order,
// then one for each namespace it has and no longer asks for, by name. It is pure, and plans no change where all is well.
//
// In each namespace people get their rights last, and the guard label comes after the Guard: nothing can be created there
// before every limit is in place.
func Plan(in Input) []EnvironmentPlan {
	var plans []EnvironmentPlan
	wanted := map[string]bool{}
	in.hard, in.taken = hardOf(in), taken(in.Tenants, in.Tenant)
	if in.Tenant.DeletionTimestamp == nil && !in.over() {
		for _, env := range in.Tenant.Spec.Environments {
			wanted[NamespaceOf(in.Tenant, env)] = true
			plans = append(plans, planActive(in, env))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Namespaces)) {
		live := in.Namespaces[name]
		if !wanted[name] && mine(live.Namespace, in.Tenant.Name) && !Exempt(in.Platform, name) {
			if m := moving(in.Tenant, name); m != nil {
				plans = append(plans, handOver(in, name, live, m))
				continue
			}
			plans = append(plans, retire(in, name, live))
		}
	}
	return plans
}

// planActive plans for an environment that the tenant asks for.
func planActive(in Input, env v1alpha1.Environment) EnvironmentPlan {
	name := NamespaceOf(in.Tenant, env)
	live := in.Namespaces[name]
	plan := EnvironmentPlan{Status: v1alpha1.EnvironmentStatus{Namespace: name, Name: env.Name, Phase: v1alpha1.EnvironmentActive}}
	if refusal := refuse(in, env, live.Namespace); refusal != "" {
		plan.Status.Phase, plan.Status.Message, plan.Reason = v1alpha1.EnvironmentRefused, refusal, ReasonRefused
		return plan
	}
	if live.Namespace != nil && live.Namespace.DeletionTimestamp != nil {
		plan.Status.Phase, plan.Reason = v1alpha1.EnvironmentDeleting, ReasonDeleting
		plan.Status.Message = "the namespace is being deleted; it is made anew once it is gone"
		return plan
	}
	if live.Namespace == nil {
		plan.Changes = append(plan.Changes, Change{Create, newNamespace(name, in.Tenant.Name)})
	}
	plan.wanted = true
	plan.elevated = slices.ContainsFunc(live.Elevations, func(e v1alpha1.Elevation) bool { return e.Status.Phase == v1alpha1.ElevationActive })
	furnish(in, in.Tenant, env, live, stopped(in.Tenant), &plan)
	in.explain(&plan)
	rights := changeBindings(live, bindings(in, env))
	if plan.Reason == ReasonNetworkModelMissing { // nobody gets rights in a namespace whose network is open; losing them is well
		plan.Status.Phase = v1alpha1.EnvironmentRefused
		rights = slices.DeleteFunc(rights, func(c Change) bool { return c.Verb == Create })
	}
	plan.Changes = append(plan.Changes, rights...)
	return plan
}

// refuse says why a tenant cannot have a namespace, and what to do; "" if it can. ns is nil where it does not exist yet.
func refuse(in Input, env v1alpha1.Environment, ns *corev1.Namespace) string {
	name := NamespaceOf(in.Tenant, env)
	if Exempt(in.Platform, name) {
		return fmt.Sprintf("namespace %s is exempt from Ringfence; give environment %s another namespace, or take %s off exemptNamespaces of the Platform", name, env.Name, name)
	}
	if mine(ns, in.Tenant.Name) {
		return ""
	}
	if ns != nil && ns.Labels[v1alpha1.LabelTenant] != "" {
		return fmt.Sprintf("namespace %s belongs to tenant %s; give environment %s another namespace, or remove it from that tenant first", name, ns.Labels[v1alpha1.LabelTenant], env.Name)
	}
	if ns != nil && env.Namespace == "" {
		return fmt.Sprintf("namespace %s exists and is not the tenant's; to take it over set namespace: %s on environment %s, else rename the environment", name, name, env.Name)
	}
	if first := Of(in.Tenants, name); first != nil && first.Name != in.Tenant.Name {
		return fmt.Sprintf("namespace %s was asked for by tenant %s first; give environment %s another namespace", name, first.Name, env.Name)
	}
	return ""
}

// mine reports whether a namespace is a tenant's own: by its label, or because it was created for it and is not labelled yet.
func mine(ns *corev1.Namespace, tenant string) bool {
	if ns == nil {
		return false
	}
	if owner := ns.Labels[v1alpha1.LabelTenant]; owner != "" {
		return owner == tenant
	}
	return ns.Annotations[AnnotationCreatedBy] == tenant
}

// owner is the tenant that answers for an existing namespace, nil if none does: the one it is labelled with or was created
// for, else the one that asks to take it over. It must agree with refuse, for two reconcilers divide the namespaces by it.
func owner(ns *corev1.Namespace, platform *v1alpha1.Platform, tenants []v1alpha1.Tenant) *v1alpha1.Tenant {
	if Exempt(platform, ns.Name) {
		return nil
	}
	for i := range tenants {
		if mine(ns, tenants[i].Name) {
			return &tenants[i]
		}
	}
	if ns.Labels[v1alpha1.LabelTenant] != "" {
		return nil // its tenant is gone: nobody's, until the label is
	}
	first := Of(tenants, ns.Name)
	if first == nil || environmentOf(first, ns.Name).Namespace == "" {
		return nil
	}
	return first
}

// furnish plans all that a namespace has, rights excepted: Guard, labels, account, limits, baseline. t and env are what
// the namespace is furnished for, a stand-in where the environment is gone from the tenant.
func furnish(in Input, t *v1alpha1.Tenant, env v1alpha1.Environment, live Live, cordoned bool, plan *EnvironmentPlan) {
	name := NamespaceOf(t, env)
	guard := Compile(in.Controls, in.Platform, t, live.Waivers, name)
	AddElevations(&guard.Spec, name, live.Elevations)
	plan.Next = DropExpired(&guard.Spec, in.Now)
	if size := egressBytes(guard.Spec); size > maxEgressBytes {
		guard.Spec.Egress, guard.Spec.EgressCIDRs = nil, nil
		plan.Reason = ReasonEgressTooLarge
		plan.Status.Message = fmt.Sprintf("spec.egress makes %d bytes and a Guard carries %d; no egress is open until the list is shorter", size, maxEgressBytes)
	}
	if left := in.addImages(&guard.Spec, live.Guard, live.Runs); left > 0 && plan.Status.Message == "" {
		plan.Status.Message = fmt.Sprintf("%d image digests are known and have no room in the Guard, which refuses them; those that run here and those scanned last are in it", left)
	}
	change := func(changes ...Change) { plan.Changes = append(plan.Changes, changes...) }
	change(changeGuard(live.Guard, guard)...)
	change(applyNamespace(name, live.Namespace, namespaceLabels(t, env, cordoned), t.Spec.Annotations)...)
	if a := live.Account; a == nil || a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken || a.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy {
		change(Change{Apply, account(name, true)})
	}
	hard, asked := in.hard[name]
	if !asked {
		hard = givenUp(t, live)
	}
	change(changeQuota(live.Quota, quota(hard, name, stopped(t)))...)
	change(changeLimits(live.Limits, limitRange(hard, name))...)
	changes, ok := changeBaseline(in, name, live)
	change(changes...)
	if !ok {
		plan.Reason = ReasonNetworkModelMissing
		plan.Status.Message = "the Platform asks for network model cilium and the cluster has no CiliumNetworkPolicy; install Cilium, or set network.model: kubernetes on the Platform"
	}
}

// maxEgressBytes keeps a Guard under 1 MB: the other fields are small, and etcd takes 1.5 MiB.
const maxEgressBytes = 900_000

// egressBytes is about how many bytes the egress of a Guard takes as JSON.
func egressBytes(spec v1alpha1.GuardSpec) (n int) {
	for name, end := range spec.Egress {
		n += len(name) + len(end) + 6
	}
	for _, c := range spec.EgressCIDRs {
		n += len(c.CIDR) + len(c.Expires) + 40
	}
	return n
}
