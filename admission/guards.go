package admission

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/policy"
)

// Cached are the Guards that a cache of the cluster holds. Each is made ready for rules once, when it is first asked for after
// a change: a Guard may have 1 MB. It is safe for many goroutines.
type Cached struct {
	reader client.Reader

	mu    sync.Mutex // guards ready
	ready map[string]prepared
}

// prepared is a Guard and what it was made of.
type prepared struct {
	uid     types.UID
	version string
	guard   *policy.Guard
}

var _ Guards = (*Cached)(nil)

// NewCached makes Guards of a reader that answers from memory.
func NewCached(reader client.Reader) *Cached {
	return &Cached{reader: reader, ready: map[string]prepared{}}
}

// Guard is that of a namespace, as the cache has it now.
func (c *Cached) Guard(ctx context.Context, namespace string) (*policy.Guard, error) {
	var stored v1alpha1.Guard
	err := c.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.GuardName}, &stored, client.UnsafeDisableDeepCopy) // nothing writes to it
	c.mu.Lock()
	defer c.mu.Unlock()
	if apierrors.IsNotFound(err) {
		delete(c.ready, namespace)
		return nil, fmt.Errorf("read the Guard of namespace %s: %w", namespace, ErrNoGuard)
	}
	if err != nil {
		return nil, fmt.Errorf("read the Guard of namespace %s: %w", namespace, err)
	}
	if have, ok := c.ready[namespace]; ok && have.uid == stored.UID && have.version == stored.ResourceVersion {
		return have.guard, nil
	}
	guard, err := policy.NewGuard(stored.Spec)
	if err != nil {
		return nil, fmt.Errorf("read the Guard of namespace %s: %w", namespace, err)
	}
	c.ready[namespace] = prepared{stored.UID, stored.ResourceVersion, guard}
	return guard, nil
}
