package remediate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// ciliumPolicy is the kind that closes the network where the model is cilium.
var ciliumPolicy = schema.GroupVersionKind{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicy"}

// policyPrefix begins the names of the policies that close networks.
const policyPrefix = "ringfence-quarantine-"

// policyName is the name of the policy that closes a quarantine's network.
func policyName(q *v1alpha1.Quarantine) string { return policyPrefix + q.Name }

// closes reports whether a policy closes the network of some quarantine. Only Ringfence can give it that label.
func closes(p *networkingv1.NetworkPolicy) bool {
	return strings.HasPrefix(p.Name, policyPrefix) && p.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy
}

// close puts the policy in place that closes the network of marked pods, in the Platform's model. Where the cluster does not know
// that model it is Kubernetes' own, and message says so.
func (r *Quarantine) close(ctx context.Context, q *v1alpha1.Quarantine) (model v1alpha1.NetworkModel, message string, err error) {
	var platform v1alpha1.Platform
	if err := r.Client.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &platform); client.IgnoreNotFound(err) != nil {
		return "", "", fmt.Errorf("read the Platform: %w", err)
	}
	if platform.Spec.Network.Model == v1alpha1.NetworkCilium {
		err := r.closeCilium(ctx, q)
		if err == nil || !apimeta.IsNoMatchError(err) {
			return v1alpha1.NetworkCilium, "", err
		}
		message = "the Platform asks for network model cilium and the cluster has no CiliumNetworkPolicy; the network is closed by a NetworkPolicy, if anything here enforces those"
	}
	want := denyAll(q)
	have := &networkingv1.NetworkPolicy{}
	err = r.Live.Get(ctx, client.ObjectKeyFromObject(want), have)
	switch {
	case apierrors.IsNotFound(err):
		err = r.Client.Create(ctx, want)
	case err == nil && (!equality.Semantic.DeepEqual(have.Spec, want.Spec) || have.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy):
		want.ResourceVersion = have.ResourceVersion
		err = r.Client.Update(ctx, want)
	}
	if err != nil {
		return "", "", fmt.Errorf("close its network: %w", err)
	}
	return v1alpha1.NetworkKubernetes, message, nil
}

// denyAll lets nothing in and nothing out.
func denyAll(q *v1alpha1.Quarantine) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: q.Namespace, Name: policyName(q), Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: labelOf(q), Operator: metav1.LabelSelectorOpExists}}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		},
	}
}

// denyAllCilium denies, which no other policy can undo. The node itself stays allowed in: the kubelet would restart containers
// whose probes fail, and with them what is to be looked at. Entity cluster would deny it, so pods of all namespaces are named.
func denyAllCilium(q *v1alpha1.Quarantine) *unstructured.Unstructured {
	pods := map[string]any{"matchExpressions": []any{map[string]any{"key": "k8s:io.kubernetes.pod.namespace", "operator": "Exists"}}}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"description":      "Written by Ringfence: quarantined; nothing in but probes of the pod's own node, nothing out.",
		"endpointSelector": map[string]any{"matchExpressions": []any{map[string]any{"key": labelOf(q), "operator": "Exists"}}},
		"ingressDeny": []any{
			map[string]any{"fromEntities": []any{"world", "remote-node", "unmanaged", "ingress", "init"}},
			map[string]any{"fromEndpoints": []any{pods}},
		},
		"egressDeny": []any{map[string]any{"toEntities": []any{"all"}}},
	}}}
	u.SetGroupVersionKind(ciliumPolicy)
	u.SetNamespace(q.Namespace)
	u.SetName(policyName(q))
	u.SetLabels(map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy})
	return u
}

func (r *Quarantine) closeCilium(ctx context.Context, q *v1alpha1.Quarantine) error {
	want, have := denyAllCilium(q), &unstructured.Unstructured{}
	have.SetGroupVersionKind(ciliumPolicy)
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(want), have)
	switch {
	case apierrors.IsNotFound(err):
		err = r.Client.Create(ctx, want)
	case err == nil && (!equality.Semantic.DeepEqual(have.Object["spec"], want.Object["spec"]) || have.GetLabels()[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy):
		want.SetResourceVersion(have.GetResourceVersion())
		err = r.Client.Update(ctx, want)
	}
	if err != nil {
		return fmt.Errorf("close its network: %w", err)
	}
	return nil
}

