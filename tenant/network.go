package tenant

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// BaselineName is the name of the one network policy that Ringfence writes in each tenant namespace: ingress closed, egress
// to pods of the cluster, DNS and the proxy. Policies only add to each other, so nobody can close it by writing another.
const BaselineName = "ringfence-baseline"

// ciliumKind is the kind of a baseline under the model cilium.
var ciliumKind = schema.GroupVersionKind{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicy"}

// modelOf is the platform's network model.
func modelOf(platform *v1alpha1.Platform) v1alpha1.NetworkModel {
	if platform.Spec.Network.Model == v1alpha1.NetworkCilium {
		return v1alpha1.NetworkCilium
	}
	return v1alpha1.NetworkKubernetes
}

// kubernetesBaseline is the baseline as a NetworkPolicy. DNS is named although it is a pod of the cluster, so that the
// policy says what it must never lose.
func kubernetesBaseline(platform *v1alpha1.Platform, namespace string) *networkingv1.NetworkPolicy {
	port := func(protocol corev1.Protocol, number int32) networkingv1.NetworkPolicyPort {
		p := intstr.FromInt32(number)
		return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &p}
	}
	block := func(cidr v1alpha1.CIDR) networkingv1.NetworkPolicyPeer {
		return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: string(cidr)}}
	}
	egress := []networkingv1.NetworkPolicyEgressRule{
		{To: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}}},
		{
			To: []networkingv1.NetworkPolicyPeer{{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: "kube-system"}},
				PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"k8s-app": "kube-dns"}},
			}},
			Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolUDP, 53), port(corev1.ProtocolTCP, 53)},
		},
	}
	if cidrs := platform.Spec.Network.ClusterCIDRs; len(cidrs) > 0 {
		var rule networkingv1.NetworkPolicyEgressRule
		for _, cidr := range cidrs {
			rule.To = append(rule.To, block(cidr))
		}
		egress = append(egress, rule)
	}
	if proxy := platform.Spec.Network.Proxy; proxy != nil {
		rule := networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{block(proxy.CIDR)}}
		for _, p := range proxy.Ports {
			rule.Ports = append(rule.Ports, port(corev1.ProtocolTCP, int32(p)))
		}
		if len(rule.Ports) > 0 { // a rule without ports would open all of them
			egress = append(egress, rule)
		}
	}
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metaOf(namespace, BaselineName),
		Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Egress:      egress,
		},
	}
}

// ciliumBaseline is the baseline as a CiliumNetworkPolicy. An empty ingress rule closes ingress; a selector that asks
// only for a namespace matches the pods of all of them and neither hosts nor the API server, as the entity cluster would.
// The DNS rule makes Cilium learn names, without which no policy by FQDN works.
func ciliumBaseline(platform *v1alpha1.Platform, namespace string) *unstructured.Unstructured {
	const namespaceKey = "k8s:io.kubernetes.pod.namespace"
	port := func(number int, protocol string) any {
		return map[string]any{"port": strconv.Itoa(number), "protocol": protocol}
	}
	egress := []any{
		map[string]any{"toEndpoints": []any{map[string]any{
			"matchExpressions": []any{map[string]any{"key": namespaceKey, "operator": "Exists"}},
		}}},
		map[string]any{
			"toEndpoints": []any{map[string]any{"matchLabels": map[string]any{namespaceKey: "kube-system", "k8s:k8s-app": "kube-dns"}}},
			"toPorts": []any{map[string]any{
				"ports": []any{port(53, "ANY")},
				"rules": map[string]any{"dns": []any{map[string]any{"matchPattern": "*"}}},
			}},
		},
	}
	if cidrs := platform.Spec.Network.ClusterCIDRs; len(cidrs) > 0 {
		var to []any
		for _, cidr := range cidrs {
			to = append(to, string(cidr))
		}
		egress = append(egress, map[string]any{"toCIDR": to})
	}
	if proxy := platform.Spec.Network.Proxy; proxy != nil && len(proxy.Ports) > 0 {
		var ports []any
		for _, p := range proxy.Ports {
			ports = append(ports, port(int(p), "TCP"))
		}
		egress = append(egress, map[string]any{
			"toCIDR":  []any{string(proxy.CIDR)},
			"toPorts": []any{map[string]any{"ports": ports}},
		})
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"description":      "Written by Ringfence: ingress closed; egress to pods of the cluster, DNS and the proxy.",
		"endpointSelector": map[string]any{},
		"ingress":          []any{map[string]any{}},
		"egress":           egress,
	}}}
	u.SetGroupVersionKind(ciliumKind)
	u.SetNamespace(namespace)
	u.SetName(BaselineName)
	u.SetLabels(map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy})
	return u
}
