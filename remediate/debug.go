// Package remediate acts on what runs: it ends debug containers at their time, where a control says that they must not go on, and
// closes the network of workloads that somebody quarantined.
//
// It judges nothing and writes no rules; every act is told to whoever records it. Package server runs it.
package remediate

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// DefaultDebugTime is how long a debug container may be in a pod.
const DefaultDebugTime = time.Hour

// referenceVariable is what the control wants a debug container to carry.
const referenceVariable = "RINGFENCE_REFERENCE"

// again is when to try anew what a disruption budget forbids now.
const again = 30 * time.Second

// Evicted is a pod that was evicted because a debug container's time was over.
type Evicted struct {
	Control         string
	Namespace, Name string
	// Container is the debug container, Reference the incident or change that it named, "" for none.
	Container, Reference string
	// Since is when it began, or when it was first seen, where that is not known; At is when the pod was evicted.
	Since, At time.Time
}

// Debug evicts pods whose debug containers have been there for longer than Keep, in namespaces where Control denies. A
// debug container cannot be taken out of a pod, so the pod goes, and what owns it makes a new one.
type Debug struct {
	// Client reads Pods and Guards from a cache, which may keep of a Pod what Strip leaves, and evicts.
	Client client.Client
	// Control is the id of the control whose remedy this is.
	Control string
	// Keep is how long a debug container may be there; zero is DefaultDebugTime.
	Keep time.Duration
	Now  func() time.Time
	Log  *slog.Logger
	// OnEvict is told of each pod once it is evicted. It must not block.
	OnEvict func(Evicted)

	mu   sync.Mutex // guards seen
	seen map[types.NamespacedName]watched
}

// watched is a pod and when each of its debug containers began.
type watched struct {
	uid   types.UID
	began map[string]time.Time
}

// DebugRules are the rights that Debug needs, for the ClusterRole of Ringfence's own ServiceAccount.
func DebugRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"pods/eviction"}, Verbs: []string{"create"}},
		{APIGroups: []string{"ringfence.dev"}, Resources: []string{"guards"}, Verbs: []string{"get", "list", "watch"}},
	}
}

// Strip leaves of a Pod in a cache what Debug reads, and the images that package tenant does: a cluster has many.
func Strip(o any) (any, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	out := &corev1.Pod{TypeMeta: pod.TypeMeta, ObjectMeta: metav1.ObjectMeta{
		Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion, DeletionTimestamp: pod.DeletionTimestamp,
	}}
	out.Status.EphemeralContainerStatuses = pod.Status.EphemeralContainerStatuses
	for _, c := range pod.Spec.EphemeralContainers {
		short := corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: c.Name, Image: c.Image}}
		for _, v := range c.Env {
			if v.Name == referenceVariable {
				short.Env = append(short.Env, v)
			}
		}
		out.Spec.EphemeralContainers = append(out.Spec.EphemeralContainers, short)
	}
	for _, c := range pod.Spec.Containers {
		out.Spec.Containers = append(out.Spec.Containers, corev1.Container{Name: c.Name, Image: c.Image})
	}
	for _, c := range pod.Spec.InitContainers {
		out.Spec.InitContainers = append(out.Spec.InitContainers, corev1.Container{Name: c.Name, Image: c.Image})
	}
	for _, v := range pod.Spec.Volumes {
		if v.Image != nil {
			out.Spec.Volumes = append(out.Spec.Volumes, v)
		}
	}
	return out, nil
}

// SetupWithManager registers the controller.
func (d *Debug) SetupWithManager(mgr ctrl.Manager) error {
	d.Client = mgr.GetClient()
	return ctrl.NewControllerManagedBy(mgr).Named("debug-containers").
		For(&corev1.Pod{}, builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
			pod, ok := o.(*corev1.Pod)
			return ok && len(pod.Spec.EphemeralContainers) > 0
		}))).
		Complete(d)
}