// open takes the policies away that closed the network, of either model.
func (r *Quarantine) open(ctx context.Context, q *v1alpha1.Quarantine) error {
	cilium := &unstructured.Unstructured{}
	cilium.SetGroupVersionKind(ciliumPolicy)
	cilium.SetNamespace(q.Namespace)
	cilium.SetName(policyName(q))
	for _, o := range []client.Object{denyAll(q), cilium} {
		if err := client.IgnoreNotFound(r.Client.Delete(ctx, o)); err != nil && !apimeta.IsNoMatchError(err) {
			return fmt.Errorf("open its network: %w", err)
		}
	}
	return nil
}

// leaveOut takes marked pods out of every other NetworkPolicy that selects one of them: such policies only add to each other, so
// one that allows something, and if it selects everything, would open what is closed here. The pods' own labels stay as they are.
func (r *Quarantine) leaveOut(ctx context.Context, q *v1alpha1.Quarantine, pods []corev1.Pod) error {
	return r.eachPolicy(ctx, q, func(p *networkingv1.NetworkPolicy) {
		if selects(p, pods) && !slices.ContainsFunc(p.Spec.PodSelector.MatchExpressions, isOf(q)) {
			p.Spec.PodSelector.MatchExpressions = append(p.Spec.PodSelector.MatchExpressions,
				metav1.LabelSelectorRequirement{Key: labelOf(q), Operator: metav1.LabelSelectorOpDoesNotExist})
		}
	})
}

// takeIn undoes leaveOut.
func (r *Quarantine) takeIn(ctx context.Context, q *v1alpha1.Quarantine) error {
	return r.eachPolicy(ctx, q, func(p *networkingv1.NetworkPolicy) {
		p.Spec.PodSelector.MatchExpressions = slices.DeleteFunc(p.Spec.PodSelector.MatchExpressions, isOf(q))
		if len(p.Spec.PodSelector.MatchExpressions) == 0 {
			p.Spec.PodSelector.MatchExpressions = nil
		}
	})
}

// isOf tells a selector's condition that leaves the pods of a quarantine out.
func isOf(q *v1alpha1.Quarantine) func(metav1.LabelSelectorRequirement) bool {
	return func(e metav1.LabelSelectorRequirement) bool {
		return e.Key == labelOf(q) && e.Operator == metav1.LabelSelectorOpDoesNotExist
	}
}

// selects reports whether a policy selects one of the pods. One whose selector cannot be read does.
func selects(p *networkingv1.NetworkPolicy, pods []corev1.Pod) bool {
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	return slices.ContainsFunc(pods, func(pod corev1.Pod) bool { return err != nil || selector.Matches(labels.Set(pod.Labels)) })
}

// eachPolicy writes the NetworkPolicies of the namespace that edit changes. Those that close networks are left alone: they
// open nothing.
func (r *Quarantine) eachPolicy(ctx context.Context, q *v1alpha1.Quarantine, edit func(*networkingv1.NetworkPolicy)) error {
	var all networkingv1.NetworkPolicyList
	if err := r.Live.List(ctx, &all, client.InNamespace(q.Namespace)); err != nil {
		return fmt.Errorf("list network policies: %w", err)
	}
	for i := range all.Items {
		have := &all.Items[i]
		want := have.DeepCopy()
		if edit(want); closes(have) || equality.Semantic.DeepEqual(have.Spec, want.Spec) {
			continue
		}
		err := r.Client.Patch(ctx, want, client.MergeFromWithOptions(have, client.MergeFromWithOptimisticLock{}))
		if err := client.IgnoreNotFound(err); err != nil {
			return fmt.Errorf("change the pods that network policy %s selects: %w", have.Name, err)
		}
	}
	return nil
}
