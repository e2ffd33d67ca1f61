package parity

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/install"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/bundle"
)

// prepare installs kinds, namespaces, Guards and bundles, and waits until they are in force and refuse nothing.
func (p *parity) prepare(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	if err := install.CRDs(ctx, p, v1alpha1.CRDs()); err != nil {
		t.Fatal(err)
	}
	p.foreignKinds(t)
	for _, ns := range p.namespaces() {
		err := p.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
		if client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
	}
	p.put(t, v1alpha1.Deny)
	for _, b := range bundle.Build(p.catalogue, nil) {
		if err := errors.Join(p.Create(ctx, b.Policy), p.Create(ctx, b.Binding)); err != nil {
			t.Fatal(err)
		}
	}
	p.inForce(t, true)
	p.turn(t, v1alpha1.Audit)
	for _, ns := range p.namespaces() { // Pods need their namespace's account
		if ns == v1alpha1.SystemNamespace {
			continue
		}
		for _, account := range []string{"default", "api"} {
			err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 4*time.Minute, true, func(ctx context.Context) (bool, error) {
				o := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: account}}
				if account == "default" {
					err := p.Get(ctx, client.ObjectKeyFromObject(o), o)
					return err == nil, client.IgnoreNotFound(err)
				}
				return true, client.IgnoreAlreadyExists(p.Create(ctx, o))
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	at := metav1.ObjectMeta{Namespace: denying, Name: connectTo}
	if err := errors.Join(
		p.Create(ctx, &corev1.Pod{ObjectMeta: at, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.bank.example/app"}}}}),
		p.Create(ctx, &corev1.ServiceAccount{ObjectMeta: at}),
		p.Create(ctx, &corev1.Service{ObjectMeta: at, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}),
	); err != nil {
		t.Fatal(err)
	}
}

// connectTo is the Pod and the Service to which connections are asked for.
const connectTo = "connect-to"

// connect asks for a connection, as a user in the case's groups. What is let through ends at a Pod that no node runs: that is
// no error here.
func (p *parity) connect(t *testing.T, c *place) error {
	t.Helper()
	config := rest.CopyConfig(p.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: cmp.Or(c.User, "alice"), Groups: append([]string{"system:masters"}, c.Groups...)}
	config.APIPath, config.GroupVersion, config.NegotiatedSerializer = "/api", &corev1.SchemeGroupVersion, scheme.Codecs.WithoutConversion()
	core, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	kind, _ := p.engine.Match(c.Object.APIVersion(), c.Object.Kind())
	resource, sub, _ := strings.Cut(kind.Resource, "/")
	err = core.Post().Namespace(c.namespace).Resource(resource).Name(connectTo).SubResource(sub).Param("command", "sh").Param("ports", "80").Do(t.Context()).Error()
	if !apierrors.IsForbidden(err) {
		return nil
	}
	return err
}

// askToken asks for a token of an account. What is let through may be bound to a Pod that is not there: that is no error here.
func (p *parity) askToken(t *testing.T, c *place) error {
	t.Helper()
	config := rest.CopyConfig(p.config)
	config.APIPath, config.GroupVersion, config.NegotiatedSerializer = "/api", &corev1.SchemeGroupVersion, scheme.Codecs.WithoutConversion()
	core, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	o := c.object(c.Object)
	o.SetName(connectTo)
	body, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	err = core.Post().Namespace(c.namespace).Resource("serviceaccounts").Name(connectTo).SubResource("token").Param("dryRun", "All").
		SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Error()
	if !apierrors.IsForbidden(err) {
		return nil
	}
	return err
}

// namespaces are those in which cases are tried, and that of the Guard for what lies in none.
func (p *parity) namespaces() []string {
	all := map[string]bool{v1alpha1.SystemNamespace: true, denying: true, updating: true, "default": true, "kube-public": true, "kube-node-lease": true}
	for _, c := range p.cases {
		if c.namespace != "" {
			all[c.namespace] = true
		}
	}
	delete(all, "kube-system")
	return slices.Sorted(maps.Keys(all))
}

// foreignKinds serves the kinds of the match groups and cases that Kubernetes does not know, in the versions that cases use.
func (p *parity) foreignKinds(t *testing.T) {
	t.Helper()
	versions := map[string][]string{} // by group and kind
	for _, c := range p.cases {
		group, version, _ := strings.Cut(c.Object.APIVersion(), "/")
		if key := group + "/" + c.Object.Kind(); !slices.Contains(versions[key], version) {
			versions[key] = append(versions[key], version)
		}
	}
	for _, g := range p.catalogue.Groups() {
		for _, k := range g.Kinds {
			if k.Version != "*" || strings.HasPrefix(g.Name, "templates-") {
				continue
			}
			crd := foreignKind(k, versions[k.APIGroup+"/"+k.Kind])
			if err := p.Create(t.Context(), crd); err != nil {
				t.Fatal(err)
			}
			p.served(t, crd)
		}
	}
}

func foreignKind(k control.Kind, versions []string) *apiextensionsv1.CustomResourceDefinition {
	if len(versions) == 0 {
		versions = []string{"v1"}
	}
	singular, scope := strings.ToLower(k.Kind), apiextensionsv1.NamespaceScoped
	if k.ClusterScoped {
		scope = apiextensionsv1.ClusterScoped
	}
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: k.Resource + "." + k.APIGroup, Annotations: map[string]string{"api-approved.kubernetes.io": "unapproved, for a test"}},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: k.APIGroup, Scope: scope,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: k.Resource, Singular: singular, Kind: k.Kind, ListKind: k.Kind + "List"},
		},
	}
	for i, v := range versions {
		crd.Spec.Versions = append(crd.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{Name: v, Served: true, Storage: i == 0,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
				Type: "object", XPreserveUnknownFields: new(true),
			}}})
	}
	return crd
}

