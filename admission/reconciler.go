package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
)

const (
	// resync is how often the registration is looked at even if no watch said anything, soon when something is about to change.
	resync, soon = 30 * time.Second, 200 * time.Millisecond
	// shortest is the least time between two looks, whatever an Authority wants.
	shortest = 50 * time.Millisecond
	// mostChanges is how often in changesWithin a registration is put right that somebody changed. Who changes it more often is no person: another
	// version of Ringfence wants it differently, while an upgrade lasts or hangs, and both would undo what the other wrote as fast as they can.
	mostChanges, changesWithin = 10, 10 * time.Second
)

// errQuarrel says that a registration was put right too often to do it again now.
var errQuarrel = errors.New("it is changed again and again")

// Reconciler keeps the registration in place: deleted or edited by hand, it comes back. It is first made when every namespace
// that it asks about has a Guard, the door can decide and the API server reaches it; a Platform that is deleted removes nothing.
type Reconciler struct {
	// Client reads from a cache; Live asks the cluster.
	Client client.Client
	Live   client.Reader
	// Catalogue has the controls of the door and no others. Without controls nothing is registered.
	Catalogue *control.Catalogue
	// At is where the API server finds the door.
	At Client
	// Authority issues the door's certificates, and Holder tells this process from other replicas.
	Authority *Authority
	Holder    string
	// CA is asked for the certificates to trust, in PEM, where there is no Authority.
	CA func() ([]byte, error)
	// Able is nil where the door can decide.
	Able    func() error
	Metrics *Metrics
	Log     *slog.Logger
	Now     func() time.Time
	// Unguarded is the first namespace that would be refused everything because it has no Guard, or "".
	Unguarded func(context.Context, *v1alpha1.Platform) (string, error)
	// OnGap is told of each gap once it is closed: of which registration, whether it was missing or changed, when that was
	// noticed and when it was back. It must not block. Nil is nobody.
	OnGap func(kind, name, cause string, noticed, closed time.Time)
	// Accept gives the Platform that is in force where that is not the one it is given; see tenant.Accepted. Nil accepts all.
	Accept func(*v1alpha1.Platform) (*v1alpha1.Platform, error)
	// Fills reports whether the door is to fill in what is absent, see FillRegistration. Nil is no.
	Fills func(*v1alpha1.Platform) (bool, error)
	// Tags says that the door resolves tags where the Platform wants that.
	Tags bool

	filling atomic.Pointer[admissionv1.MutatingWebhookConfiguration] // as this process put it in place

	mu     sync.Mutex // guards what follows
	looked bool       // at what is registered
	placed *admissionv1.ValidatingWebhookConfiguration

	// One Reconcile runs at a time.
	unreached string      // what was last said of it
	changes   []time.Time // when a registration was put right that somebody had changed, the oldest first
}

// SetupWithManager registers the reconciler for the Platform and the registration.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	one := reconcile.Request{NamespacedName: client.ObjectKey{Name: v1alpha1.PlatformName}}
	platform := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request { return []reconcile.Request{one} })
	begin := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(one) // there may be neither a Platform nor a registration: certificates are renewed all the same
		return nil
	})
	// Every replica keeps its own certificate trusted, so each runs this, also those that do not lead.
	return ctrl.NewControllerManagedBy(mgr).Named("webhook").WithOptions(controller.Options{NeedLeaderElection: new(false)}).For(&v1alpha1.Platform{}).
		Watches(&admissionv1.ValidatingWebhookConfiguration{}, platform, builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
			return o.GetName() == RegistrationName
		}))).
		Watches(&admissionv1.MutatingWebhookConfiguration{}, platform, builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
			return o.GetName() == FillName
		}))).
		WatchesRawSource(begin).
		Complete(r)
}

// Reconcile puts the registration in place, and turns the certificate where that is due.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	platform := &v1alpha1.Platform{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, platform); apierrors.IsNotFound(err) {
		platform = nil
	} else if err != nil {
		return ctrl.Result{}, fmt.Errorf("read platform: %w", err)
	}
	if platform != nil && r.Accept != nil {
		platform, _ = r.Accept(platform) // nil, as if there were none, where no earlier one is known
	}
	again := resync
	if r.Authority != nil {
		wanted, err := r.Authority.Turn()
		if err != nil {
			return ctrl.Result{}, err
		}
		again = min(again, max(wanted, shortest))
	}
	waits, err := r.registerAll(ctx, platform)
	switch {
	case errors.Is(err, errQuarrel):
		again = min(again, changesWithin/mostChanges)
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err): // another replica wrote; look again once the cache has caught up
		again = min(again, soon)
	case err != nil:
		return ctrl.Result{}, err
	case waits:
		again = min(again, soon)
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// registerAll keeps both registrations in place, and says to the Authority what they trust.
func (r *Reconciler) registerAll(ctx context.Context, p *v1alpha1.Platform) (waits bool, err error) {
	ca, fresh, waits, err := r.register(ctx, p)
	if err != nil {
		return waits, err
	}
	f, err := r.fill(ctx, p, ca)
	if err != nil {
		return waits, err
	}
	if ca == nil {
		ca, fresh = f.trusts, true
	}
	if r.Authority != nil && ca != nil {
		r.Authority.Trusted(ca, fresh && (f.trusts == nil || f.fresh))
	}
	return waits || f.waits, nil
}

