package bundle

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
)

// The condition Enforced of a Platform, with what a user does about each reason. Positive polarity: True is well.
//
//	True   InPlace           nothing to do
//	False  WaitingForGuards  wait; some namespaces have no Guard yet, and binding the policies now would refuse everything there
//	False  CompileFailed     report the message; the last good policies stay in place
//	False  ApplyFailed       see the message; it is tried again until it succeeds
const (
	ConditionEnforced = "Enforced"

	reasonInPlace          = "InPlace"
	reasonWaitingForGuards = "WaitingForGuards"
	reasonCompileFailed    = "CompileFailed"
	reasonApplyFailed      = "ApplyFailed"
)

// resync is how often the policies are looked at even if no watch said anything.
const resync = 30 * time.Second

// Gap is a time in which a policy or binding was not in place as built.
type Gap struct {
	// Object is the kind and name, for instance ValidatingAdmissionPolicy/ringfence-workloads-deny.
	Object string
	// APIVersion, Kind and Name are the object's.
	APIVersion, Kind, Name string
	// Cause is missing or changed.
	Cause string
	// Noticed is when Ringfence saw it, Closed when it was back.
	Noticed, Closed time.Time
}

// Reconciler keeps the bundles of a catalogue in place: deleted or edited by hand, they come back. It is level-based,
// writes nothing while all is well, and never installs a policy that is not known to compile.
type Reconciler struct {
	// Client reads from a cache; Live asks the cluster.
	Client    client.Client
	Live      client.Reader
	Catalogue *control.Catalogue
	// Compiled says that every policy of the catalogue is known to compile, as those of a release are, which its tests compiled. Those of
	// any other catalogue are compiled before anything is written, which takes some ten seconds of a core.
	Compiled bool
	// Beside are objects that are not made of controls and must stand beside the bundles: ValidatingAdmissionPolicies, their
	// bindings and ClusterRoles, all with Ringfence's label. They are kept in place with the bundles.
	Beside []client.Object
	// Serves reports whether the cluster serves a kind. Bundles of kinds that it does not serve are left out: compiling them
	// would cost the API server seconds for nothing. Nil is yes.
	Serves func(control.Kind) (bool, error)
	// NewKinds tells that Serves may say yes where it said no. Nil is nobody: it is asked every resync.
	NewKinds chan event.GenericEvent
	// Fills says which door fills in what is absent. Nil is the native one where the cluster serves it.
	Fills func() (Door, error)
	// Metrics counts gaps; see NewMetrics.
	Metrics *Metrics
	Log     *slog.Logger
	Now     func() time.Time
	// OnGap is told of each gap once it is closed. It must not block. Nil is nobody.
	OnGap func(Gap)
	// Accept gives the Platform that is in force, and what is wrong with the one it is given: the last one without a mistake
	// then, nil where there was none. Nil accepts all.
	Accept func(*v1alpha1.Platform) (*v1alpha1.Platform, error)

	inPlaceFor atomic.Int64 // the generation of the Platform for which this process last put all in place; 0 is none

	mu         sync.Mutex // guards what follows: all bundles, the last good set, and what each was built for
	bundledFor []string
	bundled    []Bundle
	builtFor   []string
	built      []client.Object
	builtOf    []Bundle
	builtDoor  Door // that of the mutations among built
}

// SetupWithManager registers the reconciler for the Platform and every policy and binding that Ringfence owns.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	platform := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: v1alpha1.PlatformName}}}
	})
	all := ctrl.NewControllerManagedBy(mgr).Named("bundles").For(&v1alpha1.Platform{})
	if mutates, err := r.mutates(); err != nil {
		return err
	} else if mutates {
		all = all.Watches(&admissionv1.MutatingAdmissionPolicy{}, platform).Watches(&admissionv1.MutatingAdmissionPolicyBinding{}, platform)
	}
	if r.NewKinds != nil {
		all = all.WatchesRawSource(source.Channel(r.NewKinds, platform))
	}
	return all.
		Watches(&admissionv1.ValidatingAdmissionPolicy{}, platform).
		Watches(&admissionv1.ValidatingAdmissionPolicyBinding{}, platform).
		Watches(&rbacv1.ClusterRole{}, platform, builder.WithPredicates(predicate.NewPredicateFuncs(ofEveryTenant))).
		Complete(r)
}

// ofEveryTenant reports whether a ClusterRole is one of those that are the same for all tenants. Those of single tenants, whose names go on
// with a colon, are package tenant's to write and to remove.
func ofEveryTenant(o client.Object) bool {
	return strings.HasPrefix(o.GetName(), v1alpha1.ManagedBy+"-")
}