func (p *parity) served(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	for _, v := range crd.Spec.Versions {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion(crd.Spec.Group + "/" + v.Name)
		list.SetKind(crd.Spec.Names.ListKind)
		err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 4*time.Minute, true, func(ctx context.Context) (bool, error) {
			return p.List(ctx, list) == nil, nil
		})
		if err != nil {
			t.Fatalf("%s is not served: %v", crd.Name, err)
		}
	}
}

// turn gives every control one action in every namespace and waits until that is so.
func (p *parity) turn(t *testing.T, action v1alpha1.Action) {
	t.Helper()
	p.put(t, action)
	p.inForce(t, action == v1alpha1.Deny)
}

// put writes the Guards.
func (p *parity) put(t *testing.T, action v1alpha1.Action) {
	t.Helper()
	spec := casefile.Guard()
	spec.Actions = map[string]v1alpha1.Action{}
	for _, c := range p.catalogue.Controls {
		spec.Actions[c.ID] = action
	}
	for _, ns := range p.namespaces() {
		g := &v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.GuardName, Namespace: ns}, Spec: spec}
		err := p.Create(t.Context(), g)
		if apierrors.IsAlreadyExists(err) {
			var stored v1alpha1.Guard
			if err := p.Get(t.Context(), client.ObjectKeyFromObject(g), &stored); err != nil {
				t.Fatal(err)
			}
			stored.Spec = spec
			err = p.Update(t.Context(), &stored)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// inForce waits until both bundles of each group speak, or are silent, in every namespace: policies and parameters take
// effect up to a second late, and not all at once. What is asked for breaks a rule in each group.
func (p *parity) inForce(t *testing.T, speaking bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 4*time.Minute, true, func(ctx context.Context) (bool, error) {
		for _, ns := range p.namespaces() {
			for _, probe := range p.probes(ns) {
				p.warnings = nil
				err := p.Create(ctx, probe, client.DryRunAll)
				denied := apierrors.IsForbidden(err) && refusalLine.MatchString(err.Error())
				warned := slices.ContainsFunc(p.warnings, refusalLine.MatchString)
				if denied != speaking || warned != speaking {
					return false, nil
				}
			}
		}
		return true, nil
	})
	if err != nil {
		t.Fatalf("the bundles are not in force (speaking: %v): %v; the last answer warned %q", speaking, err, p.warnings)
	}
}

// probes are objects that break a rule in each group of kinds that Kubernetes knows.
func (p *parity) probes(ns string) []client.Object {
	meta := metav1.ObjectMeta{Name: "probe", Namespace: ns}
	everything := []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}}
	if ns == v1alpha1.SystemNamespace {
		return []client.Object{&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Rules: everything}}
	}
	return []client.Object{
		&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 1}}}},
		&corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}}},
		&rbacv1.Role{ObjectMeta: meta, Rules: everything},
	}
}

func newGuard(t *testing.T, spec v1alpha1.GuardSpec) *policy.Guard {
	t.Helper()
	g, err := policy.NewGuard(spec)
	if err != nil {
		t.Fatal(err)
	}
	return g
}
