package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/mutate"
	"ringfence.dev/ringfence/policy/bundle"
)

// When the admission door fills in what is absent.
const (
	// MutationsAuto is where the API server does not serve MutatingAdmissionPolicy.
	MutationsAuto = "auto"
	// MutationsAlways is in the place of native policies: for a server that serves the kind and has its feature switched off.
	MutationsAlways = "always"
	// MutationsNever leaves it to native policies, where there are any.
	MutationsNever = "never"
)

func checkMutations(mode string) error {
	if !slices.Contains([]string{"", MutationsAuto, MutationsAlways, MutationsNever}, mode) {
		return fmt.Errorf("admission door: mutations: found %q; want %s, %s or %s", finding.Value(mode), MutationsAuto, MutationsAlways, MutationsNever)
	}
	return nil
}

// fillingDoor says which door fills in what is absent in a cluster; w is nil where this process has no admission door.
func fillingDoor(w *webhook, mapper meta.RESTMapper) (bundle.Door, error) {
	native, err := serves(mapper, bundle.MutationKind)
	switch {
	case err != nil:
		return bundle.NoDoor, err
	case w != nil && (w.cfg.Mutations == MutationsAlways || w.cfg.Mutations != MutationsNever && !native):
		if r := w.reconciler.Load(); r == nil || !r.Filling() {
			return bundle.WaitingDoor, nil
		}
		return bundle.WebhookDoor, nil
	case native:
		return bundle.NativeDoor, nil
	}
	return bundle.NoDoor, nil
}

// setUpFilling makes what fills in, and has r register it where it is wanted. Where native policies take over it stays until they are
// in place, so that no object misses both.
func (w *webhook) setUpFilling(mgr ctrl.Manager, r *admission.Reconciler) error {
	f, err := admission.NewFiller(admission.FillConfig{Fill: fillFrom(mgr.GetClient()), Metrics: w.fillMeters, Log: w.log})
	if err != nil {
		return err
	}
	pins, err := admission.NewFiller(admission.FillConfig{Fill: pinTags(mgr.GetClient(), w.tags, w.log), Subresources: []string{"ephemeralcontainers"}, Metrics: w.fillMeters, Log: w.log})
	if err != nil {
		return err
	}
	w.filler.Store(f)
	w.pins.Store(pins)
	r.Tags = true
	r.Fills = func(p *v1alpha1.Platform) (bool, error) {
		door, err := fillingDoor(w, mgr.GetRESTMapper())
		if err != nil {
			return false, err
		}
		wanted := door == bundle.WebhookDoor || door == bundle.WaitingDoor
		return wanted || r.Filling() && bundle.FilledByWebhook(p), nil
	}
	switch door, err := fillingDoor(w, mgr.GetRESTMapper()); {
	case err != nil:
		return err
	case door == bundle.WaitingDoor:
		w.log.Info("the admission door fills in metadata and defaults: no native policy does on this server")
	}
	return nil
}

// fill answers what is filled in.
func (w *webhook) fill(_ *admission.Handler, out http.ResponseWriter, r *http.Request) {
	w.filler.Load().ServeHTTP(out, r) // it is there before any Handler
}

// pin answers what tags mean.
func (w *webhook) pin(_ *admission.Handler, out http.ResponseWriter, r *http.Request) {
	w.pins.Load().ServeHTTP(out, r)
}

// fillFrom is what is filled in as a cache of the cluster has Guards and namespaces.
func fillFrom(reader client.Reader) admission.Fill {
	return func(ctx context.Context, w admission.Write) (f admission.Filling, err error) {
		var ns corev1.Namespace
		guard, err := guardOf(ctx, reader, w.Namespace)
		if err != nil {
			return f, err
		}
		if err := reader.Get(ctx, client.ObjectKey{Name: w.Namespace}, &ns, client.UnsafeDisableDeepCopy); err != nil {
			return f, fmt.Errorf("read namespace %s: %w", w.Namespace, err)
		}
		filled := mutate.Admitted(mutate.Request{Update: w.Update, Object: w.Object, Old: w.Old},
			mutate.Namespace{Labels: ns.Labels, Annotations: ns.Annotations}, &guard.Spec)
		f.Patch, err = filled.JSONPatch(w.Object)
		return f, err
	}
}

// guardOf is the Guard of a namespace as a cache has it; nothing may write to it.
func guardOf(ctx context.Context, reader client.Reader, namespace string) (*v1alpha1.Guard, error) {
	guard := &v1alpha1.Guard{}
	err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.GuardName}, guard, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		err = admission.ErrNoGuard
	}
	if err != nil {
		return nil, fmt.Errorf("read the Guard of namespace %s: %w", namespace, err)
	}
	return guard, nil
}
