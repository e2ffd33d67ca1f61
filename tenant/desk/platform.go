package desk

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// PatchPlatform applies the JSON merge patch that patch makes, in the user's name, and returns the Platform as it is then. The patch names the
// resourceVersion of the Platform it is given, at first of before, so that it is refused where somebody else was faster. Where
// only the status moved meanwhile, which Ringfence writes all the time, it is made again.
func (d *Desk) PatchPlatform(ctx context.Context, before *v1alpha1.Platform, patch func(*v1alpha1.Platform) ([]byte, error)) (*v1alpha1.Platform, error) {
	for now := before; ; {
		text, err := patch(now)
		if err != nil {
			return nil, err
		}
		p := &v1alpha1.Platform{}
		p.Name = v1alpha1.PlatformName
		err = d.client.Patch(ctx, p, client.RawPatch(types.MergePatchType, text), client.FieldOwner("ringfence-rollout"))
		if err == nil {
			return p, nil
		}
		if apierrors.IsConflict(err) {
			again, lost := d.Platform(ctx)
			if lost == nil && again.Generation == before.Generation && again.ResourceVersion != now.ResourceVersion {
				now = again
				continue
			}
		}
		return nil, fmt.Errorf("change the Platform: %w", said(err))
	}
}

// Guards are the Guards of all namespaces.
func (d *Desk) Guards(ctx context.Context) ([]v1alpha1.Guard, error) {
	var all v1alpha1.GuardList
	if err := d.client.List(ctx, &all); err != nil {
		return nil, fmt.Errorf("list Guards: %w", said(err))
	}
	return all.Items, nil
}
