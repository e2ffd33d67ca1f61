package vap

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
)

// kinds knows what an API server serves: resources, scopes and which versions are equivalent. It stands in for the
// server's admission.ObjectInterfaces.
type kinds struct {
	admission.ObjectInterfaces
	resources   map[schema.GroupKind]string // plurals of custom kinds
	cluster     map[schema.GroupKind]bool   // custom kinds that lie in no namespace
	equivalents runtime.EquivalentResourceRegistry
}

// clusterKinds are Kubernetes' own kinds that lie in no namespace, by API group.
func clusterKinds(group string) string {
	switch group {
	case "":
		return "Namespace Node PersistentVolume ComponentStatus"
	case "rbac.authorization.k8s.io":
		return "ClusterRole ClusterRoleBinding"
	case "storage.k8s.io":
		return "StorageClass VolumeAttachment CSIDriver CSINode VolumeAttributesClass"
	case "networking.k8s.io":
		return "IngressClass IPAddress ServiceCIDR"
	case "certificates.k8s.io":
		return "CertificateSigningRequest ClusterTrustBundle"
	case "resource.k8s.io":
		return "DeviceClass ResourceSlice DeviceTaintRule"
	case "authentication.k8s.io":
		return "TokenReview SelfSubjectReview"
	case "authorization.k8s.io":
		return "SubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview"
	case "scheduling.k8s.io":
		return "PriorityClass"
	case "node.k8s.io":
		return "RuntimeClass"
	case "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "flowcontrol.apiserver.k8s.io",
		"internal.apiserver.k8s.io", "storagemigration.k8s.io":
		return "*"
	}
	return ""
}

func newKinds(objects []map[string]any) *kinds {
	k := &kinds{ObjectInterfaces: admission.NewObjectInterfacesFromScheme(scheme.Scheme), resources: map[schema.GroupKind]string{},
		cluster: map[schema.GroupKind]bool{}, equivalents: runtime.NewEquivalentResourceRegistry()}
	// Of Kubernetes' own resources these are stored once and served twice.
	for _, same := range [][]schema.GroupVersionResource{
		{{Group: "autoscaling", Version: "v1", Resource: "horizontalpodautoscalers"}, {Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}},
		{{Version: "v1", Resource: "events"}, {Group: "events.k8s.io", Version: "v1", Resource: "events"}},
	} {
		kind := map[string]string{"events": "Event", "horizontalpodautoscalers": "HorizontalPodAutoscaler"}[same[0].Resource]
		for _, r := range same {
			k.serve(r, kind)
		}
	}
	for _, o := range objects {
		if o["kind"] != "CustomResourceDefinition" {
			continue
		}
		group, _, _ := unstructured.NestedString(o, "spec", "group")
		plural, _, _ := unstructured.NestedString(o, "spec", "names", "plural")
		kind, _, _ := unstructured.NestedString(o, "spec", "names", "kind")
		scope, _, _ := unstructured.NestedString(o, "spec", "scope")
		versions, _, _ := unstructured.NestedSlice(o, "spec", "versions")
		gk := schema.GroupKind{Group: group, Kind: kind}
		if len(scheme.Scheme.VersionsForGroupKind(gk)) > 0 {
			continue // one of Kubernetes' own: no definition names or places it anew
		}
		k.resources[gk], k.cluster[gk] = plural, scope == "Cluster"
		for _, v := range versions {
			if v, ok := v.(map[string]any); ok && v["served"] == true {
				version, _ := v["name"].(string)
				k.serve(schema.GroupVersionResource{Group: group, Version: version, Resource: plural}, kind)
			}
		}
	}
	return k
}

func (k *kinds) serve(r schema.GroupVersionResource, kind string) {
	k.equivalents.RegisterKindFor(r, "", schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: kind})
}

func (k *kinds) clusterScoped(kind schema.GroupVersionKind) bool {
	if scoped, known := k.cluster[kind.GroupKind()]; known {
		return scoped
	}
	own := clusterKinds(kind.Group)
	return own == "*" || strings.Contains(" "+own+" ", " "+kind.Kind+" ")
}

// resource is the plural of a kind: as its definition says, else by the rule that Kubernetes' own follow, and for those of
// others without a definition the one that the tools which write definitions follow.
func (k *kinds) resource(kind schema.GroupVersionKind) schema.GroupVersionResource {
	plural := k.resources[kind.GroupKind()]
	switch {
	case plural != "":
	case len(scheme.Scheme.VersionsForGroupKind(kind.GroupKind())) > 0:
		own, _ := meta.UnsafeGuessKindToResource(kind)
		return own
	default:
		plural = inPlural(strings.ToLower(kind.Kind))
	}
	return kind.GroupVersion().WithResource(plural)
}

// inPlural is the plural of an English word: policies, gateways, meshes. That of Kubernetes' own kinds is not quite it.
func inPlural(word string) string {
	stem, y := strings.CutSuffix(word, "y")
	switch {
	case y && stem != "" && !strings.ContainsRune("aeiou", rune(stem[len(stem)-1])):
		return stem + "ies"
	case strings.HasSuffix(word, "s"), strings.HasSuffix(word, "x"), strings.HasSuffix(word, "z"), strings.HasSuffix(word, "ch"), strings.HasSuffix(word, "sh"):
		return word + "es"
	}
	return word + "s"
}

// GetEquivalentResourceMapper knows the versions of custom kinds whose definitions were supplied, and few others.
func (k *kinds) GetEquivalentResourceMapper() runtime.EquivalentResourceMapper { return k.equivalents }

