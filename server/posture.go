package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/record"
)

const (
	// postureProducer is whose records postures are.
	postureProducer = "posture"
	// postureLook is how often the state is looked at though no watch said anything, and posturePromise how long nobody may have
	// looked before that is recorded as silence: what was enforced meanwhile is unknown.
	postureLook, posturePromise = 30 * time.Second, 2 * time.Minute
	// postureSettle is how long postures are apart at least: under churn the state at the end of it is recorded.
	postureSettle = 3 * time.Second
	// postureKept bounds how long a posture may take into the ledger.
	postureKept = 30 * time.Second
)

// errBehind is returned by look where the cache knows another Platform than the API server.
var errBehind = errors.New("the cache is behind the API server")

// postures records what is enforced where: at the start, when it changes, and as a sign of life. Nothing of it writes to the
// cluster.
type postures struct {
	evidence *evidence
	cache    client.Reader
	live     client.Reader
	bundles  *bundle.Reconciler
	controls []string // sorted
	log      *slog.Logger
	woken    chan struct{} // has room for one: what comes meanwhile is one look

	digest string    // of what was recorded last; empty before the first
	at     time.Time // when that was
}

// addPostures has a manager record postures.
func (s *Server) addPostures(mgr ctrl.Manager, bundles *bundle.Reconciler) error {
	p := &postures{evidence: s.evidence, cache: mgr.GetClient(), live: mgr.GetAPIReader(), bundles: bundles, log: s.log, woken: make(chan struct{}, 1)}
	for _, c := range s.catalogue.Controls {
		p.controls = append(p.controls, c.ID)
	}
	slices.Sort(p.controls)
	return mgr.Add(watcher{p, mgr})
}

// watcher is postures as a manager runs it, once its caches know the cluster.
type watcher struct {
	*postures
	mgr ctrl.Manager
}

// Start watches until ctx ends.
func (w watcher) Start(ctx context.Context) error {
	wake := func(any) {
		select {
		case w.woken <- struct{}{}:
		default:
		}
	}
	on := cache.ResourceEventHandlerFuncs{AddFunc: wake, UpdateFunc: func(_, o any) { wake(o) }, DeleteFunc: wake}
	for _, o := range []client.Object{&v1alpha1.Platform{}, &v1alpha1.Guard{}, &corev1.Namespace{}, &admissionv1.ValidatingAdmissionPolicy{},
		&admissionv1.ValidatingAdmissionPolicyBinding{}} {
		informer, err := w.mgr.GetCache().GetInformer(ctx, o)
		if err == nil {
			_, err = informer.AddEventHandler(on)
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("watch what is enforced: %w", err)
		}
	}
	w.run(ctx)
	return nil
}

// run looks until ctx ends: at once where something may have changed after a quiet time, else when postureSettle is over.
func (p *postures) run(ctx context.Context) {
	for ctx.Err() == nil {
		next := postureLook
		err := p.look(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, bundle.ErrNotBuilt), errors.Is(err, errBehind): // a matter of seconds; if not, of a silence
			next = postureSettle
		default:
			p.log.Warn("what is enforced could not be recorded; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(postureSettle - time.Since(p.at)):
		}
		select {
		case <-ctx.Done():
		case <-time.After(next):
		case <-p.woken:
		}
	}
}

// look records a posture where it is the first, another than the last, or due as a sign of life; else it says that somebody
// looked. It counts only where the API server answers, and with the Platform that the cache knows: a cache whose server is gone goes
// on answering.
func (p *postures) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, postureKept)
	defer cancel()
	var platform v1alpha1.Platform
	if err := p.live.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &platform); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read platform: %w", err)
	}
	state, err := p.state(ctx)
	if err != nil {
		return err
	}
	if state.Generation != platform.Generation {
		return errBehind
	}
	queue, now := p.evidence.queue, time.Now()
	why := "change"
	if p.digest == "" {
		why = "start"
	}
	r, digest, err := record.Posture(state, why, now)
	if err == nil && digest == p.digest {
		if now.Sub(p.at) < record.PostureEvery {
			queue.Beat(postureProducer)
			return nil
		}
		r, digest, err = record.Posture(state, "alive", now)
	}
	if err != nil {
		return err
	}
	if p.digest == "" { // before the first one, so that the time without stands before it in the ledger
		queue.Promise(postureProducer, posturePromise)
	}
	if err := queue.Put(ctx, postureProducer, r); err != nil {
		return err
	}
	p.digest, p.at = digest, now
	return nil
}

// state reads what is enforced where. Without a Platform nobody keeps policies in place, and none is named.
func (p *postures) state(ctx context.Context) (record.PostureState, error) {
	s := record.PostureState{Catalogue: p.evidence.catalogue, Pinned: v1alpha1.PinnedExemptNamespaces, Controls: p.controls, Actions: map[string][]finding.Action{}}
	var platform v1alpha1.Platform
	err := p.cache.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &platform)
	switch {
	case err == nil:
		s.Generation = platform.Generation
		for _, namespace := range platform.Spec.ExemptNamespaces {
			s.Exempt = append(s.Exempt, string(namespace))
		}
		var standings []bundle.Standing
		if standings, err = p.bundles.Standings(ctx, &platform); err != nil {
			return s, fmt.Errorf("see whether the policies are in place: %w", err)
		}
		for _, b := range standings {
			s.Bundles = append(s.Bundles, record.PostureBundle{Name: b.Name, What: b.What, ClusterScoped: b.ClusterScoped, Controls: b.Controls})
		}
	case !apierrors.IsNotFound(err):
		return s, fmt.Errorf("read platform: %w", err)
	}
	var guards v1alpha1.GuardList
	var namespaces corev1.NamespaceList
	if err := errors.Join(p.cache.List(ctx, &guards, client.UnsafeDisableDeepCopy), p.cache.List(ctx, &namespaces, client.UnsafeDisableDeepCopy)); err != nil {
		return s, fmt.Errorf("list namespaces and their Guards: %w", err) // both only read
	}
	for i := range guards.Items {
		if g := &guards.Items[i]; g.Name == v1alpha1.GuardName {
			s.Actions[g.Namespace] = actions(p.controls, g.Spec.Actions)
		}
	}
	for i := range namespaces.Items {
		ns := &namespaces.Items[i]
		judged := !slices.Contains(v1alpha1.PinnedExemptNamespaces, ns.Name) && !slices.Contains(s.Exempt, ns.Name)
		if s.Actions[ns.Name] == nil && judged && ns.DeletionTimestamp == nil {
			s.Unguarded = append(s.Unguarded, ns.Name)
		}
	}
	return s, nil
}

// actions are those of a Guard, in the order of controls. One that it does not name denies.
func actions(controls []string, of map[string]v1alpha1.Action) []finding.Action {
	out := make([]finding.Action, len(controls))
	for i, id := range controls {
		out[i] = finding.Deny
		if a := finding.Action(of[id]); a != "" {
			out[i] = a
		}
	}
	return out
}
