package setup

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

var (
	deployments = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	cronJobs    = schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "CronJob"}
	// processes are the kinds of which pods come: applied last and removed first.
	processes = [...]schema.GroupVersionKind{deployments, cronJobs}
	// lasting are kinds of which an installation that does without leaves what is there: the ledger, and a class that the bank may keep itself.
	lasting = []string{"PersistentVolumeClaim", "PriorityClass"}
)

// Compare adds to the plan of objects what follows from what is in the cluster: what must be ended first, or else what Apply removes.
func (i *Installer) Compare(ctx context.Context, p *Plan, objects []*unstructured.Unstructured) (err error) {
	if p.Obstacles, err = i.Obstacles(ctx, objects); err == nil && len(p.Obstacles) == 0 {
		p.Removed, err = i.Stale(ctx, objects)
	}
	return err
}

// Stale says what Apply of objects removes: what an earlier one brought and these no longer hold, as a door that was closed, or
// processes and rights of another release. What somebody else applied is none of it.
func (i *Installer) Stale(ctx context.Context, objects []*unstructured.Unstructured) (all []Planned, err error) {
	found, err := i.stale(ctx, objects)
	for _, o := range found {
		all = append(all, Planned{o.GetKind(), o.GetNamespace(), o.GetName(), "an earlier installation brought it, and this one has none"})
	}
	return all, err
}

func (i *Installer) stale(ctx context.Context, objects []*unstructured.Unstructured) (all []*unstructured.Unstructured, err error) {
	for _, kind := range slices.Concat(processes[:], applied[:]) {
		if slices.Contains(lasting, kind.Kind) {
			continue
		}
		found, err := i.list(ctx, kind, v1alpha1.SystemNamespace, labelPartOf, Account)
		if err != nil {
			return nil, fmt.Errorf("look for what an earlier installation left: %w", err)
		}
		for _, o := range found {
			if appliedHere(o) && !slices.ContainsFunc(objects, sameObject(o)) {
				all = append(all, o)
			}
		}
	}
	return all, nil
}

func sameObject(a client.Object) func(*unstructured.Unstructured) bool {
	return func(b *unstructured.Unstructured) bool {
		return a.GetObjectKind().GroupVersionKind().Kind == b.GetKind() && client.ObjectKeyFromObject(a) == client.ObjectKeyFromObject(b)
	}
}

// appliedHere reports whether an Installer applied an object, and not helm or somebody's hand.
func appliedHere(o client.Object) bool {
	return slices.ContainsFunc(o.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == owner && e.Operation == metav1.ManagedFieldsOperationApply
	})
}
