package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/policy/canary"
	"ringfence.dev/ringfence/policy/cel"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/tenant"
)

// The condition Proven of a Platform. Positive polarity: True is well.
//
//	True     Held         nothing to do
//	False    LetIn        an object was let in that must be refused: see the message, and what else decides at the API server
//	False    RefusedGood  an object was refused that must not be: report the message
//	Unknown  NotAsked     in one kind of namespace nothing that must be refused could be tried; see the message
const conditionProven = "Proven"

const (
	// canaryProducer is whose records runs are.
	canaryProducer = "canary"
	// canaryEvery is how often at least objects are tried, canarySettle how long what refuses must be left alone before they are tried
	// for a change, canaryApart how long two runs are apart at least, and canaryAfter how long after the start the first one is.
	canaryEvery, canarySettle, canaryApart, canaryAfter = time.Hour, 5 * time.Second, time.Minute, 30 * time.Second
	// canaryPatience is how many seconds what went wrong is tried again.
	canaryPatience = 3
)

// canaries tries again and again whether what must be refused is.
type canaries struct {
	cfg       canary.Config
	cache     client.Client
	mgr       ctrl.Manager
	catalogue *control.Catalogue
	controls  fs.FS
	accept    func(*v1alpha1.Platform) (*v1alpha1.Platform, error)
	evidence  *evidence // nil for none
	metrics   *canary.Metrics
	log       *slog.Logger
	woken     chan struct{}
	user      *atomic.Pointer[string]
	round     int

	every, after time.Duration
}

// addCanary has a manager try what must be refused.
func (s *Server) addCanary(mgr ctrl.Manager, accepted *tenant.Accepted) error {
	c := &canaries{cache: mgr.GetClient(), mgr: mgr, catalogue: s.catalogue, controls: s.cfg.Controls, accept: accepted.Of, evidence: s.evidence, metrics: s.canary, log: s.log, woken: make(chan struct{}, 1),
		user: &s.canaryUser, every: cmp.Or(s.cfg.CanaryEvery, canaryEvery), after: cmp.Or(s.cfg.CanaryAfter, canaryAfter)}
	c.cfg = canary.Config{Client: mgr.GetClient(), Now: s.cfg.Now, Patience: canaryPatience,
		Serves: func(k control.Kind) bool { yes, err := serves(mgr.GetRESTMapper(), k); return yes && err == nil }}
	return mgr.Add(c)
}

// prepare reads the cases, and asks who this process is: its dry runs are no findings of anybody's.
func (c *canaries) prepare(ctx context.Context) error {
	sets, err := cel.Lazy(c.catalogue)
	if err != nil {
		return err
	}
	cases, err := casefile.Created(c.catalogue, c.controls)
	if err != nil {
		return fmt.Errorf("read the cases of the catalogue: %w", err)
	}
	var all []canary.Case
	for _, one := range c.catalogue.Controls { // in order
		for _, o := range cases[one.ID] {
			all = append(all, canary.Case{Control: one.ID, Fails: len(o.Want) > 0, Object: o.Object.Value, APIVersion: o.Object.APIVersion(), Kind: o.Object.Kind()})
		}
	}
	planner := canary.NewPlanner(c.catalogue, all, policy.New(sets...))
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.cache.Create(ctx, review); err != nil {
		return fmt.Errorf("ask the API server who this is: %w", err)
	}
	c.user.Store(&review.Status.UserInfo.Username)
	c.cfg.Planner = planner
	return nil
}

// ofCanary reports whether findings are of an object that this process tried by dry run. Nobody else's are taken for one.
func (s *Server) ofCanary(fs []finding.Finding) bool {
	user := s.canaryUser.Load()
	if user == nil || len(fs) == 0 || fs[0].Observed == nil {
		return false
	}
	o := fs[0].Observed
	return o.DryRun && o.ImpersonatedUser == "" && o.User == *user && fs[0].Subject.Name == canary.Name
}

