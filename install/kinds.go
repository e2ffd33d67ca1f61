package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

const (
	// resync is how often a kind is looked at even if no watch said anything, and soon while it is away: its deletion takes the
	// API server some seconds, and what follows waits for it.
	resync, soon = 30 * time.Second, 100 * time.Millisecond
)

// Gap is a time in which a kind was not served as built.
type Gap struct {
	// Name is that of the CustomResourceDefinition.
	Name string
	// Cause is missing, also while it is being deleted, or changed.
	Cause string
	// Noticed is when Ringfence saw it, Closed when the kind was served again as built.
	Noticed, Closed time.Time
}

// Kinds keeps CustomResourceDefinitions in place. It writes nothing while all is well. The objects that are gone with a
// definition it does not bring back: Guards are compiled anew by package tenant, and the others are the bank's to bring back.
type Kinds struct {
	// Client reads from a cache whose definitions went through Strip, or none.
	Client  client.Client
	Metrics *Metrics
	Log     *slog.Logger
	Now     func() time.Time
	// OnGap is told of each gap once it is closed. It must not block. Nil is nobody.
	OnGap func(Gap)

	want map[string]*apiextensionsv1.CustomResourceDefinition // by name; not changed after Read
	// One Reconcile runs at a time, and nobody else uses what follows.
	placed map[string]bool // those that this process saw as they must be
	open   map[string]Gap  // those that are not, since when
}

// Read tells Kinds what to keep: the definitions in tree.
func (k *Kinds) Read(tree fs.FS) error {
	all, err := read(tree)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("keep kinds in place: want definitions; found none")
	}
	k.want, k.placed, k.open = map[string]*apiextensionsv1.CustomResourceDefinition{}, map[string]bool{}, map[string]Gap{}
	for _, crd := range all {
		k.want[crd.Name] = crd
	}
	return nil
}

// Strip takes from other groups' definitions what nobody here reads, before a cache keeps them: a cluster may have
// hundreds, of up to a megabyte.
func Strip(group string) func(any) (any, error) {
	return func(o any) (any, error) {
		if crd, ok := o.(*apiextensionsv1.CustomResourceDefinition); ok {
			crd.ManagedFields = nil
			if crd.Spec.Group != group {
				crd.Annotations, crd.Spec, crd.Status = nil, apiextensionsv1.CustomResourceDefinitionSpec{}, apiextensionsv1.CustomResourceDefinitionStatus{}
			}
		}
		return o, nil
	}
}

// SetupWithManager registers the reconciler. Only the leader of several replicas runs it.
func (k *Kinds) SetupWithManager(mgr ctrl.Manager) error {
	mine := predicate.NewPredicateFuncs(func(o client.Object) bool { return k.want[o.GetName()] != nil })
	begin := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		for name := range k.want { // one that is missing has no event
			queue.Add(reconcile.Request{NamespacedName: client.ObjectKey{Name: name}})
		}
		return nil
	})
	return ctrl.NewControllerManagedBy(mgr).Named("kinds").For(&apiextensionsv1.CustomResourceDefinition{}, builder.WithPredicates(mine)).
		WatchesRawSource(begin).Complete(k)
}

// Reconcile puts one definition in place.
func (k *Kinds) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	want := k.want[req.Name]
	if want == nil {
		return ctrl.Result{}, nil
	}
	var have apiextensionsv1.CustomResourceDefinition
	err := k.Client.Get(ctx, req.NamespacedName, &have)
	switch {
	case apierrors.IsNotFound(err):
		k.notice(req.Name, "missing")
		err = k.Client.Create(ctx, want.DeepCopy())
	case err != nil:
	case have.DeletionTimestamp != nil: // nothing can call it back; it is made anew once it is gone
		k.notice(req.Name, "missing")
	case !same(want, &have):
		k.notice(req.Name, "changed")
		err = k.restore(ctx, want, &have)
	case !established(&have):
		k.notice(req.Name, "missing")
	default:
		k.close(req.Name)
		return ctrl.Result{RequeueAfter: resync}, nil
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) { // the cache is behind
		err = nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("put kind %s in place: %w", req.Name, err)
	}
	return ctrl.Result{RequeueAfter: soon}, nil
}

// restore writes the definition that is wanted over the one that is there.
func (k *Kinds) restore(ctx context.Context, want, have *apiextensionsv1.CustomResourceDefinition) error {
	update := have.DeepCopy()
	update.Spec = *want.Spec.DeepCopy()
	return k.Client.Update(ctx, update)
}

// notice begins a gap, where this process had the kind in place: what an older release left behind is none.
func (k *Kinds) notice(name, cause string) {
	k.Metrics.inPlace.Set(0)
	if _, ok := k.open[name]; !ok && k.placed[name] {
		k.open[name] = Gap{Name: name, Cause: cause, Noticed: k.Now()}
		k.Log.Error("a kind is not served as built and is being put back", "kind", name, "cause", cause)
	}
	delete(k.placed, name)
}

// close ends a gap: it is logged, counted and told.
func (k *Kinds) close(name string) {
	k.placed[name] = true
	if len(k.placed) == len(k.want) {
		k.Metrics.inPlace.Set(1)
	}
	gap, ok := k.open[name]
	if !ok {
		return
	}
	delete(k.open, name)
	gap.Closed = k.Now()
	seconds := gap.Closed.Sub(gap.Noticed).Seconds()
	object := "CustomResourceDefinition/" + name
	k.Metrics.gaps.WithLabelValues(object, gap.Cause).Inc()
	k.Metrics.gapSeconds.WithLabelValues(object).Add(seconds)
	k.Log.Warn("kind gap closed", "object", object, "cause", gap.Cause, "seconds", seconds)
	if k.OnGap != nil {
		k.OnGap(gap)
	}
}

// same reports whether a stored definition says what is wanted, and no more: a field that was added may open as much as
// one that was taken away. Both are compared as JSON, for the server writes defaults in a schema its own way.
func same(want, have *apiextensionsv1.CustomResourceDefinition) bool {
	a, wrong := canonical(want.Spec)
	b, bad := canonical(have.Spec)
	return wrong == nil && bad == nil && bytes.Equal(a, b)
}

// canonical is a spec as JSON with its keys sorted.
func canonical(spec apiextensionsv1.CustomResourceDefinitionSpec) ([]byte, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	var plain any
	if err := json.Unmarshal(text, &plain); err != nil {
		return nil, err
	}
	return json.Marshal(plain)
}
