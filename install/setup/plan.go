// Package setup says what an installation of Ringfence comes to, with the rights of its account, and carries it out: it applies the objects of the
// chart and removes all that Ringfence made.
//
// It renders no chart, and what Ringfence makes itself at its start it only names. The command line calls it.
package setup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/tenant"
)

// PlanSchema is the schemaVersion of a Plan. Fields are only added.
const PlanSchema = "ringfence.dev/install/v1"

// The servers that are supported. Native policies that fill in are served as v1 from nativeFilling on.
const (
	oldest, newest = 30, 37
	nativeFilling  = 36
)

// Plan is what an installation comes to.
type Plan struct {
	SchemaVersion string `json:"schemaVersion"`
	// Kubernetes is the version of the server that the plan is for.
	Kubernetes string `json:"kubernetes"`
	// Observes says that the installation only looks: Ringfence makes nothing itself, and carries no control.
	Observes bool `json:"observes,omitempty"`
	// Obstacles are what must be ended first; the installer refuses until then. Nil where no cluster was asked.
	Obstacles []string `json:"obstacles,omitempty"`
	// Objects are applied by the installer. Kept are made by Ringfence itself, once it runs, and put back where somebody changes them.
	Objects []Planned `json:"objects"`
	Kept    []Planned `json:"kept"`
	// Removed are objects that the installer takes away: see Stale. Nil where no cluster was asked.
	Removed []Planned `json:"removed,omitempty"`
	// Rights are those of the installation's account: Account, or Observer where it only looks.
	Rights []Right `json:"rights"`
	// Doors say what carries each control, and what fills in.
	Doors []Door `json:"doors"`
}

// Planned is one object of a plan.
type Planned struct {
	// Kind and Name are the object's, Namespace "" for what lies in none.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Why       string `json:"why"`
}

// Door is what carries a control on a server.
type Door struct {
	// Control is its id, or what is filled in; Title is for people.
	Control string `json:"control"`
	Title   string `json:"title"`
	// Kind and Name are of what carries it at the API server; both are empty where nothing can, and Why says so.
	Kind string `json:"kind"`
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Server is an API server, as far as a plan needs to know it.
type Server struct {
	// Version is its version, as 1.37.
	Version string
	// fills says that it serves native policies that fill in.
	fills bool
}

// ServerOf is a server of a version, as 1.37 or v1.37.1; one that is not supported is an error.
func ServerOf(text string) (Server, error) {
	v, err := version.ParseGeneric(text)
	if err != nil {
		return Server{}, fmt.Errorf("version of Kubernetes: found %s; want one of 1.%d to 1.%d", finding.Value(text), oldest, newest)
	}
	if v.Major() != 1 || v.Minor() < oldest {
		return Server{}, fmt.Errorf("version of Kubernetes: found %d.%d; want 1.%d or later: older servers have no native policies (v1)", v.Major(), v.Minor(), oldest)
	}
	return Server{Version: fmt.Sprintf("%d.%d", v.Major(), v.Minor()), fills: v.Minor() >= nativeFilling}, nil
}

// Known reports whether the server is one of those that were tried.
func (s Server) Known() bool {
	v, err := version.ParseGeneric(s.Version)
	return err == nil && v.Minor() <= newest
}

// Ask asks a cluster which server it is.
func Ask(_ context.Context, on *rest.Config) (Server, error) {
	asked, err := discovery.NewDiscoveryClientForConfig(on)
	if err != nil {
		return Server{}, fmt.Errorf("reach the cluster: %w", err)
	}
	info, err := asked.ServerVersion()
	if err != nil {
		return Server{}, fmt.Errorf("ask the cluster for its version: %w; fix: check --kubeconfig, or plan without a cluster with --kube-version", err)
	}
	text := info.GitVersion
	if info.EmulationMinor != "" { // what it serves and compiles is of that version
		text = info.EmulationMajor + "." + info.EmulationMinor
	}
	s, err := ServerOf(text)
	if err != nil {
		return s, err
	}
	served, err := asked.ServerResourcesForGroupVersion("admissionregistration.k8s.io/v1")
	if err != nil {
		return s, fmt.Errorf("ask the cluster for its kinds: %w", err)
	}
	s.fills = false
	for _, r := range served.APIResources {
		s.fills = s.fills || r.Kind == bundle.MutationKind.Kind
	}
	return s, nil
}

// New says what an installation of objects comes to on a server.
func New(on Server, cat *control.Catalogue, objects []*unstructured.Unstructured) (*Plan, error) {
	p := &Plan{SchemaVersion: PlanSchema, Kubernetes: on.Version}
	for _, o := range objects {
		p.Objects = append(p.Objects, Planned{o.GetKind(), o.GetNamespace(), o.GetName(), o.GetAnnotations()[AnnotationWhy]})
	}
	if Observes(objects) {
		p.Observes, p.Rights, p.Kept, p.Doors = true, ObserverRights(cat, false), []Planned{}, []Door{}
		return p, nil
	}
	rights, err := Rights(cat)
	if err != nil {
		return nil, err
	}
	p.Rights, p.Doors = slices.DeleteFunc(rights, func(r Right) bool { return r.Only != "" && !given(objects, r) }), doors(on, cat)
	p.Kept, err = kept(on, cat)
	p.Kept = append(append(p.Kept, keptByTenant()...), keptReports(p.Rights)...)
	return p, err
}

// given says that a role among objects holds a right.
func given(objects []*unstructured.Unstructured, r Right) bool {
	return slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool {
		rules, _, _ := unstructured.NestedSlice(o.Object, "rules")
		return slices.ContainsFunc(rules, func(value any) bool {
			rule, _ := value.(map[string]any)
			groups, _, _ := unstructured.NestedStringSlice(rule, "apiGroups")
			return slices.Contains(groups, r.Group)
		})
	})
}

