package tenant

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// This file divides a tenant's total quota among its namespaces. Kubernetes knows no quota above a namespace, so that each has a
// share of its own and the API server holds every one of them, with Ringfence stopped too.

// cordonCounts are what cannot grow in number while a tenant is cordoned. Pods, ReplicaSets and Jobs are not among them: controllers
// make them anew of what runs.
var cordonCounts = []corev1.ResourceName{"count/deployments.apps", "count/statefulsets.apps", "count/daemonsets.apps", "count/cronjobs.batch", "count/replicationcontrollers"}

// stated is the quota that is stated for an environment: the tenant's, with the amounts of its own in their place.
func stated(t *v1alpha1.Tenant, env v1alpha1.Environment) corev1.ResourceList {
	hard := corev1.ResourceList{}
	for name, amount := range t.Spec.Quota {
		hard[corev1.ResourceName(name)] = amount
	}
	for name, amount := range env.Quota {
		hard[corev1.ResourceName(name)] = amount
	}
	return hard
}

// overdrawn are the amounts of a total that is smaller than what is stated of it, with what is stated, by name.
func overdrawn(t *v1alpha1.Tenant) map[string]resource.Quantity {
	over := map[string]resource.Quantity{}
	for name, total := range t.Spec.TotalQuota {
		var sum resource.Quantity
		for _, env := range t.Spec.Environments {
			if amount, ok := stated(t, env)[corev1.ResourceName(name)]; ok {
				sum.Add(amount)
			}
		}
		if sum.Cmp(total) > 0 {
			over[name] = sum
		}
	}
	return over
}

// shares are the hard limits of each environment, in their order. Of what the total names their sum is never above it: an amount that
// is stated counts as long as something is left, and those without share the rest evenly.
func shares(t *v1alpha1.Tenant) []corev1.ResourceList {
	all := make([]corev1.ResourceList, len(t.Spec.Environments))
	for i, env := range t.Spec.Environments {
		all[i] = stated(t, env)
	}
	for key, total := range t.Spec.TotalQuota {
		name, rest, without := corev1.ResourceName(key), total.DeepCopy(), int64(0)
		for _, hard := range all {
			amount, ok := hard[name]
			if !ok {
				without++
				continue
			}
			if amount.Cmp(rest) > 0 {
				amount = rest.DeepCopy()
			}
			hard[name] = amount
			rest.Sub(amount)
		}
		for _, hard := range all {
			if _, ok := hard[name]; !ok {
				hard[name] = divided(name, rest, without)
			}
		}
	}
	return all
}

// divided is a part of an amount, rounded down: of processors in thousandths, of everything else in whole.
func divided(name corev1.ResourceName, q resource.Quantity, by int64) resource.Quantity {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceRequestsCPU, corev1.ResourceLimitsCPU:
		if q.Value() < 1<<52 { // a thousandfold of it is still an int64
			return *resource.NewMilliQuantity(q.MilliValue()/by, q.Format)
		}
	}
	whole := q.Value()
	if resource.NewQuantity(whole, q.Format).Cmp(q) > 0 { // Value rounds up
		whole--
	}
	return *resource.NewQuantity(whole/by, q.Format)
}

// hardOf is what the ResourceQuota of each namespace says, by namespace. Lowering an amount is always well; what would be raised gets
// no more than what all other namespaces of the tenant leave, those it gives up included, as they are now or will be. What is missing
// comes with the next look, when the others were lowered: at no moment, and wherever Ringfence is stopped, is the sum above the total.
func hardOf(in Input) map[string]corev1.ResourceList {
	t, all := in.Tenant, map[string]corev1.ResourceList{}
	for i, hard := range shares(t) {
		all[NamespaceOf(t, t.Spec.Environments[i])] = hard
	}
	if len(t.Spec.TotalQuota) == 0 {
		return all
	}
	now := map[string]corev1.ResourceList{} // the larger of what is and what is decided
	for name, live := range in.Namespaces {
		if live.Quota != nil && mine(live.Namespace, t.Name) {
			now[name] = maps.Clone(live.Quota.Spec.Hard)
		}
	}
	for _, env := range t.Spec.Environments {
		namespace := NamespaceOf(t, env)
		if now[namespace] == nil {
			now[namespace] = corev1.ResourceList{}
		}
		for key, total := range t.Spec.TotalQuota {
			name := corev1.ResourceName(key)
			want, have := all[namespace][name], now[namespace][name]
			if want.Cmp(have) <= 0 {
				all[namespace][name] = want
				continue
			}
			left := total.DeepCopy()
			for other, hard := range now {
				if amount, ok := hard[name]; ok && other != namespace {
					left.Sub(amount)
				}
			}
			if left.Cmp(have) < 0 {
				left = have
			}
			if want.Cmp(left) > 0 {
				want = left
			}
			all[namespace][name], now[namespace][name] = want, want
		}
	}
	return all
}

// quota is the ResourceQuota of a namespace, nil where nothing is limited.
func quota(hard corev1.ResourceList, namespace string, cordoned bool) *corev1.ResourceQuota {
	if hard = maps.Clone(hard); cordoned {
		if hard == nil {
			hard = corev1.ResourceList{}
		}
		for _, name := range cordonCounts {
			hard[name] = resource.Quantity{Format: resource.DecimalSI}
		}
	}
	if len(hard) == 0 {
		return nil
	}
	return &corev1.ResourceQuota{ObjectMeta: metaOf(namespace, limitsName), Spec: corev1.ResourceQuotaSpec{Hard: hard}}
}

// givenUp are the hard limits of a namespace that the tenant gives up: as they are, so that they take nothing from the others.
func givenUp(t *v1alpha1.Tenant, live Live) corev1.ResourceList {
	if live.Quota != nil && len(t.Spec.TotalQuota) > 0 {
		return live.Quota.Spec.Hard
	}
	return stated(t, v1alpha1.Environment{})
}

// quotasDiffer reports whether a ResourceQuota of a divided total is about to be written: then the sum is reckoned anew from what the
// server has, for a cache that is behind could hide what another namespace got.
func quotasDiffer(in Input) bool {
	if len(in.Tenant.Spec.TotalQuota) == 0 || in.Tenant.DeletionTimestamp != nil {
		return false
	}
	cordoned := stopped(in.Tenant)
	return slices.ContainsFunc(in.Tenant.Spec.Environments, func(env v1alpha1.Environment) bool {
		name := NamespaceOf(in.Tenant, env)
		live, want := in.Namespaces[name].Quota, quota(hardOf(in)[name], name, cordoned)
		return live == nil || !equality.Semantic.DeepEqual(live.Spec.Hard, want.Spec.Hard)
	})
}

// claimMost is the largest volume claim of a namespace: all that its quota allows; nil for no bound.
func claimMost(hard corev1.ResourceList) *resource.Quantity {
	most, ok := hard[corev1.ResourceRequestsStorage]
	if least := resource.MustParse("1Mi"); !ok || most.Cmp(least) < 0 {
		return nil
	}
	return &most
}

// stopped reports whether nothing new may come into a tenant's environments.
func stopped(t *v1alpha1.Tenant) bool { return t.Spec.Cordon != nil || ends(t) }

// ends reports whether a tenant is being offboarded: somebody asked, and another person approved.
func ends(t *v1alpha1.Tenant) bool {
	o := t.Spec.Offboarding
	return o != nil && cmp.Or(o.Approver, o.Requester) != o.Requester
}