// Reconcile puts in place what is missing or changed and removes what is stale. Without a Platform nothing is installed,
// and nothing that was is removed: a Platform deleted by mistake must not open the cluster.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var platform v1alpha1.Platform
	if err := r.Client.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &platform); err != nil {
		if apierrors.IsNotFound(err) {
			return ctrl.Result{RequeueAfter: resync}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read platform: %w", err)
	}
	inForce, mistake := r.accepted(&platform)
	if inForce == nil { // what is installed stays, and nothing is
		return ctrl.Result{RequeueAfter: resync}, r.refuse(ctx, &platform, mistake)
	}
	reason, message, err := r.enforce(ctx, inForce)
	if reported := r.report(ctx, &platform, inForce.Generation, reason, message, mistake); err == nil {
		err = reported
	}
	switch {
	case apierrors.IsConflict(err): // the cache is behind; look again once it has caught up
		return ctrl.Result{RequeueAfter: soon}, nil
	case err != nil:
		return ctrl.Result{}, err
	case reason == reasonWaitingForGuards:
		return ctrl.Result{RequeueAfter: soon}, nil
	}
	if door, err := r.door(); door == WaitingDoor && err == nil { // the condition says when it is there
		return ctrl.Result{RequeueAfter: waiting}, nil
	}
	return ctrl.Result{RequeueAfter: resync}, nil
}

// soon is when to look again at what is about to change.
const soon = 200 * time.Millisecond

// waiting is when to look again at a webhook that is not registered yet.
const waiting = time.Second

// enforce puts all in place and says how it went: a reason of the condition Enforced, a message, and an error where trying
// again may help.
func (r *Reconciler) enforce(ctx context.Context, p *v1alpha1.Platform) (reason, message string, err error) {
	bundles, builtFor, err := r.bundles(p)
	if err != nil {
		return reasonApplyFailed, err.Error(), err
	}
	mutates, err := r.mutates()
	if err != nil {
		return reasonApplyFailed, err.Error(), err
	}
	door, err := r.door()
	if err != nil {
		return reasonApplyFailed, err.Error(), err
	}
	want, err := r.wanted(bundles, p, door, builtFor)
	if err != nil {
		return reasonCompileFailed, err.Error(), nil
	}
	have, err := r.existing(ctx, mutates)
	if err != nil {
		return reasonApplyFailed, err.Error(), err
	}
	if len(have) == 0 {
		bare, err := Unguarded(ctx, r.Client, p)
		if err != nil {
			return reasonApplyFailed, err.Error(), err
		} else if bare != "" {
			return reasonWaitingForGuards, fmt.Sprintf("namespace %s has no Guard yet; the policies are bound once every namespace has one", bare), nil
		}
	}
	// What was in place for this very Platform and catalogue and is not there now is a gap, also where it began before this
	// process did; what a new Platform or catalogue wants otherwise is none.
	was := meta.FindStatusCondition(p.Status.Conditions, ConditionEnforced)
	installed := was != nil && was.Status == metav1.ConditionTrue && was.ObservedGeneration == p.Generation && p.Status.CatalogueDigest == r.Catalogue.Digest
	// The Platform is read from a cache, which may not know yet what was reported a moment ago.
	installed = installed || r.inPlaceFor.Load() == p.Generation
	novel := func(client.Object) bool { return !installed }
	if r.inPlaceFor.Load() != p.Generation && installed {
		novel = r.doorChanged(p, door)
	}
	if err := r.apply(ctx, Plan(want, have), novel); err != nil {
		return reasonApplyFailed, err.Error(), err
	}
	r.inPlaceFor.Store(p.Generation)
	return reasonInPlace, fmt.Sprintf("%d controls in %d policies, bindings and roles", len(r.Catalogue.Controls), len(want)), nil
}

// bundles are those that the cluster has a use for, and builtFor what they depend on beside the catalogue.
func (r *Reconciler) bundles(p *v1alpha1.Platform) (bundles []Bundle, builtFor []string, err error) {
	for _, ns := range p.Spec.ExemptNamespaces {
		builtFor = append(builtFor, string(ns))
	}
	for _, b := range r.all(builtFor, p.Spec.Contact) {
		needed, err := r.needed(b)
		if err != nil {
			return nil, nil, err
		}
		if needed {
			bundles = append(bundles, b)
		}
	}
	for _, b := range bundles {
		builtFor = append(builtFor, b.Policy.Name)
	}
	builtFor = append(builtFor, p.Spec.Contact)
	return bundles, builtFor, nil
}

