package desk

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/identity"
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

// Namespaces are the namespaces of tenants that the user may see, by name, and whether these are all there are: whoever may list
// namespaces gets everybody's, everybody else his own.
func (d *Desk) Namespaces(ctx context.Context) (all []corev1.Namespace, everybody bool, err error) {
	var list corev1.NamespaceList
	err = d.client.List(ctx, &list, client.HasLabels{v1alpha1.LabelTenant})
	switch {
	case err == nil:
		all, everybody = list.Items, true
	case !apierrors.IsForbidden(err):
		return nil, false, fmt.Errorf("list namespaces: %w", said(err))
	default:
		names, err := d.readable(ctx, "", "namespaces")
		if err != nil {
			return nil, false, err
		}
		for _, name := range names {
			var ns corev1.Namespace
			if err := d.client.Get(ctx, client.ObjectKey{Name: name}, &ns); apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
				continue // it went since, or the right did
			} else if err != nil {
				return nil, false, fmt.Errorf("read namespace %s: %w", name, said(err))
			}
			if ns.Labels[v1alpha1.LabelTenant] != "" {
				all = append(all, ns)
			}
		}
	}
	slices.SortFunc(all, func(a, b corev1.Namespace) int { return strings.Compare(a.Name, b.Name) })
	return all, everybody, nil
}

// Tenants are those that the user may see, by name: all for whoever may list them, his own for everybody else.
func (d *Desk) Tenants(ctx context.Context) (all []v1alpha1.Tenant, err error) {
	var list v1alpha1.TenantList
	err = d.client.List(ctx, &list)
	switch {
	case err == nil:
		all = list.Items
	case !apierrors.IsForbidden(err):
		return nil, fmt.Errorf("list tenants: %w", said(err))
	default:
		names, err := d.readable(ctx, v1alpha1.GroupVersion.Group, "tenants")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			var t v1alpha1.Tenant
			if err := d.client.Get(ctx, client.ObjectKey{Name: name}, &t); apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
				continue
			} else if err != nil {
				return nil, fmt.Errorf("read tenant %s: %w", name, said(err))
			}
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b v1alpha1.Tenant) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Tenant is one tenant.
func (d *Desk) Tenant(ctx context.Context, name string) (*v1alpha1.Tenant, error) {
	t := &v1alpha1.Tenant{}
	if err := d.client.Get(ctx, client.ObjectKey{Name: name}, t); err != nil {
		return nil, fmt.Errorf("read tenant %s: %w", name, said(err))
	}
	return t, nil
}

// Cordon stops what is new in a tenant, or with nil lets it go on, and returns the tenant as it is then.
func (d *Desk) Cordon(ctx context.Context, name string, cordon *v1alpha1.Cordon) (*v1alpha1.Tenant, error) {
	return d.change(ctx, name, "cordon", func(t *v1alpha1.Tenant) { t.Spec.Cordon = cordon })
}

// Offboard asks in the user's own name to end a tenant.
func (d *Desk) Offboard(ctx context.Context, name string, o v1alpha1.Offboarding) (*v1alpha1.Tenant, error) {
	user, object, err := d.person(ctx)
	if err != nil {
		return nil, err
	}
	o.Requester, o.RequesterObject, o.Approver = user, object, ""
	return d.change(ctx, name, "offboard", func(t *v1alpha1.Tenant) { t.Spec.Offboarding = &o })
}

// ApproveOffboarding approves in the user's own name what another person asked for.
func (d *Desk) ApproveOffboarding(ctx context.Context, name string) (*v1alpha1.Tenant, error) {
	user, _, err := d.person(ctx)
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
	return d.change(ctx, name, "offboard", func(t *v1alpha1.Tenant) { t.Spec.Offboarding.Approver = user })
}

// StopOffboarding takes a request or an approval back: rights come again.
func (d *Desk) StopOffboarding(ctx context.Context, name string) (*v1alpha1.Tenant, error) {
	return d.change(ctx, name, "stop offboarding", func(t *v1alpha1.Tenant) { t.Spec.Offboarding = nil })
}

// change writes a tenant as it was seen, so that nobody's change in between is lost.
func (d *Desk) change(ctx context.Context, name, what string, to func(*v1alpha1.Tenant)) (*v1alpha1.Tenant, error) {
	t, err := d.Tenant(ctx, name)
	if err != nil {
		return nil, err
	}
	next := t.DeepCopy()
	to(next)
	if err := d.client.Patch(ctx, next, client.MergeFromWithOptions(t, client.MergeFromWithOptimisticLock{})); err != nil {
		return nil, fmt.Errorf("%s tenant %s: %w", what, name, said(err))
	}
	return next, nil
}

// person is the user as the API server knows him, and his oid, "" where the identity provider has none.
func (d *Desk) person(ctx context.Context) (user, object string, err error) {
	review := &authenticationv1.SelfSubjectReview{}
	if err := d.client.Create(ctx, review); err != nil {
		return "", "", fmt.Errorf("ask the API server who you are: %w", said(err))
	}
	if of := review.Status.UserInfo.Extra[identity.ExtraObject]; len(of) > 0 {
		object = of[0]
	}
	return review.Status.UserInfo.Username, object, nil
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
