package desk

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// Platform is the Platform of the cluster; ErrNotThere where it has none.
func (d *Desk) Platform(ctx context.Context) (*v1alpha1.Platform, error) {
	p := &v1alpha1.Platform{}
	if err := d.client.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, p); err != nil {
		return nil, fmt.Errorf("read the Platform: %w", said(err))
	}
	return p, nil
}

// PatchPlatform applies a JSON merge patch to the Platform in the user's name, and returns the Platform as it is then. A patch that names a
// resourceVersion is refused where somebody else was faster.
func (d *Desk) PatchPlatform(ctx context.Context, patch []byte) (*v1alpha1.Platform, error) {
	p := &v1alpha1.Platform{}
	p.Name = v1alpha1.PlatformName
	if err := d.client.Patch(ctx, p, client.RawPatch(types.MergePatchType, patch), client.FieldOwner("ringfence-rollout")); err != nil {
		return nil, fmt.Errorf("change the Platform: %w", said(err))
	}
	return p, nil
}

// Guards are the Guards of all namespaces.
func (d *Desk) Guards(ctx context.Context) ([]v1alpha1.Guard, error) {
	var all v1alpha1.GuardList
	if err := d.client.List(ctx, &all); err != nil {
		return nil, fmt.Errorf("list Guards: %w", said(err))
	}
	return all.Items, nil
}