// doors say what carries each control on a server, in the order of the catalogue.
func doors(on Server, cat *control.Catalogue) (all []Door) {
	for _, c := range cat.Controls {
		d := Door{Control: c.ID, Title: c.Title, Why: "no API server asks anybody about these kinds: ringfence check and the background scan judge them, and a folder of the API server's own can (docs/static.md)"}
		for _, g := range cat.Groups() {
			if g.Holds(c) && !g.Unreachable {
				d.Kind, d.Name, d.Why = "ValidatingAdmissionPolicy", bundle.Name(g.Name, finding.Deny), "holds while every process of Ringfence is down"
				break
			}
		}
		all = append(all, d)
	}
	filling := func(what, title, name string) {
		d := Door{Control: what, Title: title, Kind: bundle.MutationKind.Kind, Name: name, Why: "holds while every process of Ringfence is down"}
		if !on.fills {
			d.Kind, d.Name = "MutatingWebhookConfiguration", "ringfence-mutation"
			d.Why = "this server does not serve MutatingAdmissionPolicy v1; while the webhook is down, what says everything gets in"
		}
		all = append(all, d)
	}
	filling("metadata", "labels and annotations of the namespace are copied", bundle.NameMetadata)
	filling("defaults", "what a pod leaves open is filled in", bundle.NameDefaults)
	return all
}

// kept is what Ringfence itself makes.
func kept(on Server, cat *control.Catalogue) (all []Planned, err error) {
	kinds, err := kindNames()
	if err != nil {
		return nil, err
	}
	for _, name := range kinds {
		all = append(all, Planned{"CustomResourceDefinition", "", name, "a kind of Ringfence's own"})
	}
	protection, err := tenant.Protection()
	if err != nil {
		return nil, err
	}
	for _, o := range protection {
		why := "keeps everybody else off what Ringfence writes, and says who may ask, approve and end"
		if !strings.Contains(kindOf(o), "Policy") {
			why = "rights that are given in tenants' namespaces, or are the bank's to give"
		}
		all = append(all, Planned{kindOf(o), "", o.GetName(), why})
	}
	for _, b := range bundle.Build(cat, nil) {
		all = append(all, Planned{"ValidatingAdmissionPolicy", "", b.Policy.Name, "rules of the catalogue; made once there is a Platform"},
			Planned{"ValidatingAdmissionPolicyBinding", "", b.Binding.Name, "puts them in force; made once every namespace has its Guard"})
	}
	door, fills := bundle.NativeDoor, "has the webhook write digests for tags, where the Platform asks for it"
	if !on.fills {
		door, fills = bundle.WebhookDoor, "has the webhook fill in: this server has no native policies that do"
	}
	all = append(all, Planned{"MutatingWebhookConfiguration", "", "ringfence-mutation", fills},
		Planned{"ValidatingWebhookConfiguration", "", "ringfence", "has the webhook judge what no native policy can carry; made where a control wants it"},
		Planned{"ValidatingWebhookConfiguration", "", "ringfence-canary", "shows that API servers reach the webhook, before it is asked anything else"})
	for _, o := range append(bundle.Copied(cat, nil, door), bundle.Defaulted(nil, door)...) {
		all = append(all, Planned{kindOf(o), "", o.GetName(), "fills in what is absent, and tells of it"})
	}
	return append(all,
		Planned{"Guard", "each namespace", v1alpha1.GuardName, "what the rules need to know there, compiled of Platform, Tenant and Waivers"},
		Planned{"Lease", v1alpha1.SystemNamespace, Account, "of several replicas one writes"},
		Planned{"ConfigMap", v1alpha1.SystemNamespace, "ringfence-webhook-trust", "certificates of replicas; no key is in it"},
	), nil
}

// keptByTenant is what Ringfence makes for tenants, and for what people ask of it there.
func keptByTenant() []Planned {
	const each, asked = "each environment", "where it is asked for"
	return []Planned{
		{"Namespace", "", each, "made where it is not there; labels say whose it is, and Pod Security warns"},
		{"ResourceQuota", each, "ringfence", "limits of the tenant"},
		{"LimitRange", each, "ringfence", "limits of a container that states none"},
		{"NetworkPolicy", each, tenant.BaselineName, "closed but for what is granted"},
		{"CiliumNetworkPolicy", each, tenant.BaselineName, "the same where the network is Cilium's"},
		{"ServiceAccount", each, defaultAccount, "the cluster makes it; pods that name no account get no token"},
		{"RoleBinding", each, "ringfence-*", "rights of the tenant's groups and pipelines"},
		{"ClusterRole", "", tenant.SightPrefix + "*", "people of a tenant find their namespaces"},
		{"ClusterRoleBinding", "", tenant.SightPrefix + "*", "people of a tenant find their namespaces"},
		{"ServiceAccount", asked, v1alpha1.ElevationPrefix + "*", "an elevation's, while it lasts"},
		{"RoleBinding", asked, v1alpha1.ElevationPrefix + "*", "an elevation's rights, while it lasts"},
		{"NetworkPolicy", asked, "ringfence-quarantine-*", "closes the network of a quarantined workload"},
	}
}

// keptReports are the policy reports that Ringfence has a right to keep.
func keptReports(rights []Right) (all []Planned) {
	for _, kind := range made {
		if slices.ContainsFunc(rights, func(r Right) bool { return r.Only != "" && r.Group == kind.Group }) {
			all = append(all, Planned{kind.Kind, "", "ringfence-scan", "what is open, where the Platform asks for it"})
		}
	}
	return all
}

// kindOf is the kind of an object that may not say it.
func kindOf(o client.Object) string {
	_, kind, _ := strings.Cut(fmt.Sprintf("%T", o), ".")
	return kind
}
