package tenant

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// written answers an update with a version, and counts how often it was asked.
type written struct {
	client.Client
	version string
	times   int
}

func (w *written) Update(_ context.Context, o client.Object, _ ...client.UpdateOption) error {
	w.times++
	o.SetResourceVersion(w.version)
	return nil
}

// TestUpdateBehind: a Guard that a cache shows as it was before it was written is a conflict of which the API server is not asked. One that
// was seen since, that the write did not change, or that is shown so for long, is written.
func TestUpdateBehind(t *testing.T) {
	w := &written{}
	r := &Reconciler{client: w, replaced: map[string]replaced{}}
	asks := func(seen, answered string) (bool, error) {
		before := w.times
		w.version = answered
		err := r.update(t.Context(), &v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Namespace: "pay-dev", Name: v1alpha1.GuardName, ResourceVersion: seen}})
		return w.times > before, err
	}
	for _, tc := range []struct {
		what, seen, answered string
		want                 bool
	}{
		{"the first", "1", "2", true},
		{"as it was before that", "1", "", false},
		{"as it is", "2", "3", true},
		{"nothing changed", "3", "3", true},
		{"nothing changed, again", "3", "4", true},
	} {
		got, err := asks(tc.seen, tc.answered)
		if got != tc.want || got != (err == nil) || err != nil && !transient(err) {
			t.Errorf("%s: asked %v, %v; want %v", tc.what, got, err, tc.want)
		}
	}
	r.replaced["pay-dev"] = replaced{"3", time.Now().Add(-2 * cacheBehind)} // the cluster was restored from a backup
	if got, err := asks("3", "5"); !got || err != nil {
		t.Errorf("long after: asked %v, %v; want it written", got, err)
	}
}