// Start tries until ctx ends.
func (c *canaries) Start(ctx context.Context) error {
	wake := func(any) {
		select {
		case c.woken <- struct{}{}:
		default:
		}
	}
	changed := func(a, b any) {
		before, ok := a.(client.Object)
		if after, is := b.(client.Object); ok && is && before.GetGeneration() == after.GetGeneration() {
			return // a status, or nothing
		}
		wake(b)
	}
	for _, o := range []client.Object{&v1alpha1.Platform{}, &admissionv1.ValidatingAdmissionPolicy{}, &admissionv1.ValidatingAdmissionPolicyBinding{}} {
		informer, err := c.mgr.GetCache().GetInformer(ctx, o)
		if err == nil {
			_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: wake, UpdateFunc: changed, DeleteFunc: wake})
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("watch what refuses: %w", err)
		}
	}
	c.loop(ctx)
	return nil
}

// loop tries at the start, each hour, and when what refuses was changed and left alone for a moment.
func (c *canaries) loop(ctx context.Context) {
	why := "start"
	apart, settle := min(canaryApart, c.every), min(canarySettle, c.every)
	pause(ctx, c.after)
	for ctx.Err() == nil {
		next := c.every
		err := c.run(ctx, why)
		switch {
		case errors.Is(err, errNotInForce):
			next = settle
		case err != nil && ctx.Err() == nil:
			c.log.Error("it could not be tried whether rules refuse", "err", err)
			next = apart
		case err == nil:
			why = "hourly"
			pause(ctx, apart)
		}
		select {
		case <-ctx.Done():
		case <-time.After(next):
		case <-c.woken:
			if why == "hourly" {
				why = "change"
			}
			pause(ctx, settle)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// errNotInForce is returned where nothing is in force that could refuse.
var errNotInForce = errors.New("the rules are not in force yet")

// run tries once and tells what came of it.
func (c *canaries) run(ctx context.Context, why string) error {
	var platform v1alpha1.Platform
	if err := c.cache.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &platform); err != nil {
		return errors.Join(errNotInForce, err)
	}
	inForce, _ := c.accept(&platform)
	if inForce == nil || !apimeta.IsStatusConditionTrue(platform.Status.Conditions, bundle.ConditionEnforced) {
		return errNotInForce
	}
	if c.cfg.Planner == nil {
		if err := c.prepare(ctx); err != nil {
			return err
		}
	}
	places, err := c.places(ctx, inForce)
	if err != nil {
		return err
	}
	r, err := canary.Do(ctx, c.cfg, canary.Places(places, c.round))
	if err != nil {
		return err
	}
	c.round++
	c.metrics.Set(r)
	c.tell(r, why)
	return c.report(ctx, r)
}

// places are all guarded namespaces, each with the Guard that it should have.
func (c *canaries) places(ctx context.Context, p *v1alpha1.Platform) (all []canary.Place, err error) {
	var namespaces corev1.NamespaceList
	var tenants v1alpha1.TenantList
	var guards v1alpha1.GuardList
	if err := errors.Join(c.cache.List(ctx, &namespaces), c.cache.List(ctx, &tenants), c.cache.List(ctx, &guards)); err != nil {
		return nil, fmt.Errorf("list namespaces, tenants and guards: %w", err)
	}
	stored := map[string]v1alpha1.GuardSpec{}
	for _, g := range guards.Items {
		if g.Name == v1alpha1.GuardName {
			stored[g.Namespace] = g.Spec
		}
	}
	for _, ns := range namespaces.Items {
		guard, guarded := stored[ns.Name]
		system := ns.Name == v1alpha1.SystemNamespace
		if !guarded || ns.DeletionTimestamp != nil || tenant.Exempt(p, ns.Name) && !system {
			continue
		}
		of := tenant.Of(tenants.Items, ns.Name)
		if system {
			of = nil
		} else if guard.Tenant != "" && (of == nil || of.Name != guard.Tenant) {
			continue // its tenant gave it up, or gets it
		}
		spec := tenant.Compile(c.catalogue.Controls, p, of, nil, ns.Name).Spec
		tenant.DropExpired(&spec, c.cfg.Now())
		spec.Images = guard.Images // which facts about images there are, only the Guard knows
		all = append(all, canary.Place{Namespace: ns.Name, Spec: spec, Labels: ns.Labels, Annotations: ns.Annotations})
	}
	return all, nil
}

// tell logs and records a run.
func (c *canaries) tell(r canary.Run, why string) {
	told := record.CanaryRun{Why: why, Held: r.Count(canary.Held), LetIn: r.Count(canary.LetIn), RefusedGood: r.Count(canary.RefusedGood), NotAsked: r.Count(canary.NotAsked), Proven: len(r.Proven)}
	for _, p := range r.Places {
		told.Namespaces = append(told.Namespaces, p.Namespace)
	}
	for _, t := range r.Tried {
		if t.Outcome == canary.Held {
			continue
		}
		told.Faults = append(told.Faults, record.CanaryFault{Namespace: t.Namespace, Control: t.Control, Kind: t.Kind, Outcome: t.Outcome, Detail: t.Detail})
		if t.Outcome != canary.NotAsked {
			c.log.Error("a rule does not do what it must", "control", t.Control, "namespace", t.Namespace, "kind", t.Kind, "outcome", t.Outcome, "detail", t.Detail)
		}
	}
	slices.SortStableFunc(told.Faults, func(a, b record.CanaryFault) int { // those that only could not be asked come last
		return rank(a.Outcome) - rank(b.Outcome)
	})
	c.log.Info("it was tried whether rules refuse", "why", why, "held", told.Held, "letIn", told.LetIn, "refusedGood", told.RefusedGood, "notAsked", told.NotAsked)
	if c.evidence == nil {
		return
	}
	made, err := record.Canary(told, c.catalogue.Digest, r.At)
	if err != nil {
		c.log.Error("what came of the canary is not recorded", "err", err)
		return
	}
	c.evidence.queue.Add(canaryProducer, made)
}

func rank(outcome string) int {
	return slices.Index([]string{canary.LetIn, canary.RefusedGood, canary.NotAsked}, outcome)
}

// report writes the condition, where it changes.
func (c *canaries) report(ctx context.Context, r canary.Run) error {
	var platform v1alpha1.Platform
	if err := c.cache.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &platform); err != nil {
		return client.IgnoreNotFound(err)
	}
	before := platform.DeepCopy()
	if !apimeta.SetStatusCondition(&platform.Status.Conditions, proven(r, platform.Generation)) {
		return nil
	}
	if err := c.cache.Status().Patch(ctx, &platform, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("write status of platform: %w", err)
	}
	return nil
}

// proven is the condition of a run. Its message holds no time: each hour says the same while all is well.
func proven(r canary.Run, generation int64) metav1.Condition {
	answered, silent := r.Answers()
	c := metav1.Condition{Type: conditionProven, Status: metav1.ConditionTrue, Reason: "Held", ObservedGeneration: generation,
		Message: fmt.Sprintf("%d controls refused an object that they alone refuse, in %d kinds of namespaces", len(r.Proven), len(answered))}
	worst := ""
	for _, t := range r.Tried {
		if t.Outcome == canary.LetIn || t.Outcome == canary.RefusedGood && worst != canary.LetIn {
			if worst != t.Outcome {
				worst = t.Outcome
				c.Message = fmt.Sprintf("%s %s in %s: %s", t.Control, t.Kind, t.Namespace, t.Detail)
			}
		}
	}
	switch {
	case worst == canary.LetIn:
		c.Status, c.Reason = metav1.ConditionFalse, "LetIn"
	case worst == canary.RefusedGood:
		c.Status, c.Reason = metav1.ConditionFalse, "RefusedGood"
	case len(silent) > 0:
		namespace := slices.Min(slices.Collect(maps.Keys(silent)))
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, "NotAsked", fmt.Sprintf("nothing that must be refused could be tried in %s: %s", namespace, silent[namespace])
	case len(answered) == 0:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, "NotAsked", "there is nothing to try: no control denies anything that could be sent"
	}
	return c
}
