package elevation

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
)

// give makes the account and its bindings, or puts back what is missing. An account of its name that was there before, from when no
// policy kept others from making one, goes with its tokens.
func (r *Reconciler) give(ctx context.Context, e *v1alpha1.Elevation, limits tenant.ElevationLimits) error {
	account, stranger, err := r.account(ctx, e)
	if err != nil {
		return err
	}
	if stranger {
		r.cfg.Log.Warn("an account with the name of an elevation's is not Ringfence's and is deleted", "namespace", e.Namespace, "elevation", e.Name)
		if err := r.delete(ctx, account); err != nil {
			return fmt.Errorf("delete a stranger's account of its name: %w", err)
		}
		account = nil
	}
	if account == nil {
		account = &corev1.ServiceAccount{ObjectMeta: meta(e, tenant.AccountOf(e.Name)), AutomountServiceAccountToken: new(bool)}
		if err := r.client.Create(ctx, account); err != nil {
			return fmt.Errorf("make its account: %w", err)
		}
	}
	return r.bind(ctx, e, wanted(e, limits.Rights))
}

// wanted are the bindings of an elevation: looking at the namespace, and each right.
func wanted(e *v1alpha1.Elevation, rights []v1alpha1.Right) (all []rbacv1.RoleBinding) {
	name := tenant.AccountOf(e.Name)
	bind := func(suffix, role string) {
		all = append(all, rbacv1.RoleBinding{ObjectMeta: meta(e, name+suffix), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: e.Namespace, Name: name}}})
	}
	bind("-look", tenant.RoleReadOnly)
	for _, right := range rights {
		bind("-"+string(right), tenant.RoleOfRight(right))
	}
	return all
}

// meta is the metadata of what is made for an elevation. Its owner has it collected too, should the object be gone without us.
func meta(e *v1alpha1.Elevation, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: e.Namespace, Name: name, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Elevation", Name: e.Name, UID: e.UID}}}
}

// bind makes the bindings of an elevation exactly these.
func (r *Reconciler) bind(ctx context.Context, e *v1alpha1.Elevation, want []rbacv1.RoleBinding) error {
	have, err := r.bindings(ctx, e)
	if err != nil {
		return err
	}
	for i := range have {
		same := func(w rbacv1.RoleBinding) bool {
			return w.Name == have[i].Name && owned(&have[i], e) && w.RoleRef == have[i].RoleRef && equality.Semantic.DeepEqual(w.Subjects, have[i].Subjects)
		}
		if at := slices.IndexFunc(want, same); at >= 0 {
			want = slices.Delete(want, at, at+1)
			continue
		}
		if err := r.delete(ctx, &have[i]); err != nil {
			return fmt.Errorf("delete binding %s: %w", have[i].Name, err)
		}
	}
	for i := range want {
		if err := r.client.Create(ctx, &want[i]); err != nil {
			return fmt.Errorf("make binding %s: %w", want[i].Name, err)
		}
	}
	return nil
}

// bindings are those that are, or say that they are, of an elevation's account.
func (r *Reconciler) bindings(ctx context.Context, e *v1alpha1.Elevation) (found []rbacv1.RoleBinding, err error) {
	var all rbacv1.RoleBindingList
	if err := r.live.List(ctx, &all, client.InNamespace(e.Namespace)); err != nil {
		return nil, fmt.Errorf("list its bindings: %w", err)
	}
	for _, b := range all.Items {
		if owned(&b, e) || slices.ContainsFunc(b.Subjects, func(s rbacv1.Subject) bool {
			return s.Kind == rbacv1.ServiceAccountKind && s.Namespace == e.Namespace && s.Name == tenant.AccountOf(e.Name)
		}) {
			found = append(found, b)
		}
	}
	return found, nil
}

// take deletes the account, and with it every token at once, then the bindings.
func (r *Reconciler) take(ctx context.Context, e *v1alpha1.Elevation) error {
	account, _, err := r.account(ctx, e)
	if err != nil {
		return err
	}
	if account != nil {
		if err := r.delete(ctx, account); err != nil {
			return fmt.Errorf("delete its account: %w", err)
		}
	}
	return r.bind(ctx, e, nil)
}

// delete deletes the object that was seen and no later one of its name.
func (r *Reconciler) delete(ctx context.Context, o client.Object) error {
	uid := o.GetUID()
	return client.IgnoreNotFound(r.client.Delete(ctx, o, client.Preconditions{UID: &uid}))
}
