package setup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cluster/probe"
)

const (
	// labelName and labelPartOf are on every object of the chart, and on the pods of the processes.
	labelName   = "app.kubernetes.io/name"
	labelPartOf = "app.kubernetes.io/part-of"
	prefix      = "ringfence.dev/"
	// defaultAccount is the account of each namespace, which is the team's; of it only what Ringfence set goes.
	defaultAccount = "default"
)

// made are the kinds of which Ringfence makes objects, with its label, in the order in which they are removed: first what refuses, and
// people's rights last.
var made = [...]schema.GroupVersionKind{
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingAdmissionPolicyBinding"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingAdmissionPolicy"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingAdmissionPolicyBinding"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingAdmissionPolicy"},
	{Group: "", Version: "v1", Kind: "ResourceQuota"},
	{Group: "", Version: "v1", Kind: "LimitRange"},
	{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
	{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicy"},
	{Group: "openreports.io", Version: "v1alpha1", Kind: "Report"},
	{Group: "openreports.io", Version: "v1alpha1", Kind: "ClusterReport"},
	{Group: "wgpolicyk8s.io", Version: "v1alpha2", Kind: "PolicyReport"},
	{Group: "wgpolicyk8s.io", Version: "v1alpha2", Kind: "ClusterPolicyReport"},
	{Group: "", Version: "v1", Kind: "ServiceAccount"},
	{Group: rbac, Version: "v1", Kind: "RoleBinding"},
	{Group: rbac, Version: "v1", Kind: "ClusterRoleBinding"},
	{Group: rbac, Version: "v1", Kind: "ClusterRole"},
}

// applied are the kinds of the chart, in the order in which they are removed.
var applied = [...]schema.GroupVersionKind{
	{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"},
	{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
	{Group: "", Version: "v1", Kind: "Service"},
	{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"},
	{Group: "", Version: "v1", Kind: "PersistentVolumeClaim"},
	{Group: rbac, Version: "v1", Kind: "RoleBinding"},
	{Group: rbac, Version: "v1", Kind: "Role"},
	{Group: rbac, Version: "v1", Kind: "ClusterRoleBinding"},
	{Group: rbac, Version: "v1", Kind: "ClusterRole"},
	{Group: "", Version: "v1", Kind: "ServiceAccount"},
	{Group: "scheduling.k8s.io", Version: "v1", Kind: "PriorityClass"},
}

// alone are objects of Ringfence that are known by name: webhook configurations, which are removed first, and what replicas share or verify-cluster kept.
func alone() (registrations, shared []*unstructured.Unstructured) {
	const group = "admissionregistration.k8s.io/v1"
	return []*unstructured.Unstructured{
			reference(group, "ValidatingWebhookConfiguration", "", "ringfence"),
			reference(group, "ValidatingWebhookConfiguration", "", "ringfence-canary"),
			reference(group, "MutatingWebhookConfiguration", "", "ringfence-mutation"),
		}, []*unstructured.Unstructured{
			reference("v1", "ConfigMap", v1alpha1.SystemNamespace, "ringfence-webhook-trust"),
			reference("v1", "ConfigMap", v1alpha1.SystemNamespace, probe.ReportName),
			reference("coordination.k8s.io/v1", "Lease", v1alpha1.SystemNamespace, Account),
		}
}

func reference(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

// Removal is what an uninstallation comes to.
type Removal struct {
	// Guarded are the namespaces that are guarded now, with their tenant in brackets; afterwards nothing is refused there.
	Guarded []string
	// Objects are removed, in this order. Kept stay, each with its reason.
	Objects, Kept []Planned
	// Obstacles are what must be ended by its own means first.
	Obstacles []string

	processes, registrations, policies, theirs, ours, chart []*unstructured.Unstructured
	namespaces                                              []*unstructured.Unstructured // those that carry marks of Ringfence's
	kinds                                                   []string                     // definitions
}

// Removal looks what there is to remove. evidence says that the volume of the ledger goes too.
func (i *Installer) Removal(ctx context.Context, evidence bool) (*Removal, error) {
	r := &Removal{}
	for _, kind := range processes {
		found, err := i.list(ctx, kind, v1alpha1.SystemNamespace, labelPartOf, Account)
		if err != nil {
			return nil, err
		}
		r.processes = append(r.processes, found...)
	}
	var err error
	registrations, shared := alone()
	if r.registrations, err = i.there(ctx, registrations); err != nil {
		return nil, err
	}
	for n, kind := range made {
		found, err := i.list(ctx, kind, "", v1alpha1.LabelManagedBy, v1alpha1.ManagedBy)
		if err != nil {
			return nil, err
		}
		if n < 4 {
			r.policies = append(r.policies, found...)
		} else {
			r.ours = append(r.ours, found...)
		}
	}
	if err := i.own(ctx, r); err != nil {
		return nil, err
	}
	for _, kind := range applied {
		found, err := i.list(ctx, kind, v1alpha1.SystemNamespace, labelPartOf, Account)
		if err != nil {
			return nil, err
		}
		r.chart = append(r.chart, found...)
	}
	if r.theirs, err = i.there(ctx, shared); err != nil {
		return nil, err
	}
	kept := r.keep(evidence)
	system, err := i.there(ctx, []*unstructured.Unstructured{reference("v1", "Namespace", "", v1alpha1.SystemNamespace)})
	if err != nil {
		return nil, err
	}
	if !kept {
		r.chart = append(r.chart, system...)
	}
	r.tell()
	return r, nil
}

// keep takes the volume of the ledger out of what goes, unless it is to go.
func (r *Removal) keep(evidence bool) (kept bool) {
	r.chart = slices.DeleteFunc(r.chart, func(o *unstructured.Unstructured) bool {
		stays := o.GetKind() == "PersistentVolumeClaim" && !evidence
		if stays {
			kept = true
			r.Kept = append(r.Kept, Planned{o.GetKind(), o.GetNamespace(), o.GetName(), "the ledger, and the key that signs it; --delete-evidence deletes it, for ever"},
				Planned{"Namespace", "", v1alpha1.SystemNamespace, "the ledger lies in it, and what the bank made there, as Secrets"})
		}
		return stays
	})
	return kept
}

// tell lists for people what goes.
func (r *Removal) tell() {
	add := func(why string, all []*unstructured.Unstructured) {
		for _, o := range all {
			r.Objects = append(r.Objects, Planned{o.GetKind(), o.GetNamespace(), o.GetName(), why})
		}
	}
	for _, o := range r.processes {
		why := "a process that would put the rest back"
		if o.GetKind() == cronJobs.Kind {
			why = "starts ringfence observe"
		}
		add(why, []*unstructured.Unstructured{o})
	}
	add("requests wait for a webhook that is gone", r.registrations)
	add("refuses, fills in or protects", r.policies)
	for _, kind := range r.kinds {
		r.Objects = append(r.Objects, Planned{"CustomResourceDefinition", "", kind, "with every object of it"})
	}
	add("limits, network baseline and rights of tenants", r.ours)
	add("labels and annotations of ringfence.dev are taken off; the namespace and what runs there stay", r.namespaces)
	add("shared by the processes, or kept for verify-cluster", r.theirs)
	add("the installation itself", r.chart)
}

// own finds Ringfence's kinds, what is guarded, what must be ended first, and namespaces that carry its marks.
func (i *Installer) own(ctx context.Context, r *Removal) error {
	kinds, err := kindNames()
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		crd, err := i.there(ctx, []*unstructured.Unstructured{reference("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", kind)})
		if err != nil {
			return err
		}
		if len(crd) > 0 {
			r.kinds = append(r.kinds, kind)
		}
	}
	var guards v1alpha1.GuardList
	if err := i.optional(i.client.List(ctx, &guards)); err != nil {
		return fmt.Errorf("list Guards: %w", err)
	}
	for _, g := range guards.Items {
		if g.Namespace != v1alpha1.SystemNamespace {
			r.Guarded = append(r.Guarded, strings.TrimSpace(g.Namespace+" "+bracketed(g.Spec.Tenant)))
		}
	}
	var quarantines v1alpha1.QuarantineList
	if err := i.optional(i.client.List(ctx, &quarantines)); err != nil {
		return fmt.Errorf("list quarantines: %w", err)
	}
	for _, q := range quarantines.Items {
		if q.Status.Phase != v1alpha1.QuarantineEnded {
			r.Obstacles = append(r.Obstacles, fmt.Sprintf("quarantine %s in %s is live: without Ringfence nothing holds the workload; lift it first", q.Name, q.Namespace))
		}
	}
	var namespaces corev1.NamespaceList
	if err := i.client.List(ctx, &namespaces); err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	for _, ns := range namespaces.Items {
		if ns.Name != v1alpha1.SystemNamespace && (marked(ns.Labels) || marked(ns.Annotations)) {
			r.namespaces = append(r.namespaces, reference("v1", "Namespace", "", ns.Name))
		}
	}
	return nil
}

func bracketed(tenant string) string {
	if tenant == "" {
		return ""
	}
	return "(" + tenant + ")"
}

func marked(m map[string]string) bool {
	for k := range m {
		if strings.HasPrefix(k, prefix) {
			return true
		}
	}
	return false
}

// optional passes over a kind that the cluster does not serve.
func (i *Installer) optional(err error) error {
	if apimeta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// list are the objects of a kind with a label: in a namespace, "" for every one, or outside of all, as the kind is.
func (i *Installer) list(ctx context.Context, kind schema.GroupVersionKind, namespace, label, value string) (all []*unstructured.Unstructured, err error) {
	found := &unstructured.UnstructuredList{}
	found.SetGroupVersionKind(kind)
	if err := i.optional(i.client.List(ctx, found, client.InNamespace(namespace), client.MatchingLabels{label: value})); err != nil {
		return nil, fmt.Errorf("list %s: %w", kind.Kind, err)
	}
	for _, o := range found.Items {
		one := reference(kind.GroupVersion().String(), kind.Kind, o.GetNamespace(), o.GetName())
		one.SetManagedFields(o.GetManagedFields())
		all = append(all, one)
	}
	return all, nil
}

// there are those of objects that exist.
func (i *Installer) there(ctx context.Context, objects []*unstructured.Unstructured) (all []*unstructured.Unstructured, err error) {
	for _, o := range objects {
		err := i.client.Get(ctx, client.ObjectKeyFromObject(o), o.DeepCopy())
		if err == nil {
			all = append(all, o)
		} else if i.optional(err) != nil {
			return nil, fmt.Errorf("look for %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return all, nil
}
