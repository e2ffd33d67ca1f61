package tenant

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// resourceKind is one kind, by the plural that RBAC knows it by.
type resourceKind struct {
	schema.GroupVersionKind
	Resource string
}

func resourceOf(group, version, kind, resource string) resourceKind {
	return resourceKind{schema.GroupVersionKind{Group: group, Version: version, Kind: kind}, resource}
}

// workloadKinds are the kinds of which one object makes a namespace worth keeping: what runs, and what holds data.
var workloadKinds = []resourceKind{
	resourceOf("", "v1", "Pod", "pods"),
	resourceOf("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
	resourceOf("apps", "v1", "Deployment", "deployments"),
	resourceOf("apps", "v1", "StatefulSet", "statefulsets"),
	resourceOf("apps", "v1", "DaemonSet", "daemonsets"),
	resourceOf("apps", "v1", "ReplicaSet", "replicasets"),
	resourceOf("batch", "v1", "Job", "jobs"),
	resourceOf("batch", "v1", "CronJob", "cronjobs"),
	resourceOf("", "v1", "ReplicationController", "replicationcontrollers"),
}

// holdingKinds are the kinds that a native policy of ours may judge. While one object of them waits for a finalizer, its
// removal is an update which needs the Guard; a Pod always does, for Jobs and kubelets write it to the last.
var holdingKinds = append([]resourceKind{
	resourceOf("", "v1", "PodTemplate", "podtemplates"),
	resourceOf("", "v1", "Service", "services"),
	resourceOf("", "v1", "ConfigMap", "configmaps"),
	resourceOf("", "v1", "Secret", "secrets"),
	resourceOf("", "v1", "ServiceAccount", "serviceaccounts"),
	resourceOf("networking.k8s.io", "v1", "Ingress", "ingresses"),
	resourceOf("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
	resourceOf("rbac.authorization.k8s.io", "v1", "Role", "roles"),
	resourceOf("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
}, workloadKinds...)

// CacheByObject limits a manager's cache to what the Reconciler reads: of the kinds it writes whole, the objects with its
// label; of ServiceAccounts, those named default. An object that lost its label is found when it is written.
func CacheByObject() map[client.Object]cache.ByObject {
	own := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy})}
	return map[client.Object]cache.ByObject{
		&corev1.ResourceQuota{}:       own,
		&corev1.LimitRange{}:          own,
		&rbacv1.RoleBinding{}:         own,
		&rbacv1.ClusterRole{}:         own,
		&rbacv1.ClusterRoleBinding{}:  own,
		&networkingv1.NetworkPolicy{}: own,
		&corev1.ServiceAccount{}:      {Field: fields.OneTermEqualSelector("metadata.name", defaultAccount)},
	}
}

// gather reads all that Plan looks at, from the cache; only what runs in namespaces that are given up is asked of the server.
func (r *Reconciler) gather(ctx context.Context, t *v1alpha1.Tenant, platform *v1alpha1.Platform) (Input, error) {
	in := Input{Controls: r.cfg.Controls, Platform: platform, Tenant: t, Namespaces: map[string]Live{}, Now: r.cfg.Now()}
	in.Gated, in.Images = r.images()
	var err error
	if in.Tenants, err = r.tenants(ctx); err != nil {
		return in, err
	}
	if in.Cilium, err = r.watchCilium(ctx); err != nil {
		return in, err
	}
	wanted := map[string]bool{}
	if t.DeletionTimestamp == nil {
		for _, env := range t.Spec.Environments {
			wanted[NamespaceOf(t, env)] = true
		}
	}
	var namespaces corev1.NamespaceList
	if err := r.client.List(ctx, &namespaces, client.UnsafeDisableDeepCopy); err != nil { // nothing here writes to them
		return in, fmt.Errorf("list namespaces: %w", err)
	}
	for i := range namespaces.Items {
		ns := &namespaces.Items[i]
		if !wanted[ns.Name] && !mine(ns, t.Name) {
			continue
		}
		live, err := r.gatherNamespace(ctx, ns, in.Cilium)
		if err != nil {
			return in, fmt.Errorf("read namespace %s: %w", ns.Name, err)
		}
		if !wanted[ns.Name] {
			if live.Workloads, err = r.workloads(ctx, ns.Name); err != nil {
				return in, err
			}
		}
		in.Namespaces[ns.Name] = live
	}
	return in, r.gatherQuotas(ctx, in)
}

// gatherQuotas asks the server for the quotas of a divided total that is about to be divided anew; see quotasDiffer.
func (r *Reconciler) gatherQuotas(ctx context.Context, in Input) (err error) {
	if !quotasDiffer(in) {
		return nil
	}
	for name, live := range in.Namespaces {
		if live.Quota, err = find(ctx, r.live, name, limitsName, &corev1.ResourceQuota{}); err != nil {
			return fmt.Errorf("read the quota of namespace %s: %w", name, err)
		}
		in.Namespaces[name] = live
	}
	return nil
}

