package tenant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/image"
)

// Config is what a Reconciler needs beside a manager.
type Config struct {
	// Controls are the catalogue. Empty would make Guards that say nothing, under which everything is refused, so it is an error.
	Controls []control.Control
	// Now is the clock that ends egress and waivers. Required.
	Now func() time.Time
	// Log gets one line for each write. Required.
	Log *slog.Logger
	// Report is told of namespaces that are nobody's; see Notice. It is called from several goroutines and must not block.
	// Nil: nobody is told.
	Report func(Notice)
	// Accepted says which Platform is in force. Nil makes one of Controls.
	Accepted *Accepted
	// Images are the facts by which images are judged, nil where none can be read at the moment: then the Guards keep theirs.
	// A nil func is no facts at all: images are not judged, and Guards say nothing of them. See ImagesChanged.
	Images func() *image.Index
	// Poll is how often the server is asked whether a cordoned namespace is empty, and whether a missing network model has
	// come. Zero means 15 s.
	Poll time.Duration
}

// Notice says that a guarded namespace is neither a tenant's nor exempt. Each namespace is reported once by a process.
type Notice struct {
	Namespace string
	// Text says what was found and what to do.
	Text string
}

// Reconciler makes each tenant's namespaces what Plan says, and guards every other namespace that is not exempt. It is
// level-based: what was done is read from the cluster, nothing is remembered. One instance writes at a time; the manager's
// leader election sees to that.
type Reconciler struct {
	cfg    Config
	client client.Client
	cache  cache.Cache
	live   client.Reader
	mapper apimeta.RESTMapper
	tenant controller.Controller
	// facts tell the two controllers that the facts changed; each holds one event at most, for more say nothing more.
	facts [2]chan event.GenericEvent

	asking sync.Mutex // guards cilium
	cilium bool       // CiliumNetworkPolicy is watched

	mu       sync.Mutex                    // guards the fields below
	reported map[string]types.UID          // namespaces that Report was told of, by name
	lost     map[string]v1alpha1.GuardSpec // what Guards said that went with their kind, by namespace
	replaced map[string]replaced           // the Guard that was last replaced, by namespace
}

// New checks a configuration and lists all that it lacks.
func New(cfg Config) (*Reconciler, error) {
	var faults []error
	if len(cfg.Controls) == 0 {
		faults = append(faults, errors.New("controls: want the catalogue"))
	}
	if cfg.Now == nil {
		faults = append(faults, errors.New("now: want a clock"))
	}
	if cfg.Log == nil {
		faults = append(faults, errors.New("log: want a logger"))
	}
	if cfg.Report == nil {
		cfg.Report = func(Notice) {}
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 15 * time.Second
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("configure the tenant reconciler: %w", err)
	}
	if cfg.Accepted == nil {
		cfg.Accepted = NewAccepted(cfg.Controls)
	}
	r := &Reconciler{cfg: cfg, reported: map[string]types.UID{}, lost: map[string]v1alpha1.GuardSpec{}, replaced: map[string]replaced{}}
	for i := range r.facts {
		r.facts[i] = make(chan event.GenericEvent, 1)
	}
	return r, nil
}

// reconcileTenant brings one tenant to what it asks for.
func (r *Reconciler) reconcileTenant(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	t, err := find(ctx, r.client, "", req.Name, &v1alpha1.Tenant{})
	if err != nil || t == nil {
		return reconcile.Result{}, err
	}
	if t.DeletionTimestamp != nil {
		if ends, err := r.kindEnds(ctx); err != nil {
			return reconcile.Result{}, err
		} else if ends {
			return later(r.letGo(ctx, t))
		}
	}
	platform, err := r.platform(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	if platform == nil {
		return later(r.saveStatus(ctx, t, statusWithoutPlatform(t, r.cfg.Now())))
	}
	if t.DeletionTimestamp == nil && !slices.Contains(t.Finalizers, FinalizerTenant) {
		if err := r.setFinalizer(ctx, t, append(slices.Clone(t.Finalizers), FinalizerTenant)); err != nil {
			return later(err)
		}
	}
	in, err := r.gather(ctx, t, platform)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("gather tenant %s: %w", t.Name, err)
	}
	var outcomes []outcome
	var away error
	for _, plan := range Plan(in) {
		err := r.write(ctx, plan.Changes)
		if kindAway(err) { // the kind comes back once every Guard of it is let go, those of the other namespaces too
			away = err
			continue
		}
		if transient(err) {
			return later(err)
		}
		outcomes = append(outcomes, outcome{plan, err})
	}
	if away != nil {
		return later(away)
	}
	if err := r.showSights(ctx, in, outcomes); err != nil {
		return later(err)
	}
	if t.DeletionTimestamp != nil && len(outcomes) == 0 {
		return later(r.letGo(ctx, t))
	}
	if err := r.saveStatus(ctx, t, statusOf(t, outcomes, in.Now)); err != nil {
		return later(err)
	}
	return untilDeletion(t, r.again(outcomes, in.Now), in.Now), errorsOf(outcomes)
}