// Reconcile evicts a pod, or comes back when the first of its debug containers has been there long enough.
func (d *Debug) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var pod corev1.Pod
	if err := d.Client.Get(ctx, req.NamespacedName, &pod); err != nil {
		if apierrors.IsNotFound(err) {
			d.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if pod.DeletionTimestamp != nil || len(pod.Spec.EphemeralContainers) == 0 {
		d.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	var guard v1alpha1.Guard
	err := d.Client.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: v1alpha1.GuardName}, &guard)
	if apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil // nothing is guarded here
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("read the guard of %s: %w", pod.Namespace, err)
	}
	first, since := d.oldest(&pod)
	left := since.Add(d.keep()).Sub(d.Now())
	if left > 0 {
		return ctrl.Result{RequeueAfter: left}, nil
	}
	if action, named := guard.Spec.Actions[d.Control]; named && action != v1alpha1.Deny {
		return ctrl.Result{RequeueAfter: d.keep()}, nil // the bank warns only; it may come to deny
	}
	return d.evict(ctx, &pod, first, since)
}

func (d *Debug) evict(ctx context.Context, pod *corev1.Pod, c corev1.EphemeralContainer, since time.Time) (ctrl.Result, error) {
	err := d.Client.SubResource("eviction").Create(ctx, pod, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}},
	})
	switch {
	case apierrors.IsTooManyRequests(err): // a disruption budget: another pod must be up first
		d.Log.Warn("the pod of a debug container whose time is over is not evicted yet", "namespace", pod.Namespace, "pod", pod.Name, "err", err)
		return ctrl.Result{RequeueAfter: again}, nil
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err): // it is gone, or another one has its name
		return ctrl.Result{}, nil
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("evict %s/%s, whose debug container %s has been there for longer than %s: %w", pod.Namespace, pod.Name, c.Name, d.keep(), err)
	}
	e := Evicted{Control: d.Control, Namespace: pod.Namespace, Name: pod.Name, Container: c.Name, Since: since, At: d.Now()}
	for _, v := range c.Env {
		if v.Name == referenceVariable {
			e.Reference = v.Value
		}
	}
	d.Log.Info("evicted the pod of a debug container whose time is over", "namespace", e.Namespace, "pod", e.Name, "container", e.Container, "reference", e.Reference, "since", e.Since)
	if d.OnEvict != nil {
		d.OnEvict(e)
	}
	return ctrl.Result{}, nil
}

func (d *Debug) keep() time.Duration {
	if d.Keep > 0 {
		return d.Keep
	}
	return DefaultDebugTime
}

// oldest is the debug container that has been there longest. When it began the kubelet says; until then, and where it never
// does, the time counts from when this process saw it first: what the pod's own metadata says anybody could write.
func (d *Debug) oldest(pod *corev1.Pod) (c corev1.EphemeralContainer, since time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen == nil {
		d.seen = map[types.NamespacedName]watched{}
	}
	key := client.ObjectKeyFromObject(pod)
	if d.seen[key].uid != pod.UID {
		d.seen[key] = watched{pod.UID, map[string]time.Time{}}
	}
	first := d.seen[key].began
	for _, one := range pod.Spec.EphemeralContainers {
		if _, known := first[one.Name]; !known {
			first[one.Name] = d.Now()
		}
		for _, s := range pod.Status.EphemeralContainerStatuses {
			at := began(s)
			if s.Name == one.Name && !at.IsZero() && at.Before(first[one.Name]) {
				first[one.Name] = at
			}
		}
		if since.IsZero() || first[one.Name].Before(since) {
			c, since = one, first[one.Name]
		}
	}
	return c, since
}

// began is when the kubelet says that a container began, zero where it does not.
func began(s corev1.ContainerStatus) time.Time {
	switch {
	case s.State.Running != nil:
		return s.State.Running.StartedAt.Time
	case s.State.Terminated != nil:
		return s.State.Terminated.StartedAt.Time
	}
	return time.Time{}
}

func (d *Debug) forget(pod types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.seen, pod)
}
