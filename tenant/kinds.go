package tenant

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// This file is about our own kinds going away: whoever deletes a CustomResourceDefinition deletes every object of it. Package
// install puts the definitions back.

const (
	// kindTenants is the definition of Tenant.
	kindTenants = "tenants.ringfence.dev"
	// kindAwayPause is between two tries to write an object whose kind is not served: its deletion takes some seconds.
	kindAwayPause = 500 * time.Millisecond
)

// kindAway reports that the API server does not serve the kind that was to be written: its definition is being deleted, or
// is gone.
func kindAway(err error) bool {
	if apierrors.IsMethodNotSupported(err) || apierrors.IsForbidden(err) && strings.Contains(err.Error(), "custom resource definition is terminating") {
		return true // there is no better sign of it than the text
	}
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code == http.StatusNotFound && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// kindEnds reports whether the kind Tenant itself is being deleted, or is gone. Nobody meant then to give up each tenant: what
// stands in its namespaces stays as it is.
func (r *Reconciler) kindEnds(ctx context.Context) (bool, error) {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	err := r.live.Get(ctx, client.ObjectKey{Name: kindTenants}, crd)
	if apierrors.IsNotFound(err) {
		return true, nil
	} else if err != nil {
		return false, fmt.Errorf("see whether the kind Tenant is being deleted: %w", err)
	}
	return crd.DeletionTimestamp != nil, nil
}

// letGo takes our finalizer off a tenant that is being deleted.
func (r *Reconciler) letGo(ctx context.Context, t *v1alpha1.Tenant) error {
	return r.setFinalizer(ctx, t, slices.DeleteFunc(slices.Clone(t.Finalizers), func(f string) bool { return f == FinalizerTenant }))
}

// remember keeps what a Guard said whose kind is being deleted. It is forgotten when the namespace has a Guard again.
func (r *Reconciler) remember(g *v1alpha1.Guard) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost[g.Namespace] = *g.Spec.DeepCopy()
}

// recall is what the Guard of a namespace said that went with its kind, nil where none did or there is one.
func (r *Reconciler) recall(namespace string, there bool) *v1alpha1.GuardSpec {
	r.mu.Lock()
	defer r.mu.Unlock()
	if there {
		delete(r.lost, namespace)
	}
	if spec, ok := r.lost[namespace]; ok {
		return &spec
	}
	return nil
}

// untilEnd is when a namespace without tenant is looked at anew: at the end of the next thing that its Guard, which may be one of
// a tenant that vanished, opens for a time.
func untilEnd(g *v1alpha1.Guard, now time.Time) reconcile.Result {
	if g == nil {
		return reconcile.Result{}
	}
	next := DropExpired(g.Spec.DeepCopy(), now)
	if next.IsZero() {
		return reconcile.Result{}
	}
	return reconcile.Result{RequeueAfter: max(next.Sub(now), time.Millisecond)}
}