// gatherNamespace reads what Ringfence has written in one namespace.
func (r *Reconciler) gatherNamespace(ctx context.Context, ns *corev1.Namespace, cilium bool) (live Live, err error) {
	live = Live{Namespace: ns, Bindings: map[string]*rbacv1.RoleBinding{}}
	if live.Guard, err = find(ctx, r.client, ns.Name, v1alpha1.GuardName, &v1alpha1.Guard{}); err != nil {
		return live, err
	}
	if live.Account, err = find(ctx, r.client, ns.Name, defaultAccount, &corev1.ServiceAccount{}); err != nil {
		return live, err
	}
	if live.Quota, err = find(ctx, r.client, ns.Name, limitsName, &corev1.ResourceQuota{}); err != nil {
		return live, err
	}
	if live.Limits, err = find(ctx, r.client, ns.Name, limitsName, &corev1.LimitRange{}); err != nil {
		return live, err
	}
	if live.Policy, err = find(ctx, r.client, ns.Name, BaselineName, &networkingv1.NetworkPolicy{}); err != nil {
		return live, err
	}
	var waivers v1alpha1.WaiverList
	if err := r.client.List(ctx, &waivers, client.InNamespace(ns.Name)); err != nil {
		return live, err
	}
	live.Waivers = waivers.Items
	var elevations v1alpha1.ElevationList
	if err := r.client.List(ctx, &elevations, client.InNamespace(ns.Name)); err != nil {
		return live, err
	}
	live.Elevations = elevations.Items
	if live.Runs, err = r.runs(ctx, ns.Name); err != nil {
		return live, err
	}
	var all rbacv1.RoleBindingList
	if err := r.client.List(ctx, &all, client.InNamespace(ns.Name)); err != nil {
		return live, err
	}
	for i := range all.Items {
		if ours(all.Items[i].Name) {
			live.Bindings[all.Items[i].Name] = &all.Items[i]
		}
	}
	if cilium {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(ciliumKind)
		if live.CiliumPolicy, err = find(ctx, r.cache, ns.Name, BaselineName, u); err != nil {
			return live, err
		}
	}
	return live, nil
}

// find reads one object into o, nil where there is none. What it returns is the caller's to change.
func find[T client.Object](ctx context.Context, from client.Reader, namespace, name string, o T) (found T, err error) {
	err = from.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o)
	if apierrors.IsNotFound(err) {
		return found, nil
	}
	if err != nil {
		return found, err
	}
	return o, nil
}

// tenants are all of them, for who asked for a namespace first. They are the cache's own and must not be changed.
func (r *Reconciler) tenants(ctx context.Context) ([]v1alpha1.Tenant, error) {
	var all v1alpha1.TenantList
	if err := r.client.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	return all.Items, nil
}

// platform is the one Platform, nil where there is none.
func (r *Reconciler) platform(ctx context.Context) (*v1alpha1.Platform, error) {
	p, err := find(ctx, r.client, "", v1alpha1.PlatformName, &v1alpha1.Platform{})
	if err != nil {
		return nil, fmt.Errorf("read the Platform: %w", err)
	}
	p, _ = r.cfg.Accepted.Of(p) // what is wrong with it stands in its own status
	return p, nil
}

// workloads names the resource of one workload in a namespace, "" where there is none. It asks the server, for at most one
// object's metadata of each kind: a cache that is behind must not have a namespace deleted.
func (r *Reconciler) workloads(ctx context.Context, namespace string) (string, error) {
	for _, kind := range workloadKinds {
		found, err := r.any(ctx, kind, namespace, func(metav1.PartialObjectMetadata) bool { return true })
		if err != nil {
			return "", err
		}
		if found {
			return kind.Resource, nil
		}
	}
	return "", nil
}

// held reports whether something in an ending namespace may still need its Guard.
func (r *Reconciler) held(ctx context.Context, namespace string) (bool, error) {
	for _, kind := range holdingKinds {
		found, err := r.any(ctx, kind, namespace, func(o metav1.PartialObjectMetadata) bool {
			return kind.Kind == "Pod" || len(o.Finalizers) > 0
		})
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// any reports whether one object of a kind in a namespace is as asked. A kind that the server does not know has none.
func (r *Reconciler) any(ctx context.Context, kind resourceKind, namespace string, is func(metav1.PartialObjectMetadata) bool) (bool, error) {
	const page = 100 // metadata of an object is a few KB: a page stays under 1 MB
	list := &metav1.PartialObjectMetadataList{}
	for {
		next := list.Continue
		list = &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersionKind)
		err := r.live.List(ctx, list, client.InNamespace(namespace), client.Limit(page), client.Continue(next))
		if apimeta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("list %s in %s: %w", kind.Resource, namespace, err)
		}
		for _, o := range list.Items {
			if is(o) {
				return true, nil
			}
		}
		if list.Continue == "" {
			return false, nil
		}
	}
}
