package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// podWorkers is how many Pods change at once: a rollout of some hundred Pods takes seconds, not minutes.
const podWorkers = 8

// kubelets plays the part of the kubelet on every simulated node: a Pod bound to one becomes Running at once, or
// Succeeded if a Job owns it, and a Pod that is deleted goes. Containers, probes and restarts do not exist.
type kubelets struct {
	client kubernetes.Interface
	hostIP map[string]string // of each node, by name
	pods   cache.Store
	queue  workqueue.TypedRateLimitingInterface[string]
	cancel context.CancelFunc
	wait   sync.WaitGroup
}

// startKubelets runs until stop, or until ctx ends.
func startKubelets(ctx context.Context, client kubernetes.Interface, nodes []node) *kubelets {
	ctx, cancel := context.WithCancel(ctx)
	k := &kubelets{client: client, hostIP: map[string]string{}, cancel: cancel,
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())}
	for _, n := range nodes {
		k.hostIP[n.name] = n.ip
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().Pods().Informer()
	k.pods = informer.GetStore()
	add := func(object any) {
		if pod, ok := object.(*corev1.Pod); ok && k.hostIP[pod.Spec.NodeName] != "" {
			k.queue.Add(pod.Namespace + "/" + pod.Name)
		}
	}
	// The error means that the informer was stopped, and it was not even started.
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, object any) { add(object) }})
	factory.Start(ctx.Done())
	for range podWorkers {
		k.wait.Go(func() {
			for k.next(ctx) {
			}
		})
	}
	k.wait.Go(func() {
		<-ctx.Done()
		k.queue.ShutDown()
		factory.Shutdown()
	})
	return k
}

// stop returns when nothing runs any more.
func (k *kubelets) stop() {
	k.cancel()
	k.wait.Wait()
}

// next handles one Pod of the queue. It returns false when the queue is shut down.
func (k *kubelets) next(ctx context.Context) bool {
	key, down := k.queue.Get()
	if down {
		return false
	}
	defer k.queue.Done(key)
	object, found, err := k.pods.GetByKey(key)
	if err == nil && found {
		err = k.sync(ctx, object.(*corev1.Pod))
	}
	if err != nil {
		klog.ErrorS(err, "Simulated kubelet", "pod", key)
		k.queue.AddRateLimited(key)
		return true
	}
	k.queue.Forget(key)
	return true
}

// sync brings one Pod to where a kubelet would have it. A Pod that changed meanwhile comes back through the queue.
func (k *kubelets) sync(ctx context.Context, pod *corev1.Pod) error {
	var err error
	switch {
	case pod.DeletionTimestamp != nil:
		if pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds == 0 {
			return nil // a finalizer holds it; asking again changes nothing
		}
		now := int64(0)
		err = k.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID}})
	case pod.Status.Phase == corev1.PodPending || pod.Status.Phase == "":
		pod = pod.DeepCopy()
		pod.Status = podStatus(pod, k.hostIP[pod.Spec.NodeName], metav1.NewTime(time.Now()))
		_, err = k.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// podStatus is the status of a Pod whose containers all run, or have all ended well when a Job owns it.
func podStatus(pod *corev1.Pod, hostIP string, now metav1.Time) corev1.PodStatus {
	owner := metav1.GetControllerOf(pod)
	finished := owner != nil && owner.Kind == "Job"
	s := pod.Status
	s.Phase, s.StartTime = corev1.PodRunning, &now
	if finished {
		s.Phase = corev1.PodSucceeded
	}
	s.HostIP, s.HostIPs = hostIP, []corev1.HostIP{{IP: hostIP}}
	s.PodIP = hostIP
	if !pod.Spec.HostNetwork {
		h := fnv.New32a()
		_, _ = h.Write([]byte(pod.UID))
		sum := h.Sum32()
		s.PodIP = fmt.Sprintf("10.%d.%d.%d", 128+sum>>16&127, sum>>8&255, sum&255) // 10.128.0.0/9, apart from Services
	}
	s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	set := func(kind corev1.PodConditionType, holds bool) {
		c := corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, LastTransitionTime: now}
		if holds {
			c.Status = corev1.ConditionTrue
		} else {
			c.Reason = "PodCompleted"
		}
		for i := range s.Conditions {
			if s.Conditions[i].Type == kind {
				s.Conditions[i] = c
				return
			}
		}
		s.Conditions = append(s.Conditions, c)
	}
	set(corev1.PodInitialized, true)
	set(corev1.ContainersReady, !finished)
	set(corev1.PodReady, !finished)
	s.InitContainerStatuses, s.ContainerStatuses = nil, nil
	for _, c := range pod.Spec.InitContainers {
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		s.InitContainerStatuses = append(s.InitContainerStatuses, containerStatus(pod, c, finished || !sidecar, now))
	}
	for _, c := range pod.Spec.Containers {
		s.ContainerStatuses = append(s.ContainerStatuses, containerStatus(pod, c, finished, now))
	}
	return s
}

func containerStatus(pod *corev1.Pod, c corev1.Container, finished bool, now metav1.Time) corev1.ContainerStatus {
	running := !finished
	id := "simulated://" + string(pod.UID) + "-" + c.Name
	status := corev1.ContainerStatus{Name: c.Name, Image: c.Image, ImageID: c.Image, ContainerID: id, Started: &running, Ready: running,
		Resources: c.Resources.DeepCopy()} // what a node that can resize reports
	if finished {
		status.Ready = true // as the kubelet has it for an init container that ended well
		status.State.Terminated = &corev1.ContainerStateTerminated{Reason: "Completed", ContainerID: id, StartedAt: now, FinishedAt: now}
	} else {
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: now}
	}
	return status
}