// GetObjectConvertor converts custom objects, whose versions differ by name alone unless a webhook converts them.
func (k *kinds) GetObjectConvertor() runtime.ObjectConvertor { return renamer{} }

// GetObjectCreater makes custom objects.
func (k *kinds) GetObjectCreater() runtime.ObjectCreater { return renamer{} }

// renamer converts an unstructured object by giving it another version, and refuses typed ones: the API server converts
// those with code that is not for others to use.
type renamer struct{ runtime.ObjectConvertor }

// New is an empty object of a kind.
func (renamer) New(kind schema.GroupVersionKind) (runtime.Object, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	return u, nil
}

// Convert copies in to out, but for the version.
func (renamer) Convert(in, out, _ any) error {
	from, ok := in.(*unstructured.Unstructured)
	to, ok2 := out.(*unstructured.Unstructured)
	if !ok || !ok2 {
		return fmt.Errorf("%T cannot be converted to another version outside the API server", in)
	}
	kind := to.GroupVersionKind()
	to.Object = from.DeepCopy().Object
	to.SetGroupVersionKind(kind)
	return nil
}

// asServed is an object as rules see it: of its Go type where it is one of Kubernetes' own kinds, so that what that type
// does not know is gone and what it always has is there.
func asServed(u *unstructured.Unstructured) (runtime.Object, error) {
	kind := u.GroupVersionKind()
	if !scheme.Scheme.Recognizes(kind) {
		return u, nil
	}
	typed, err := scheme.Scheme.New(kind)
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, typed); err != nil {
		if text, fault := json.Marshal(u.Object); fault == nil { // whose decoder says which field
			err = cmp.Or(json.Unmarshal(text, typed), err)
		}
		return nil, fmt.Errorf("the object is no %s: %s", kind.Kind, strings.TrimPrefix(err.Error(), "json: "))
	}
	typed.GetObjectKind().SetGroupVersionKind(kind)
	return typed, nil
}

// namespaces are the Namespaces that were supplied. It implements the lister that the server's matcher asks.
type namespaces map[string]*corev1.Namespace

func readNamespaces(objects []map[string]any) namespaces {
	all := namespaces{}
	for _, o := range objects {
		if o["apiVersion"] != "v1" || o["kind"] != "Namespace" {
			continue
		}
		var n corev1.Namespace
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o, &n); err == nil {
			all[n.Name] = named(n)
		}
	}
	return all
}

// named adds the label that every Namespace has.
func named(n corev1.Namespace) *corev1.Namespace {
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
	return &n
}

// List is all Namespaces that a selector selects.
func (n namespaces) List(selector labels.Selector) (out []*corev1.Namespace, err error) {
	for _, one := range n {
		if selector.Matches(labels.Set(one.Labels)) {
			out = append(out, one)
		}
	}
	return out, nil
}

// Get is a Namespace: one that was not supplied has its name and nothing else.
func (n namespaces) Get(name string) (*corev1.Namespace, error) {
	if known, ok := n[name]; ok {
		return known, nil
	}
	if name == "" {
		return nil, apierrors.NewNotFound(corev1.Resource("namespaces"), name)
	}
	return named(corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}), nil
}

// unknown reports whether an object lies in a Namespace that was not supplied.
func (n namespaces) unknown(a admission.Attributes) bool {
	_, known := n[a.GetNamespace()]
	return !known && a.GetNamespace() != "" && a.GetKind().Kind != "Namespace"
}

var namespaceObject = regexp.MustCompile(`\bnamespaceObject\b`)

// byLabel reports whether namespaces are selected by another label than their name's.
func byLabel(m *admissionv1.MatchResources) bool {
	if m == nil || m.NamespaceSelector == nil {
		return false
	}
	for key := range m.NamespaceSelector.MatchLabels {
		if key != corev1.LabelMetadataName {
			return true
		}
	}
	for _, r := range m.NamespaceSelector.MatchExpressions {
		if r.Key != corev1.LabelMetadataName {
			return true
		}
	}
	return false
}

// anyNamespace is m without its selection of namespaces.
func anyNamespace(m *admissionv1.MatchResources) *admissionv1.MatchResources {
	any := *m
	any.NamespaceSelector = &metav1.LabelSelector{}
	return &any
}

// parameters are the objects of a kind, as the API server's informer has them. The informer never runs.
func parameters(kind schema.GroupVersionKind, objects []map[string]any) informers.GenericInformer {
	index := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for _, o := range objects {
		u := &unstructured.Unstructured{Object: o}
		if u.GroupVersionKind() != kind {
			continue
		}
		if !scheme.Scheme.Recognizes(kind) {
			_ = index.Add(u) // its key function cannot fail on an object
			continue
		}
		if typed, err := asServed(u); err == nil {
			if plain, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed); err == nil {
				_ = index.Add(&unstructured.Unstructured{Object: plain}) // as above
			}
		}
	}
	return informer{lister: cache.NewGenericLister(index, schema.GroupResource{Group: kind.Group, Resource: kind.Kind})}
}

type informer struct {
	cache.SharedIndexInformer
	lister cache.GenericLister
}

// Informer is one that has seen everything.
func (i informer) Informer() cache.SharedIndexInformer { return i }

// HasSynced is true.
func (i informer) HasSynced() bool { return true }

// Lister lists the parameters.
func (i informer) Lister() cache.GenericLister { return i.lister }