// wanted is all that must be in place, a policy before its binding. Policies that are not known to compile are compiled before they are
// given out; the last good set is reused while what it was built for stays the same.
func (r *Reconciler) wanted(bundles []Bundle, p *v1alpha1.Platform, door Door, builtFor []string) ([]client.Object, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.built != nil && r.builtDoor == door && slices.Equal(r.builtFor, builtFor) {
		return r.built, nil
	}
	var built []client.Object
	for _, o := range r.Beside {
		built = append(built, withDefaults(o))
	}
	for _, o := range mutations(r.Catalogue, p.Spec.ExemptNamespaces, door) { // first: they are small, and take effect late
		if policy, ok := o.(*admissionv1.ValidatingAdmissionPolicy); ok {
			ask(policy, p.Spec.Contact)
		}
		built = append(built, o)
	}
	for _, b := range bundles {
		built = append(built, b.Policy, b.Binding)
	}
	if !r.Compiled {
		if err := compileAll(built); err != nil {
			return nil, err
		}
	}
	r.built, r.builtFor, r.builtOf, r.builtDoor = built, builtFor, bundles, door
	return built, nil
}

// compileAll compiles every policy among objects. The error names each expression that does not compile.
func compileAll(objects []client.Object) error {
	var all errgroup.Group
	all.SetLimit(runtime.GOMAXPROCS(0))
	for _, o := range objects {
		switch p := o.(type) {
		case *admissionv1.ValidatingAdmissionPolicy:
			all.Go(func() error { return Compile(p) })
		case *admissionv1.MutatingAdmissionPolicy:
			all.Go(func() error { return CompileMutation(p) })
		}
	}
	return all.Wait()
}

// needed reports whether a bundle is of use in this cluster.
func (r *Reconciler) needed(b Bundle) (bool, error) {
	if len(b.Optional) == 0 || r.Serves == nil {
		return true, nil
	}
	for _, k := range b.Optional {
		if yes, err := r.Serves(k); yes || err != nil {
			return yes, err
		}
	}
	return false, nil
}

// existing are the objects that carry Ringfence's label, by kind and name.
func (r *Reconciler) existing(ctx context.Context, mutates bool) (map[string]client.Object, error) {
	have := map[string]client.Object{}
	lists := []client.ObjectList{
		&admissionv1.ValidatingAdmissionPolicyList{}, &admissionv1.ValidatingAdmissionPolicyBindingList{}, &rbacv1.ClusterRoleList{},
	}
	if mutates {
		lists = append(lists, &admissionv1.MutatingAdmissionPolicyList{}, &admissionv1.MutatingAdmissionPolicyBindingList{})
	}
	for _, list := range lists {
		if err := r.Client.List(ctx, list, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}); err != nil {
			return nil, fmt.Errorf("list what is in place: %w", err)
		}
		err := meta.EachListItem(list, func(o apiruntime.Object) error {
			if _, isRole := o.(*rbacv1.ClusterRole); !isRole || ofEveryTenant(o.(client.Object)) {
				have[key(o.(client.Object))] = o.(client.Object)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list what is in place: %w", err)
		}
	}
	return have, nil
}

// Unguarded is the first namespace that would be refused everything because it has no Guard, or "".
func Unguarded(ctx context.Context, from client.Reader, p *v1alpha1.Platform) (string, error) {
	var namespaces corev1.NamespaceList
	if err := from.List(ctx, &namespaces); err != nil {
		return "", fmt.Errorf("list namespaces: %w", err)
	}
	var guards v1alpha1.GuardList
	if err := from.List(ctx, &guards); err != nil {
		return "", fmt.Errorf("list guards: %w", err)
	}
	guarded := map[string]bool{}
	for _, g := range guards.Items {
		guarded[g.Namespace] = true
	}
	if !guarded[v1alpha1.SystemNamespace] { // its Guard decides about what lies in no namespace, namespaces among it
		return v1alpha1.SystemNamespace, nil
	}
	for _, ns := range namespaces.Items {
		exempt := slices.Contains(v1alpha1.PinnedExemptNamespaces, ns.Name) || slices.Contains(p.Spec.ExemptNamespaces, v1alpha1.NamespaceName(ns.Name))
		if !exempt && !guarded[ns.Name] && ns.DeletionTimestamp == nil {
			return ns.Name, nil
		}
	}
	return "", nil
}

// key is kind/name.
func key(o client.Object) string {
	switch o.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		return "ValidatingAdmissionPolicy/" + o.GetName()
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		return "ValidatingAdmissionPolicyBinding/" + o.GetName()
	case *admissionv1.MutatingAdmissionPolicy:
		return "MutatingAdmissionPolicy/" + o.GetName()
	case *admissionv1.MutatingAdmissionPolicyBinding:
		return "MutatingAdmissionPolicyBinding/" + o.GetName()
	default:
		return "ClusterRole/" + o.GetName()
	}
}

