package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// workers is how many tenants, and how many namespaces, are worked on at once. Each has one request under way: where the API server is busy with
// others, so many are Ringfence's share of it, and by that a rollback reaches every Guard the sooner (docs/benchmarks.md, a roll-out). Priority
// and fairness bound what they take.
const workers = 64

// slowest is the longest pause between two tries of what cannot be written; controller-runtime's own is 1,000 s, which is
// long for a team that waits for its namespace.
const slowest = 30 * time.Second

// SetupWithManager registers the two controllers, tenant and namespace, with mgr. Its scheme must know v1alpha1 and the
// built-in kinds, and its cache must leave metadata.managedFields on Namespaces; see CacheByObject.
func (r *Reconciler) SetupWithManager(mgr manager.Manager) error {
	r.client, r.cache, r.live, r.mapper = mgr.GetClient(), mgr.GetCache(), mgr.GetAPIReader(), mgr.GetRESTMapper()
	opts := func(f reconcile.Func) controller.Options {
		retry := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, slowest)
		return controller.Options{Reconciler: f, MaxConcurrentReconciles: workers, RateLimiter: retry}
	}
	var err error
	if r.tenant, err = controller.New("tenant", mgr, opts(r.reconcileTenant)); err != nil {
		return fmt.Errorf("set up the tenant controller: %w", err)
	}
	namespace, err := controller.New("namespace", mgr, opts(r.reconcileNamespace))
	if err != nil {
		return fmt.Errorf("set up the namespace controller: %w", err)
	}
	watch := func(c controller.Controller, o client.Object, h handler.EventHandler) {
		if err == nil {
			err = c.Watch(source.Kind(r.cache, o, h))
		}
	}
	to := handler.EnqueueRequestsFromMapFunc
	watch(r.tenant, &v1alpha1.Tenant{}, &handler.EnqueueRequestForObject{})
	watch(r.tenant, &v1alpha1.Tenant{}, r.sharing())
	watch(r.tenant, &v1alpha1.Platform{}, to(r.allTenants))
	watch(r.tenant, &corev1.Namespace{}, to(r.tenantsOfNamespace))
	for _, o := range []client.Object{&v1alpha1.Guard{}, &v1alpha1.Waiver{}, &v1alpha1.Elevation{}, &corev1.ServiceAccount{}, &corev1.ResourceQuota{}, &corev1.LimitRange{},
		&networkingv1.NetworkPolicy{}, &rbacv1.RoleBinding{}} {
		watch(r.tenant, o, to(r.tenantOfObject))
	}
	for _, o := range []client.Object{&rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}} {
		watch(r.tenant, o, to(tenantOfSight))
	}
	watch(namespace, &corev1.Namespace{}, &handler.EnqueueRequestForObject{})
	watch(namespace, &v1alpha1.Platform{}, to(r.allNamespaces))
	watch(namespace, &v1alpha1.Tenant{}, to(namespacesOfTenant))
	watch(namespace, &v1alpha1.Tenant{}, namingTenants())
	watch(namespace, &v1alpha1.Guard{}, to(func(_ context.Context, o client.Object) []reconcile.Request {
		return []reconcile.Request{named(o.GetNamespace())}
	}))
	if err == nil {
		err = errors.Join(r.followClock(mgr), r.watchImages(namespace))
	}
	if err != nil {
		return fmt.Errorf("watch for the tenant controllers: %w", err)
	}
	return nil
}

func named(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
}

func (r *Reconciler) allTenants(ctx context.Context, _ client.Object) (all []reconcile.Request) {
	tenants, err := r.tenants(ctx)
	if err != nil {
		r.cfg.Log.Error("a change of the Platform reaches tenants at their next event only", "err", err)
	}
	for _, t := range tenants {
		all = append(all, named(t.Name))
	}
	return all
}

func (r *Reconciler) allNamespaces(ctx context.Context, _ client.Object) (all []reconcile.Request) {
	var namespaces corev1.NamespaceList
	if err := r.client.List(ctx, &namespaces, client.UnsafeDisableDeepCopy); err != nil {
		r.cfg.Log.Error("a change of the Platform reaches namespaces at their next event only", "err", err)
	}
	for _, ns := range namespaces.Items {
		all = append(all, named(ns.Name))
	}
	return all
}

