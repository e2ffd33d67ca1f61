package desk

import (
	"context"
	"fmt"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// readable are the objects of a resource that the user may get by name, as the API server's own rules for him name them. It takes no
// right but that to ask, which every signed-in user has.
func (d *Desk) readable(ctx context.Context, apiGroup, resource string) ([]string, error) {
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}
	if err := d.client.Create(ctx, review); err != nil {
		return nil, fmt.Errorf("ask the API server what you may read: %w", said(err))
	}
	var names []string
	for _, rule := range review.Status.ResourceRules {
		if slices.Contains(rule.Verbs, "get") && slices.Contains(rule.APIGroups, apiGroup) && slices.Contains(rule.Resources, resource) {
			names = append(names, rule.ResourceNames...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// visible are the objects of a resource that the user may see, by name, and whether these are all there are: all that options choose
// for whoever may list them, those that he may get by name for everybody else.
func visible[T, U any, P pointer[T], L listOf[U]](ctx context.Context, d *Desk, apiGroup, resource string, items func(L) []T, options ...client.ListOption) (all []T, everybody bool, err error) {
	page := L(new(U))
	err = d.client.List(ctx, page, options...)
	switch {
	case err == nil:
		all, everybody = items(page), true
	case !apierrors.IsForbidden(err):
		return nil, false, fmt.Errorf("list %s: %w", resource, said(err))
	default:
		names, err := d.readable(ctx, apiGroup, resource)
		if err != nil {
			return nil, false, err
		}
		for _, name := range names {
			one := P(new(T))
			if err := d.client.Get(ctx, client.ObjectKey{Name: name}, one); apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
				continue // it went since, or the right did
			} else if err != nil {
				return nil, false, fmt.Errorf("read %s of %s: %w", name, resource, said(err))
			}
			all = append(all, *one)
		}
	}
	byName[T, P](all)
	return all, everybody, nil
}

// Namespaces are the namespaces of tenants that the user may see, by name, and whether these are all there are: whoever may list
// namespaces gets everybody's, everybody else his own.
func (d *Desk) Namespaces(ctx context.Context) (all []corev1.Namespace, everybody bool, err error) {
	all, everybody, err = visible(ctx, d, "", "namespaces", func(page *corev1.NamespaceList) []corev1.Namespace { return page.Items }, client.HasLabels{v1alpha1.LabelTenant})
	return slices.DeleteFunc(all, func(ns corev1.Namespace) bool { return ns.Labels[v1alpha1.LabelTenant] == "" }), everybody, err
}

// Tenants are those that the user may see, by name: all for whoever may list them, his own for everybody else.
func (d *Desk) Tenants(ctx context.Context) (all []v1alpha1.Tenant, err error) {
	all, _, err = visible(ctx, d, v1alpha1.GroupVersion.Group, "tenants", func(page *v1alpha1.TenantList) []v1alpha1.Tenant { return page.Items })
	return all, err
}

// Tenant is one tenant.
func (d *Desk) Tenant(ctx context.Context, name string) (*v1alpha1.Tenant, error) {
	return read[v1alpha1.Tenant](ctx, d, "tenant", "", name)
}

// Cordon stops what is new in a tenant, or with nil lets it go on, and returns the tenant as it is then.
func (d *Desk) Cordon(ctx context.Context, name string, cordon *v1alpha1.Cordon) (*v1alpha1.Tenant, error) {
	return d.change(ctx, name, "cordon", func(t *v1alpha1.Tenant) { t.Spec.Cordon = cordon })
}

// Offboard asks in the user's own name to end a tenant.
func (d *Desk) Offboard(ctx context.Context, name string, o v1alpha1.Offboarding) (*v1alpha1.Tenant, error) {
	who, err := d.Who(ctx)
	if err != nil {
		return nil, err
	}
	o.Requester, o.RequesterObject, o.Approver = who.Name, who.Object, ""
	return d.change(ctx, name, "offboard", func(t *v1alpha1.Tenant) { t.Spec.Offboarding = &o })
}

// ApproveOffboarding approves in the user's own name what another person asked for.
func (d *Desk) ApproveOffboarding(ctx context.Context, name string) (*v1alpha1.Tenant, error) {
	user, err := d.User(ctx)
	if err != nil {
		return nil, err
	}
	t, err := d.Tenant(ctx, name)
	if err != nil {
		return nil, err
	}
	switch o := t.Spec.Offboarding; {
	case o == nil:
		return nil, fmt.Errorf("offboard tenant %s: %w: nobody asked for it", name, ErrRefused)
	case o.Approver != "":
		return nil, fmt.Errorf("offboard tenant %s: %w: %s has approved it", name, ErrRefused, o.Approver)
	}
	return d.write(ctx, t, "offboard", func(t *v1alpha1.Tenant) { t.Spec.Offboarding.Approver = user })
}

// StopOffboarding takes a request or an approval back: rights come again.
func (d *Desk) StopOffboarding(ctx context.Context, name string) (*v1alpha1.Tenant, error) {
	return d.change(ctx, name, "stop offboarding", func(t *v1alpha1.Tenant) { t.Spec.Offboarding = nil })
}

// change reads a tenant and writes it, so that nobody's change in between is lost.
func (d *Desk) change(ctx context.Context, name, what string, to func(*v1alpha1.Tenant)) (*v1alpha1.Tenant, error) {
	t, err := d.Tenant(ctx, name)
	if err != nil {
		return nil, err
	}
	return d.write(ctx, t, what, to)
}

// write writes a tenant as it was seen, and is refused where somebody changed what it asks for since. Where only its status moved, which
// Ringfence writes, it is written all the same.
func (d *Desk) write(ctx context.Context, seen *v1alpha1.Tenant, what string, to func(*v1alpha1.Tenant)) (*v1alpha1.Tenant, error) {
	for now := seen; ; {
		next := now.DeepCopy()
		to(next)
		err := d.client.Patch(ctx, next, client.MergeFromWithOptions(now, client.MergeFromWithOptimisticLock{}))
		if err == nil {
			return next, nil
		}
		if apierrors.IsConflict(err) {
			again, lost := d.Tenant(ctx, seen.Name)
			if lost == nil && again.UID == seen.UID && again.Generation == seen.Generation && again.ResourceVersion != now.ResourceVersion {
				now = again
				continue
			}
		}
		return nil, fmt.Errorf("%s tenant %s: %w", what, seen.Name, said(err))
	}
}

// Contents counts what a namespace holds by kind, of what a tenant's end would take: workloads, claims and Secrets. What the user may
// not list is -1.
func (d *Desk) Contents(ctx context.Context, namespace string) (map[string]int, error) {
	counts := map[string]int{}
	for kind, list := range contents() {
		switch err := d.client.List(ctx, list, client.InNamespace(namespace)); {
		case apierrors.IsForbidden(err):
			counts[kind] = -1
		case err != nil:
			return nil, fmt.Errorf("list %s in %s: %w", kind, namespace, said(err))
		default:
			counts[kind] = len(list.Items)
		}
	}
	return counts, nil
}

// contents are the lists of Contents, of metadata alone.
func contents() map[string]*metav1.PartialObjectMetadataList {
	out := map[string]*metav1.PartialObjectMetadataList{}
	for kind, group := range map[string]string{"Deployment": "apps", "StatefulSet": "apps", "DaemonSet": "apps", "CronJob": "batch", "Job": "batch", "Pod": "", "PersistentVolumeClaim": "", "Secret": ""} {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind + "List"})
		out[kind] = list
	}
	return out
}
