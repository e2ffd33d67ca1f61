package tenant

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// settleTries, settlePause apart, are how often a refused write is tried again after a Guard was made: the API server's
// policies read Guards from a watch, which is behind for some milliseconds. Three seconds in all.
const (
	settleTries = 60
	settlePause = 50 * time.Millisecond
)

// write makes changes in order and stops at the first that cannot be made.
func (r *Reconciler) write(ctx context.Context, changes []Change) error {
	var created types.UID // of a namespace made here, whose label must not go to a later one of its name
	tries := 0
	for _, c := range changes {
		if c.Verb == Apply && created != "" && c.Object.GetObjectKind().GroupVersionKind().Kind == "Namespace" {
			c.Object.SetUID(created)
		}
		err := r.writeOne(ctx, c)
		for ; refused(err) && tries > 0; tries-- {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(settlePause):
			}
			err = r.writeOne(ctx, c)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		r.cfg.Log.Info("wrote", "change", c.String())
		switch o := c.Object.(type) {
		case *corev1.Namespace:
			created = o.UID
		case *v1alpha1.Guard:
			tries = settleTries
		}
	}
	return nil
}

// refused reports an error of admission or of rights, either of which may be about to change; an ending namespace will not, and
// a kind that is being deleted takes longer.
func refused(err error) bool {
	return (apierrors.IsForbidden(err) || apierrors.IsInvalid(err)) && !ending(err) && !kindAway(err)
}

// ending reports a write into a namespace that is being deleted.
func ending(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// writeOne makes one change.
func (r *Reconciler) writeOne(ctx context.Context, c Change) error {
	switch c.Verb {
	case Create:
		return r.create(ctx, c.Object)
	case Update:
		return r.update(ctx, c.Object)
	case Apply:
		u, ok := c.Object.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("apply a %T: only unstructured objects say which fields they leave alone", c.Object)
		}
		// A copy, for the answer is written into what is sent.
		return r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u.DeepCopy()), client.ForceOwnership, client.FieldOwner(FieldManager))
	case Delete:
		uid := c.Object.GetUID()
		return client.IgnoreNotFound(r.client.Delete(ctx, c.Object, client.Preconditions{UID: &uid}))
	case Renew:
		if err := r.free(ctx, c.Object); err != nil {
			return err
		}
		fresh := c.Object.DeepCopyObject().(client.Object)
		fresh.SetResourceVersion("")
		err := r.create(ctx, fresh.DeepCopyObject().(client.Object))
		if guard, ok := fresh.(*v1alpha1.Guard); ok && kindAway(err) {
			r.remember(guard)
		}
		return err
	case Free:
		return r.free(ctx, c.Object)
	}
	return fmt.Errorf("unknown verb %q", c.Verb)
}

// update replaces an object as it was seen. A Guard that the cache shows as it was before the last write is a conflict, and the API server is
// not asked: after a change of the Platform every second write would be one.
func (r *Reconciler) update(ctx context.Context, o client.Object) error {
	guard, isGuard := o.(*v1alpha1.Guard)
	seen := o.GetResourceVersion()
	if isGuard && r.isReplaced(guard.Namespace, seen) {
		return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("guards").GroupResource(), guard.Name, errors.New("it was written a moment ago"))
	}
	if err := r.client.Update(ctx, o, client.FieldOwner(FieldManager)); err != nil {
		return err
	}
	if isGuard && guard.ResourceVersion != seen { // else nothing was written, and what was seen is what is there
		r.mu.Lock()
		r.replaced[guard.Namespace] = replaced{seen, time.Now()}
		r.mu.Unlock()
	}
	return nil
}

func (r *Reconciler) isReplaced(namespace, version string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.replaced[namespace]
	return last.version == version && time.Since(last.at) < cacheBehind
}

// replaced is the resourceVersion of a Guard that was replaced, and when.
type replaced struct {
	version string
	at      time.Time
}

// cacheBehind is how long a cache may show what was replaced before the API server is asked all the same: restored from a backup, it has the
// old version again.
const cacheBehind = 3 * time.Second

// create makes an object, or replaces the one that has its name by now: names of ours are ours, whoever was faster. A
// namespace is never replaced: somebody else made it.
func (r *Reconciler) create(ctx context.Context, o client.Object) error {
	fresh := o.DeepCopyObject().(client.Object)
	err := r.client.Create(ctx, o, client.FieldOwner(FieldManager))
	if _, isNamespace := o.(*corev1.Namespace); isNamespace || !apierrors.IsAlreadyExists(err) {
		return err
	}
	old := fresh.DeepCopyObject().(client.Object)
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(fresh), old); err != nil {
		return err
	}
	if roleOf(old) != roleOf(fresh) {
		uid := old.GetUID()
		if err := r.client.Delete(ctx, old, client.Preconditions{UID: &uid}); err != nil {
			return err
		}
		return r.client.Create(ctx, fresh, client.FieldOwner(FieldManager))
	}
	finalizers := fresh.GetFinalizers()
	fresh = adopt(fresh, old)
	if len(finalizers) > 0 {
		fresh.SetFinalizers(finalizers)
	}
	return r.client.Update(ctx, fresh, client.FieldOwner(FieldManager))
}

// roleOf is the role that a binding gives, which cannot be changed in place; the zero value for what is no binding.
func roleOf(o client.Object) rbacv1.RoleRef {
	switch b := o.(type) {
	case *rbacv1.RoleBinding:
		return b.RoleRef
	case *rbacv1.ClusterRoleBinding:
		return b.RoleRef
	}
	return rbacv1.RoleRef{}
}

// free takes all finalizers off an object as it was seen. That it is gone is as good.
func (r *Reconciler) free(ctx context.Context, o client.Object) error {
	patch := fmt.Appendf(nil, `{"metadata":{"resourceVersion":%q,"finalizers":null}}`, o.GetResourceVersion())
	target := &unstructured.Unstructured{}
	target.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Guard"))
	target.SetNamespace(o.GetNamespace())
	target.SetName(o.GetName())
	return client.IgnoreNotFound(r.client.Patch(ctx, target, client.RawPatch(types.MergePatchType, patch)))
}