// tenantsOfNamespace are the owner of a namespace and everyone who asks for it: it may have become free.
func (r *Reconciler) tenantsOfNamespace(ctx context.Context, o client.Object) (all []reconcile.Request) {
	tenants, err := r.tenants(ctx)
	if err != nil {
		r.cfg.Log.Error("a change of a namespace reaches its tenant at the next event only", "namespace", o.GetName(), "err", err)
	}
	for i := range tenants {
		t := &tenants[i]
		if o.GetLabels()[v1alpha1.LabelTenant] == t.Name || o.GetAnnotations()[AnnotationCreatedBy] == t.Name || environmentOf(t, o.GetName()) != nil {
			all = append(all, named(t.Name))
		}
	}
	return all
}

// tenantOfObject is the tenant of the namespace that an object is in. Of RoleBindings, policies and accounts most are
// nobody's business here.
func (r *Reconciler) tenantOfObject(ctx context.Context, o client.Object) []reconcile.Request {
	switch o.(type) {
	case *rbacv1.RoleBinding:
		if !ours(o.GetName()) {
			return nil
		}
	case *networkingv1.NetworkPolicy, *unstructured.Unstructured:
		if o.GetName() != BaselineName {
			return nil
		}
	case *corev1.ServiceAccount:
		if o.GetName() != defaultAccount {
			return nil
		}
	}
	ns, err := find(ctx, r.client, "", o.GetNamespace(), &corev1.Namespace{})
	if err != nil || ns == nil {
		return nil
	}
	if owner := ns.Labels[v1alpha1.LabelTenant]; owner != "" {
		return []reconcile.Request{named(owner)} // what is in it is nobody else's business
	}
	return r.tenantsOfNamespace(ctx, ns)
}

// namespacesOfTenant are the namespaces that a tenant asks for: whether they are anybody's may have changed.
func namespacesOfTenant(_ context.Context, o client.Object) (all []reconcile.Request) {
	t, ok := o.(*v1alpha1.Tenant)
	if !ok {
		return nil
	}
	for _, env := range t.Spec.Environments {
		all = append(all, named(NamespaceOf(t, env)))
	}
	return all
}

// sharing looks at the tenants that claim something which a tenant claimed or claims now, when that one changes or goes: whose it is may be
// another's by now. A new tenant is younger than those that are there, and takes nothing from them.
func (r *Reconciler) sharing() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	look := func(ctx context.Context, q queue, changed ...client.Object) {
		var theirs []map[string]bool
		for _, o := range changed {
			if t, ok := o.(*v1alpha1.Tenant); ok {
				theirs = append(theirs, claims(t))
			}
		}
		tenants, err := r.tenants(ctx)
		if err != nil {
			r.cfg.Log.Error("a change of a tenant reaches those that claim the same at their next event only", "tenant", changed[0].GetName(), "err", err)
		}
		for i := range tenants {
			if t := &tenants[i]; t.Name != changed[0].GetName() && contend(claims(t), theirs) {
				q.Add(named(t.Name))
			}
		}
	}
	return handler.Funcs{
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { look(ctx, q, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() {
				look(ctx, q, e.ObjectOld, e.ObjectNew)
			}
		},
	}
}

// contend reports whether a tenant claims something that others claim, one of them for itself.
func contend(mine map[string]bool, theirs []map[string]bool) bool {
	for name, alone := range mine {
		if slices.ContainsFunc(theirs, func(all map[string]bool) bool { also, both := all[name]; return both && (alone || also) }) {
			return true
		}
	}
	return false
}

// gathering is how long the Guard that names all tenants waits for more of them: an estate that is onboarded at once does not write it
// a thousand times.
const gathering = time.Second

// namingTenants looks at that Guard when what tenants ask for changes.
func namingTenants() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	soon := func(q queue) { q.AddAfter(named(v1alpha1.SystemNamespace), gathering) }
	return handler.Funcs{
		CreateFunc: func(_ context.Context, _ event.CreateEvent, q queue) { soon(q) },
		DeleteFunc: func(_ context.Context, _ event.DeleteEvent, q queue) { soon(q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() {
				soon(q)
			}
		},
	}
}

// watchCilium reports whether the cluster knows CiliumNetworkPolicy, and begins to watch it once it does.
func (r *Reconciler) watchCilium(context.Context) (bool, error) {
	r.asking.Lock()
	defer r.asking.Unlock()
	if r.cilium {
		return true, nil
	}
	_, err := r.mapper.RESTMapping(ciliumKind.GroupKind(), ciliumKind.Version)
	if apimeta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for CiliumNetworkPolicy: %w", err)
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(ciliumKind)
	if err := r.tenant.Watch(source.Kind[client.Object](r.cache, u, handler.EnqueueRequestsFromMapFunc(r.tenantOfObject))); err != nil {
		return false, fmt.Errorf("watch CiliumNetworkPolicy: %w", err)
	}
	r.cilium = true
	return true, nil
}