// register writes what is missing or changed. ca is what the registration trusts, nil where there is none; fresh says that it was
// only just made. waits says that it is too early to. Without a Platform only the certificates of what is registered are kept
// as they must be.
func (r *Reconciler) register(ctx context.Context, p *v1alpha1.Platform) (ca []byte, fresh, waits bool, err error) {
	stored := &admissionv1.ValidatingWebhookConfiguration{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: RegistrationName}, stored); apierrors.IsNotFound(err) {
		stored = nil
	} else if err != nil {
		return nil, false, false, fmt.Errorf("read the registration: %w", err)
	}
	if len(r.Catalogue.Controls) == 0 && stored != nil && p != nil {
		if err := r.Client.Delete(ctx, stored); client.IgnoreNotFound(err) != nil {
			return nil, false, false, fmt.Errorf("remove the registration: %w", err)
		}
		stored = nil
	}
	if stored == nil && (!r.had() || p == nil || len(r.Catalogue.Controls) == 0) {
		if waits, err := r.early(ctx, p); waits || err != nil {
			return nil, false, waits && p != nil && len(r.Catalogue.Controls) > 0, err
		}
	}
	if ca, err = r.authorities(ctx); err != nil {
		return nil, false, false, err
	}
	return ca, stored == nil, false, r.put(ctx, r.wanted(p, stored, ca), stored)
}

// had reports whether this process had the registration in place.
func (r *Reconciler) had() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.placed != nil
}

// wanted is the registration as it must be.
func (r *Reconciler) wanted(p *v1alpha1.Platform, stored *admissionv1.ValidatingWebhookConfiguration, ca []byte) *admissionv1.ValidatingWebhookConfiguration {
	if p == nil {
		want := stored.DeepCopy()
		for i := range want.Webhooks {
			want.Webhooks[i].ClientConfig.CABundle = ca
		}
		return want
	}
	var exempt []string
	for _, ns := range p.Spec.ExemptNamespaces {
		exempt = append(exempt, string(ns))
	}
	return Registration(r.Catalogue, exempt, r.At, ca)
}

// early reports whether a first registration has nothing to ask, or would refuse what nobody can decide yet, or not be heard.
func (r *Reconciler) early(ctx context.Context, p *v1alpha1.Platform) (bool, error) {
	r.mu.Lock()
	r.looked = true
	r.mu.Unlock()
	if p == nil || len(r.Catalogue.Controls) == 0 || r.Able != nil && r.Able() != nil {
		return true, nil
	}
	if bare, err := r.Unguarded(ctx, p); bare != "" || err != nil {
		return true, err
	}
	reached, err := r.reached(ctx)
	return !reached, err
}

func (r *Reconciler) authorities(ctx context.Context) ([]byte, error) {
	if r.Authority != nil {
		return r.publish(ctx)
	}
	ca, err := r.CA()
	if err == nil && len(ca) == 0 {
		err = errors.New("the file of certificates to trust is empty")
	}
	return ca, err
}

// put writes the registration where the stored one differs. What this process had put in place and somebody changed or took
// away is a gap.
func (r *Reconciler) put(ctx context.Context, want, stored *admissionv1.ValidatingWebhookConfiguration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	noticed, cause := r.Now(), ""
	switch {
	case stored != nil && same(want, stored):
		r.looked, r.placed = true, want
		return nil
	case stored == nil:
		cause = "missing"
	case r.placed != nil && !same(r.placed, stored):
		cause = "changed"
	}
	if cause == "changed" && r.quarrels(noticed) {
		return errQuarrel
	}
	write := want.DeepCopy()
	var err error
	if stored == nil {
		err = r.Client.Create(ctx, write)
	} else {
		write.ResourceVersion = stored.ResourceVersion
		err = r.Client.Update(ctx, write)
	}
	if err != nil {
		return fmt.Errorf("register the webhook: %w", err)
	}
	if r.placed != nil && cause != "" {
		r.closed("ValidatingWebhookConfiguration", RegistrationName, cause, noticed)
	}
	r.looked, r.placed = true, want
	return nil
}

// quarrels counts a change that is to be put right, and reports whether there were too many of late.
func (r *Reconciler) quarrels(now time.Time) bool {
	r.changes = slices.DeleteFunc(r.changes, func(at time.Time) bool { return now.Sub(at) >= changesWithin || at.After(now) })
	if len(r.changes) >= mostChanges {
		return true
	}
	r.changes = append(r.changes, now)
	return false
}

// same reports whether the stored registration says what is wanted.
func same(want, stored *admissionv1.ValidatingWebhookConfiguration) bool {
	for k, v := range want.Labels {
		if stored.Labels[k] != v {
			return false
		}
	}
	for k, v := range want.Annotations {
		if stored.Annotations[k] != v {
			return false
		}
	}
	return stored.DeletionTimestamp == nil && equality.Semantic.DeepEqual(want.Webhooks, stored.Webhooks)
}

// closed logs, counts and tells of a gap that has ended.
func (r *Reconciler) closed(kind, name, cause string, noticed time.Time) {
	back := r.Now()
	seconds := back.Sub(noticed).Seconds()
	r.Metrics.gaps.WithLabelValues(cause).Inc()
	r.Metrics.gapTime.Add(seconds)
	r.Log.Warn("webhook gap closed", "object", kind+"/"+name, "cause", cause, "seconds", seconds)
	if r.OnGap != nil {
		r.OnGap(kind, name, cause, noticed, back)
	}
}

// Ready is nil where the API server can be served: its registration trusts what the door shows, or there is none yet that
// could be asked about.
func (r *Reconciler) Ready() error {
	r.mu.Lock()
	looked, placed := r.looked, r.placed != nil
	r.mu.Unlock()
	switch {
	case !looked:
		return errors.New("what is registered was not read yet")
	case r.Authority == nil || !placed && r.filling.Load() == nil:
		return nil
	}
	return r.Authority.Ready()
}
