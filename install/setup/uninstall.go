package setup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// Remove removes what a Removal names. It stops first what would put things back, and goes on only once nothing leads. It may be
// repeated: what is gone already is passed over.
func (i *Installer) Remove(ctx context.Context, r *Removal) error {
	if len(r.Obstacles) > 0 {
		return errors.New("uninstall: " + strings.Join(r.Obstacles, "; "))
	}
	steps := []func(context.Context) error{
		func(ctx context.Context) error { return i.remove(ctx, r.processes) },
		i.stopped,
		func(ctx context.Context) error { return i.remove(ctx, r.registrations) },
		func(ctx context.Context) error { return i.remove(ctx, r.policies) },
		func(ctx context.Context) error { return i.removeKinds(ctx, r.kinds) },
		func(ctx context.Context) error { return i.remove(ctx, r.ours) },
		func(ctx context.Context) error { return i.unmark(ctx, r.namespaces) },
		func(ctx context.Context) error { return i.remove(ctx, slices.Concat(r.theirs, r.chart)) },
		func(ctx context.Context) error { return i.gone(ctx, r.chart) },
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stopped waits until no process of Ringfence leads, and no pod of it runs: one that is still ending would put back what is removed.
func (i *Installer) stopped(ctx context.Context) error {
	runs := ""
	err := wait.PollUntilContextCancel(ctx, pollEvery, true, func(ctx context.Context) (bool, error) {
		what, err := i.runs(ctx)
		if ctx.Err() != nil {
			return false, nil // the time is over; what ran is known
		}
		runs = what
		return runs == "", err
	})
	if runs != "" {
		return fmt.Errorf("uninstall: %s and would put back what is removed; stop that process", runs)
	}
	return err
}

// runs says which process of Ringfence still leads or runs, "" for none. Whether one leads is told by this machine's clock, pods are not.
func (i *Installer) runs(ctx context.Context) (string, error) {
	leader, err := i.leader(ctx)
	if err != nil {
		return "", err
	}
	if leader != "" {
		return leader + " still leads", nil
	}
	var pods corev1.PodList
	if err := i.client.List(ctx, &pods, client.InNamespace(v1alpha1.SystemNamespace), client.MatchingLabels{labelName: Account}); err != nil {
		return "", fmt.Errorf("list pods of Ringfence: %w", err)
	}
	for _, p := range pods.Items {
		if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			return "pod " + p.Name + " still runs", nil
		}
	}
	return "", nil
}

// remove deletes objects. A policy that was just deleted may refuse for a moment still.
func (i *Installer) remove(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		err := i.insist(ctx, func() error {
			if o.GetKind() == "ServiceAccount" && o.GetName() == defaultAccount {
				return i.release(ctx, o)
			}
			return i.client.Delete(ctx, o.DeepCopy(), client.PropagationPolicy("Background"))
		})
		if err != nil {
			return fmt.Errorf("remove %s %s: %w", o.GetKind(), o.GetName(), err)
		}
		i.Say("removed %s %s", o.GetKind(), o.GetName())
	}
	return nil
}

// insist does something until Ringfence's own policies no longer refuse it. What is not there is well.
func (i *Installer) insist(ctx context.Context, do func() error) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, pollEvery, true, func(context.Context) (bool, error) {
		last = i.optional(do())
		if apierrors.IsConflict(last) || apierrors.IsForbidden(last) && strings.Contains(last.Error(), "ValidatingAdmissionPolicy 'ringfence-") {
			return false, nil
		}
		return true, last
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

// release gives a namespace's default account back to its team.
func (i *Installer) release(ctx context.Context, o *unstructured.Unstructured) error {
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:null}},"automountServiceAccountToken":null}`, v1alpha1.LabelManagedBy)
	return i.client.Patch(ctx, o.DeepCopy(), client.RawPatch(types.MergePatchType, patch))
}

// removeKinds deletes Ringfence's kinds with all their objects, whose finalizers nobody would take off any more.
func (i *Installer) removeKinds(ctx context.Context, kinds []string) error {
	lists := []client.ObjectList{&v1alpha1.GuardList{}, &v1alpha1.TenantList{}, &v1alpha1.ElevationList{}, &v1alpha1.QuarantineList{}, &v1alpha1.ImageImportList{}, &v1alpha1.WaiverList{}, &v1alpha1.PlatformList{}}
	for _, kind := range kinds {
		if err := i.remove(ctx, []*unstructured.Unstructured{reference("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", kind)}); err != nil {
			return err
		}
	}
	// Their objects are being deleted now, and new ones are refused.
	var left []string
	err := wait.PollUntilContextCancel(ctx, pollEvery, true, func(ctx context.Context) (bool, error) {
		for _, list := range lists {
			if err := i.letGo(ctx, list); err != nil {
				return false, err
			}
		}
		left = nil
		for _, kind := range kinds {
			found, err := i.there(ctx, []*unstructured.Unstructured{reference("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", kind)})
			if err != nil {
				return false, err
			}
			if len(found) > 0 {
				left = append(left, kind)
			}
		}
		return len(left) == 0, nil
	})
	if len(left) > 0 {
		return fmt.Errorf("uninstall: %s are not gone in time: %w", strings.Join(left, ", "), err)
	}
	return err
}

// letGo takes Ringfence's finalizers off the objects of a kind.
func (i *Installer) letGo(ctx context.Context, list client.ObjectList) error {
	if err := i.optional(i.client.List(ctx, list)); err != nil {
		if apierrors.IsMethodNotSupported(err) {
			return nil // its kind is going
		}
		return fmt.Errorf("list what has finalizers: %w", err)
	}
	return apimeta.EachListItem(list, func(item runtime.Object) error {
		o, ok := item.(client.Object)
		if !ok || !slices.ContainsFunc(o.GetFinalizers(), ofRingfence) {
			return nil
		}
		o.SetFinalizers(slices.DeleteFunc(slices.Clone(o.GetFinalizers()), ofRingfence))
		if err := i.optional(i.client.Update(ctx, o)); err != nil && !apierrors.IsConflict(err) {
			return fmt.Errorf("let go of %s: %w", o.GetName(), err)
		}
		return nil
	})
}

func ofRingfence(finalizer string) bool { return strings.HasPrefix(finalizer, prefix) }

// unmark takes what Ringfence wrote off namespaces.
func (i *Installer) unmark(ctx context.Context, namespaces []*unstructured.Unstructured) error {
	for _, o := range namespaces {
		err := i.insist(ctx, func() error {
			var ns corev1.Namespace
			if err := i.client.Get(ctx, client.ObjectKeyFromObject(o), &ns); err != nil {
				return err
			}
			for _, m := range []map[string]string{ns.Labels, ns.Annotations} {
				for k := range m {
					if strings.HasPrefix(k, prefix) {
						delete(m, k)
					}
				}
			}
			return i.client.Update(ctx, &ns)
		})
		if err != nil {
			return fmt.Errorf("take Ringfence's labels off namespace %s: %w", o.GetName(), err)
		}
		i.Say("unmarked Namespace %s", o.GetName())
	}
	return nil
}

// gone waits until objects are not there any more.
func (i *Installer) gone(ctx context.Context, objects []*unstructured.Unstructured) error {
	var left []*unstructured.Unstructured
	err := wait.PollUntilContextCancel(ctx, pollEvery, true, func(ctx context.Context) (done bool, err error) {
		left, err = i.there(ctx, objects)
		return len(left) == 0, err
	})
	if len(left) > 0 {
		return fmt.Errorf("uninstall: %s %s is not gone in time: %w", left[0].GetKind(), left[0].GetName(), err)
	}
	return err
}
