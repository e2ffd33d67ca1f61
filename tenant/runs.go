package tenant

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
)

// ImagesChanged tells that Config.Images returns something else from now on. It does not block, and may be called by anyone.
func (r *Reconciler) ImagesChanged() {
	for _, c := range r.facts {
		select {
		case c <- event.GenericEvent{Object: &v1alpha1.Platform{}}:
		default: // one that nobody has taken yet says the same
		}
	}
}

// images are the facts, and whether images are judged by facts at all.
func (r *Reconciler) images() (gated bool, facts *image.Index) {
	if r.cfg.Images == nil {
		return false, nil
	}
	return true, r.cfg.Images()
}

// watchImages makes both controllers look at Guards when the facts change, and when something begins to run of which the
// Guard does not know that it does.
func (r *Reconciler) watchImages(namespace controller.Controller) error {
	if r.cfg.Images == nil {
		return nil
	}
	to := handler.EnqueueRequestsFromMapFunc
	for _, s := range []struct {
		controller controller.Controller
		facts      chan event.GenericEvent
		all, one   handler.MapFunc
	}{
		{r.tenant, r.facts[0], r.allTenants, r.tenantOfObject},
		{namespace, r.facts[1], r.allNamespaces, func(_ context.Context, o client.Object) []reconcile.Request {
			return []reconcile.Request{named(o.GetNamespace())}
		}},
	} {
		began := handler.TypedFuncs[client.Object, reconcile.Request]{}
		look := func(ctx context.Context, o client.Object, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if r.unknown(ctx, o) {
				for _, request := range s.one(ctx, o) {
					q.Add(request)
				}
			}
		}
		began.CreateFunc = func(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			look(ctx, e.Object, q)
		}
		began.UpdateFunc = func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if !slices.Equal(digestsOf(e.ObjectOld), digestsOf(e.ObjectNew)) {
				look(ctx, e.ObjectNew, q)
			}
		}
		if err := s.controller.Watch(source.Channel(s.facts, to(s.all))); err != nil {
			return err
		}
		if err := s.controller.Watch(source.Kind[client.Object](r.cache, &corev1.Pod{}, began)); err != nil {
			return err
		}
	}
	return nil
}

// unknown reports whether a Pod runs a digest of which its Guard does not know that it runs here.
func (r *Reconciler) unknown(ctx context.Context, pod client.Object) bool {
	digests := digestsOf(pod)
	if len(digests) == 0 {
		return false
	}
	var guard v1alpha1.Guard
	if err := r.client.Get(ctx, client.ObjectKey{Namespace: pod.GetNamespace(), Name: v1alpha1.GuardName}, &guard, client.UnsafeDisableDeepCopy); err != nil {
		return false // its own events bring the namespace up
	}
	return guard.Spec.Images == nil || slices.ContainsFunc(digests, func(d string) bool { return guard.Spec.Images.Admitted[d].RunsUntil == "" })
}

// runs are the digests of the Pods in a namespace, each once; none where images are not judged by facts.
func (r *Reconciler) runs(ctx context.Context, namespace string) (digests []string, err error) {
	if r.cfg.Images == nil {
		return nil, nil
	}
	var pods corev1.PodList
	if err := r.client.List(ctx, &pods, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list pods in %s: %w", namespace, err)
	}
	for i := range pods.Items {
		digests = append(digests, digestsOf(&pods.Items[i])...)
	}
	slices.Sort(digests)
	return slices.Compact(digests), nil
}

// digestsOf are the digests that a Pod names, each once, in order.
func digestsOf(o client.Object) (digests []string) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return nil
	}
	for _, reference := range References(pod) {
		if d := image.DigestOf(reference); d != "" {
			digests = append(digests, d)
		}
	}
	slices.Sort(digests)
	return slices.Compact(digests)
}

// References are the images that a Pod names, in its containers of all sorts and in its volumes.
func References(pod *corev1.Pod) (all []string) {
	for _, c := range pod.Spec.Containers {
		all = append(all, c.Image)
	}
	for _, c := range pod.Spec.InitContainers {
		all = append(all, c.Image)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		all = append(all, c.Image)
	}
	for _, v := range pod.Spec.Volumes {
		if v.Image != nil {
			all = append(all, v.Image.Reference)
		}
	}
	return all
}
