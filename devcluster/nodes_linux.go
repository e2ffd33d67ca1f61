package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/version"
)

// simulatedLabel marks the nodes made here. No other node is ever changed or removed.
const simulatedLabel = "devcluster.ringfence.dev/simulated"

// node is one simulated node; its address is from a block reserved for documentation (RFC 5737).
type node struct{ name, ip string }

// registerNodes makes count nodes Ready, and removes those of an earlier run with more. It may be called again.
func registerNodes(ctx context.Context, client kubernetes.Interface, count int, now time.Time) ([]node, error) {
	var nodes []node
	var errs []error
	for i := range count {
		n := node{name: fmt.Sprintf("node-%d", i), ip: fmt.Sprintf("192.0.2.%d", i+1)}
		nodes = append(nodes, n)
		if err := registerNode(ctx, client, n, i, metav1.NewTime(now)); err != nil {
			errs = append(errs, fmt.Errorf("register node %s: %w", n.name, err))
		}
	}
	found, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: simulatedLabel + "=true"})
	if err != nil {
		return nil, errors.Join(append(errs, fmt.Errorf("list simulated nodes: %w", err))...)
	}
	for _, f := range found.Items {
		if slices.ContainsFunc(nodes, func(n node) bool { return n.name == f.Name }) {
			continue
		}
		if err := client.CoreV1().Nodes().Delete(ctx, f.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("remove node %s: %w", f.Name, err))
		}
	}
	return nodes, errors.Join(errs...)
}

func registerNode(ctx context.Context, client kubernetes.Interface, n node, index int, now metav1.Time) error {
	fresh := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{
		corev1.LabelHostname: n.name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH,
		corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", index%3), simulatedLabel: "true",
	}}}
	current, err := client.CoreV1().Nodes().Create(ctx, fresh, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		current, err = client.CoreV1().Nodes().Get(ctx, n.name, metav1.GetOptions{})
	}
	if err != nil {
		return err
	}
	current.Status = nodeStatus(n, now)
	if current, err = client.CoreV1().Nodes().UpdateStatus(ctx, current, metav1.UpdateOptions{}); err != nil {
		return err
	}
	// The API server taints every new node as not ready. The controller manager would remove that later; without one,
	// nobody would.
	unready := func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeNotReady }
	if !slices.ContainsFunc(current.Spec.Taints, unready) {
		return nil
	}
	current.Spec.Taints = slices.DeleteFunc(current.Spec.Taints, unready)
	_, err = client.CoreV1().Nodes().Update(ctx, current, metav1.UpdateOptions{})
	return err
}

func nodeStatus(n node, now metav1.Time) corev1.NodeStatus {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods: resource.MustParse("500"), corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
	}
	status := corev1.NodeStatus{
		Capacity: capacity, Allocatable: capacity,
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: n.name}, {Type: corev1.NodeInternalIP, Address: n.ip}},
		NodeInfo: corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: runtime.GOARCH, OSImage: "simulated", KernelVersion: "simulated",
			KubeletVersion: version.Get().GitVersion, ContainerRuntimeVersion: "simulated://1.0"},
	}
	for _, kind := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure,
		corev1.NodePIDPressure, corev1.NodeNetworkUnavailable} {
		c := corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse, Reason: "Simulated", LastHeartbeatTime: now, LastTransitionTime: now}
		if kind == corev1.NodeReady {
			c.Status = corev1.ConditionTrue
		}
		status.Conditions = append(status.Conditions, c)
	}
	return status
}
