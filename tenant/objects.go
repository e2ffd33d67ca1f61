package tenant

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"ringfence.dev/ringfence/api/v1alpha1"
)

const (
	// FieldManager owns, under server-side apply, the labels and annotations that Ringfence puts on namespaces.
	FieldManager = "ringfence"
	// AnnotationCreatedBy on a namespace names the tenant for which Ringfence created it. A namespace without it was
	// there before, is never deleted when it is empty, and is handed back instead.
	AnnotationCreatedBy = "ringfence.dev/created-by"
	// FinalizerGuard keeps a Guard readable until nothing in its ending namespace needs a verdict any more.
	FinalizerGuard = "ringfence.dev/guard"
	// FinalizerTenant keeps a Tenant until its namespaces are gone or handed back.
	FinalizerTenant = "ringfence.dev/tenant"

	// limitsName is the name of the ResourceQuota and of the LimitRange in each tenant namespace.
	limitsName = "ringfence"
	// defaultAccount is the ServiceAccount that pods get which name none.
	defaultAccount = "default"
)

// namespaceLabels are the labels of a tenant's namespace. The tenant's own come first: it cannot replace the platform's.
func namespaceLabels(t *v1alpha1.Tenant, env v1alpha1.Environment, cordoned bool) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, t.Spec.Labels)
	labels[v1alpha1.LabelTenant] = t.Name
	labels[v1alpha1.LabelEnvironment] = env.Name
	labels[v1alpha1.LabelProduction] = fmt.Sprint(env.Production)
	labels[v1alpha1.LabelGuarded] = "true"
	if cordoned {
		labels[v1alpha1.LabelCordoned] = "true"
	}
	maps.Copy(labels, podSecurityLabels())
	return labels
}

// podSecurityLabels let Pod Security tell and record; enforcing it would end the admission chain before the catalogue's
// own refusals.
func podSecurityLabels() map[string]string {
	labels := map[string]string{}
	for _, mode := range []string{"audit", "warn"} {
		labels["pod-security.kubernetes.io/"+mode] = "restricted"
		labels["pod-security.kubernetes.io/"+mode+"-version"] = "latest"
	}
	return labels
}

// applyNamespace is the change that makes Ringfence's labels and annotations of a namespace exactly these, nil where they
// are. What others put there stays. live is nil where the plan has just created it.
func applyNamespace(name string, live *corev1.Namespace, labels, annotations map[string]string) []Change {
	if live != nil && contains(live.Labels, labels) && contains(live.Annotations, annotations) &&
		sameKeys(managedKeys(live.ManagedFields, "f:labels"), labels) && sameKeys(managedKeys(live.ManagedFields, "f:annotations"), annotations) {
		return nil
	}
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetAPIVersion("v1")
	u.SetKind("Namespace")
	u.SetName(name)
	u.SetLabels(labels)
	u.SetAnnotations(annotations)
	if live != nil {
		u.SetUID(live.UID) // never brings a deleted namespace back
		u.SetResourceVersion(live.ResourceVersion)
	}
	return []Change{{Verb: Apply, Object: u}}
}

// managedKeys are the keys of a map in metadata ("f:labels" or "f:annotations") that Ringfence applied.
func managedKeys(entries []metav1.ManagedFieldsEntry, field string) map[string]bool {
	keys := map[string]bool{}
	for _, e := range entries {
		if e.Manager != FieldManager || e.Operation != metav1.ManagedFieldsOperationApply || e.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Metadata map[string]json.RawMessage `json:"f:metadata"`
		}
		var owned map[string]json.RawMessage
		if json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields) != nil || fields.Metadata[field] == nil || json.Unmarshal(fields.Metadata[field], &owned) != nil {
			continue
		}
		for k := range owned {
			if len(k) > 2 && k[:2] == "f:" {
				keys[k[2:]] = true
			}
		}
	}
	return keys
}

func contains(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func sameKeys(have map[string]bool, want map[string]string) bool {
	for k := range have {
		if _, ok := want[k]; !ok {
			return false
		}
	}
	return len(have) == len(want)
}

// metaOf is the metadata of an object that Ringfence owns whole.
func metaOf(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}}
}

// account is the apply patch that takes the token away from pods which name no ServiceAccount; with own false it gives
// the account back to itself.
func account(namespace string, own bool) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetAPIVersion("v1")
	u.SetKind("ServiceAccount")
	u.SetNamespace(namespace)
	u.SetName(defaultAccount)
	if own {
		u.SetLabels(map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy})
		u.Object["automountServiceAccountToken"] = false
	}
	return u
}

// limitRange bounds single volume claims and never fills in a default.
//
// Only the type Container makes defaults, of max and min even where none are given; a max for the type Pod refuses every
// pod that states no limit, before any control could say so with its own words. So it speaks of claims alone: at least
// 1 MiB, and no larger than all that the quota allows.
func limitRange(hard corev1.ResourceList, namespace string) *corev1.LimitRange {
	item := corev1.LimitRangeItem{
		Type: corev1.LimitTypePersistentVolumeClaim,
		Min:  corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")},
	}
	if most := claimMost(hard); most != nil {
		item.Max = corev1.ResourceList{corev1.ResourceStorage: *most}
	}
	return &corev1.LimitRange{ObjectMeta: metaOf(namespace, limitsName), Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{item}}}
}

// GroupsOf are the groups that have rights in an environment: its own, and the tenant's where it names none.
func GroupsOf(t *v1alpha1.Tenant, env v1alpha1.Environment) v1alpha1.TenantGroups {
	groups := t.Spec.Groups
	if env.Groups != nil {
		groups.Admin, groups.ReadOnly = cmp.Or(env.Groups.Admin, groups.Admin), cmp.Or(env.Groups.ReadOnly, groups.ReadOnly)
	}
	return groups
}

func groupPrefix(platform *v1alpha1.Platform) string {
	if p := platform.Spec.Identity.GroupPrefix; p != nil {
		return *p
	}
	return "oidc:"
}