// Change is one write that brings the cluster nearer to what is wanted.
type Change struct {
	// Object is what to write, or what to delete where Delete is set.
	Object client.Object
	// Stored is the object in the cluster; nil where it is missing.
	Stored client.Object
	Delete bool
}

// Plan is the writes that make have into want, in the order of want, and deletions last. It is empty where all is well.
func Plan(want []client.Object, have map[string]client.Object) []Change {
	var changes []Change
	wanted := map[string]bool{}
	for _, o := range want {
		wanted[key(o)] = true
		if stored := have[key(o)]; stored == nil || !same(o, stored) {
			changes = append(changes, Change{Object: o.DeepCopyObject().(client.Object), Stored: stored})
		}
	}
	for name, o := range have {
		if !wanted[name] {
			changes = append(changes, Change{Object: o, Stored: o, Delete: true})
		}
	}
	slices.SortStableFunc(changes, func(a, b Change) int {
		switch {
		case a.Delete == b.Delete:
			return 0
		case a.Delete:
			return 1
		}
		return -1
	})
	return changes
}

// same reports whether the stored object says what is wanted, in spec and in the labels and annotations that we write.
func same(want, stored client.Object) bool {
	for k, v := range want.GetLabels() {
		if stored.GetLabels()[k] != v {
			return false
		}
	}
	for k, v := range want.GetAnnotations() {
		if stored.GetAnnotations()[k] != v {
			return false
		}
	}
	if stored.GetDeletionTimestamp() != nil {
		return false
	}
	switch want := want.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		stored, ok := stored.(*admissionv1.ValidatingAdmissionPolicy)
		return ok && equality.Semantic.DeepEqual(want.Spec, stored.Spec)
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		stored, ok := stored.(*admissionv1.ValidatingAdmissionPolicyBinding)
		return ok && equality.Semantic.DeepEqual(want.Spec, stored.Spec)
	case *admissionv1.MutatingAdmissionPolicy:
		stored, ok := stored.(*admissionv1.MutatingAdmissionPolicy)
		return ok && equality.Semantic.DeepEqual(want.Spec, stored.Spec)
	case *admissionv1.MutatingAdmissionPolicyBinding:
		stored, ok := stored.(*admissionv1.MutatingAdmissionPolicyBinding)
		return ok && equality.Semantic.DeepEqual(want.Spec, stored.Spec)
	case *rbacv1.ClusterRole:
		stored, ok := stored.(*rbacv1.ClusterRole)
		return ok && equality.Semantic.DeepEqual(want.Rules, stored.Rules) && stored.AggregationRule == nil
	}
	return false
}

// apply makes the changes. Each is the end of a gap, logged, counted and told, but for what was not there before: what is novel.
func (r *Reconciler) apply(ctx context.Context, changes []Change, novel func(client.Object) bool) error {
	noticed := r.Now()
	for _, c := range changes {
		wrote, err := r.write(ctx, c)
		if err != nil {
			return fmt.Errorf("put %s in place: %w", key(c.Object), err)
		}
		if wrote && !c.Delete && !novel(c.Object) {
			r.closed(c, noticed)
		}
	}
	return nil
}

// create makes an object. A ClusterRole is made by PUT, which names it: so Ringfence's own account may be allowed to make these roles
// and no others beyond its own rights (the verb escalate, by name).
func (r *Reconciler) create(ctx context.Context, o client.Object) error {
	if _, ok := o.(*rbacv1.ClusterRole); !ok {
		return r.Client.Create(ctx, o)
	}
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(o), &rbacv1.ClusterRole{})
	if apierrors.IsNotFound(err) {
		return r.Client.Update(ctx, o)
	}
	if err == nil {
		return apierrors.NewAlreadyExists(rbacv1.Resource("clusterroles"), o.GetName())
	}
	return err
}

// write makes one change and reports whether there was something to write: the cache that the plan was made from may be
// behind, and an object of our name may be there without our label.
func (r *Reconciler) write(ctx context.Context, c Change) (wrote bool, err error) {
	switch {
	case c.Delete:
		return true, client.IgnoreNotFound(r.Client.Delete(ctx, c.Object))
	case c.Stored != nil:
		c.Object.SetResourceVersion(c.Stored.GetResourceVersion())
		return true, r.Client.Update(ctx, c.Object)
	}
	want := c.Object.DeepCopyObject().(client.Object)
	if err := r.create(ctx, c.Object); !apierrors.IsAlreadyExists(err) {
		return true, err
	}
	stored := want.DeepCopyObject().(client.Object)
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(want), stored); err != nil {
		return false, err
	}
	if same(want, stored) {
		return false, nil
	}
	want.SetResourceVersion(stored.GetResourceVersion())
	return true, r.Client.Update(ctx, want)
}