// again says when a tenant is looked at anew without any event: at the next end of an egress or a waiver, and every Poll while
// something that is not watched is waited for.
func (r *Reconciler) again(outcomes []outcome, now time.Time) reconcile.Result {
	var after time.Duration
	sooner := func(d time.Duration) {
		if after == 0 || d < after {
			after = d
		}
	}
	for _, o := range outcomes {
		if !o.Next.IsZero() {
			sooner(max(o.Next.Sub(now), time.Millisecond))
		}
		if o.Reason == ReasonCordoned || o.Reason == ReasonMoving || o.Reason == ReasonNetworkModelMissing {
			sooner(r.cfg.Poll)
		}
	}
	return reconcile.Result{RequeueAfter: after}
}

// transient reports an error that says the cache was behind: the next look decides better and nobody need be told.
func transient(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || ending(err)
}

// later turns such an error into another try and passes every other on.
func later(err error) (reconcile.Result, error) {
	if transient(err) {
		return reconcile.Result{RequeueAfter: 100 * time.Millisecond}, nil
	}
	if kindAway(err) { // before NotFound, which it is too, and which nobody would come back for
		return reconcile.Result{RequeueAfter: kindAwayPause}, nil
	}
	return reconcile.Result{}, client.IgnoreNotFound(err)
}

// setFinalizer replaces the finalizers of a tenant as it was seen.
func (r *Reconciler) setFinalizer(ctx context.Context, t *v1alpha1.Tenant, finalizers []string) error {
	if slices.Equal(t.Finalizers, finalizers) {
		return nil
	}
	before := t.DeepCopy()
	t.Finalizers = finalizers
	err := r.client.Patch(ctx, t, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil {
		return fmt.Errorf("set the finalizer of tenant %s: %w", t.Name, err)
	}
	return nil
}

// saveStatus writes a status that differs from the one there is.
func (r *Reconciler) saveStatus(ctx context.Context, t *v1alpha1.Tenant, status v1alpha1.TenantStatus) error {
	if equality.Semantic.DeepEqual(t.Status, status) {
		return nil
	}
	t.Status = status
	if err := r.client.Status().Update(ctx, t); err != nil {
		return fmt.Errorf("write the status of tenant %s: %w", t.Name, err)
	}
	return nil
}

// reconcileNamespace guards one namespace that is no tenant's, and lets go of the Guard of any that ends.
func (r *Reconciler) reconcileNamespace(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	ns, err := find(ctx, r.client, "", req.Name, &corev1.Namespace{})
	if ns == nil && err == nil {
		r.mu.Lock()
		delete(r.reported, req.Name)
		delete(r.lost, req.Name)
		delete(r.replaced, req.Name)
		r.mu.Unlock()
	}
	if err != nil || ns == nil {
		return reconcile.Result{}, err
	}
	guard, err := find(ctx, r.client, ns.Name, v1alpha1.GuardName, &v1alpha1.Guard{})
	if err != nil {
		return reconcile.Result{}, err
	}
	in := Input{Controls: r.cfg.Controls, Now: r.cfg.Now(), Last: r.recall(ns.Name, guard != nil && guard.DeletionTimestamp == nil)}
	in.Gated, in.Images = r.images()
	if in.Platform, err = r.platform(ctx); err != nil {
		return reconcile.Result{}, err
	}
	if in.Tenants, err = r.tenants(ctx); err != nil {
		return reconcile.Result{}, err
	}
	waiting := false
	if ns.DeletionTimestamp != nil && guard != nil && guard.DeletionTimestamp != nil {
		if waiting, err = r.held(ctx, ns.Name); err != nil {
			return reconcile.Result{}, err
		}
	}
	runs, err := r.runs(ctx, ns.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	if err := r.write(ctx, planUnowned(in, ns, guard, runs, waiting)); err != nil {
		return later(fmt.Errorf("guard namespace %s: %w", ns.Name, err))
	}
	r.report(ns, in)
	if waiting {
		return reconcile.Result{RequeueAfter: patience(in.Now.Sub(ns.DeletionTimestamp.Time))}, nil
	}
	return untilEnd(guard, in.Now), nil
}

// patience is how long it is waited before it is asked again whether something in a namespace needs its Guard, which has been ending for so
// long: a tenth of that. Asking takes a list of every kind, and a finalizer that nobody takes off keeps a namespace for ever.
func patience(ending time.Duration) time.Duration {
	return min(max(ending/10, time.Second), time.Minute)
}

// kubernetesNamespaces are in every cluster and nobody's; reporting them would be noise that nobody can act on.
var kubernetesNamespaces = []string{"default", "kube-public", "kube-node-lease"}

// report tells once of a namespace that is neither a tenant's nor exempt.
func (r *Reconciler) report(ns *corev1.Namespace, in Input) {
	if ns.DeletionTimestamp != nil || Exempt(in.Platform, ns.Name) || slices.Contains(kubernetesNamespaces, ns.Name) || owner(ns, in.Platform, in.Tenants) != nil {
		return
	}
	r.mu.Lock()
	known := r.reported[ns.Name] == ns.UID
	r.reported[ns.Name] = ns.UID
	r.mu.Unlock()
	if !known {
		r.cfg.Report(Notice{ns.Name, fmt.Sprintf("namespace %s is neither a tenant's nor exempt and is guarded by the Platform's settings alone; "+
			"fix: name it as an environment's namespace of a Tenant, or delete it, or add it to exemptNamespaces of the Platform", ns.Name)})
	}
}
