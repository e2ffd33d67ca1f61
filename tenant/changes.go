package tenant

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// This file compares what is with what should be, kind by kind. Each function plans nothing where the two agree.

// newNamespace is a namespace that is not the tenant's yet: it carries what the catalogue asks of every namespace, and its
// owner's labels once it has a Guard.
func newNamespace(name, tenant string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: podSecurityLabels(), Annotations: map[string]string{AnnotationCreatedBy: tenant}}}
}

// adopt gives want the metadata of live, so that an update replaces only what is Ringfence's.
func adopt[T client.Object](want, live T) T {
	labels := maps.Clone(live.GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, want.GetLabels())
	want.SetLabels(labels)
	want.SetAnnotations(live.GetAnnotations())
	want.SetFinalizers(live.GetFinalizers())
	want.SetResourceVersion(live.GetResourceVersion())
	want.SetUID(live.GetUID())
	return want
}

// labelled reports whether an object carries Ringfence's mark.
func labelled(o client.Object) bool {
	return o.GetLabels()[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy
}

// changeGuard plans the Guard. One that somebody deleted is made anew at once: it can be read as a parameter as long as its
// finalizer holds it, so that the gap is the time between two requests.
func changeGuard(live *v1alpha1.Guard, want v1alpha1.Guard) []Change {
	want.Finalizers = []string{FinalizerGuard}
	if live == nil {
		return []Change{{Create, &want}}
	}
	if live.DeletionTimestamp != nil {
		want.ResourceVersion = live.ResourceVersion
		return []Change{{Renew, &want}}
	}
	held := slices.Contains(live.Finalizers, FinalizerGuard)
	if equality.Semantic.DeepEqual(live.Spec, want.Spec) && labelled(live) && held {
		return nil
	}
	next := adopt(&want, live)
	if !held {
		next.Finalizers = append(slices.Clone(next.Finalizers), FinalizerGuard)
	}
	return []Change{{Update, next}}
}

func changeQuota(live, want *corev1.ResourceQuota) []Change {
	switch {
	case want == nil && live == nil:
		return nil
	case want == nil:
		return []Change{{Delete, live}}
	case live == nil:
		return []Change{{Create, want}}
	case equality.Semantic.DeepEqual(live.Spec, want.Spec) && labelled(live):
		return nil
	}
	return []Change{{Update, adopt(want, live)}}
}

func changeLimits(live, want *corev1.LimitRange) []Change {
	switch {
	case live == nil:
		return []Change{{Create, want}}
	case equality.Semantic.DeepEqual(live.Spec, want.Spec) && labelled(live):
		return nil
	}
	return []Change{{Update, adopt(want, live)}}
}

// changeBaseline plans the baseline of the platform's model, and after it the end of the other model's. ok is false where
// the cluster does not know the model.
func changeBaseline(in Input, namespace string, live Live) (changes []Change, ok bool) {
	if modelOf(in.Platform) == v1alpha1.NetworkCilium {
		if !in.Cilium {
			return nil, false
		}
		want := ciliumBaseline(in.Platform, namespace)
		switch old := live.CiliumPolicy; {
		case old == nil:
			changes = append(changes, Change{Create, want})
		case !equality.Semantic.DeepEqual(old.Object["spec"], runtime.DeepCopyJSONValue(want.Object["spec"])) || !labelled(old):
			changes = append(changes, Change{Update, adopt(want, old)})
		}
		if live.Policy != nil {
			changes = append(changes, Change{Delete, live.Policy})
		}
		return changes, true
	}
	want := kubernetesBaseline(in.Platform, namespace)
	if live.Policy != nil {
		want.Spec.PodSelector.MatchExpressions = quarantined(live.Policy)
	}
	switch old := live.Policy; {
	case old == nil:
		changes = append(changes, Change{Create, want})
	case !equality.Semantic.DeepEqual(old.Spec, want.Spec) || !labelled(old):
		changes = append(changes, Change{Update, adopt(want, old)})
	}
	if live.CiliumPolicy != nil {
		changes = append(changes, Change{Delete, live.CiliumPolicy})
	}
	return changes, true
}

// quarantined is what leaves pods in quarantine out of a policy: policies of Kubernetes only add to each other, so that package
// remediate takes these pods out of every one but that which closes their network, and puts them back afterwards.
func quarantined(p *networkingv1.NetworkPolicy) (kept []metav1.LabelSelectorRequirement) {
	for _, e := range p.Spec.PodSelector.MatchExpressions {
		if e.Operator == metav1.LabelSelectorOpDoesNotExist && strings.HasPrefix(e.Key, v1alpha1.QuarantineLabel) {
			kept = append(kept, e)
		}
	}
	return kept
}

// changeBindings plans the rights: those wanted first, then the end of those of ours that are not.
func changeBindings(live Live, wanted []rbacv1.RoleBinding) (changes []Change) {
	keep := map[string]bool{}
	for i := range wanted {
		want := &wanted[i]
		keep[want.Name] = true
		old := live.Bindings[want.Name]
		switch {
		case old == nil:
			changes = append(changes, Change{Create, want})
		case !equality.Semantic.DeepEqual(old.RoleRef, want.RoleRef): // cannot be changed in place
			changes = append(changes, Change{Delete, old}, Change{Create, want})
		case !equality.Semantic.DeepEqual(old.Subjects, want.Subjects) || !labelled(old):
			changes = append(changes, Change{Update, adopt(want, old)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(live.Bindings)) {
		if !keep[name] && ours(name) {
			changes = append(changes, Change{Delete, live.Bindings[name]})
		}
	}
	return changes
}
