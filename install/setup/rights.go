package setup

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cluster/probe"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/tenant"
)

// Account is the ServiceAccount that Ringfence runs as, in v1alpha1.SystemNamespace, and the name of its roles and of its Deployment. Native
// policies name the account, so that it cannot be another one.
const Account = "ringfence"

// Observer is the ServiceAccount that only looks, and the name of its role and of the CronJob that runs ringfence observe.
const Observer = "ringfence-observe"

// Right is one rule of Ringfence's own account, and why it is needed.
type Right struct {
	// Why is for whoever must approve it.
	Why string `json:"why"`
	// Here says that it counts in Ringfence's own namespace alone; else it counts in the whole cluster.
	Here bool `json:"here,omitempty"`
	// Only is the value of the chart, as section.name, without which the account has not got it; "" is always.
	Only string `json:"only,omitempty"`
	// Group and Resources are what, Names which of them; none is all. Verbs are what is done.
	Group     string   `json:"group"`
	Resources []string `json:"resources"`
	Names     []string `json:"names,omitempty"`
	Verbs     []string `json:"verbs"`
}

// Rule is the right as the API server has it.
func (r Right) Rule() rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{r.Group}, Resources: r.Resources, ResourceNames: r.Names, Verbs: r.Verbs}
}

const (
	look = "get list watch"
	keep = "create update delete " + look
	rbac = "rbac.authorization.k8s.io"
)

// Rights are all rights of Ringfence's own account: what its packages need, and what the catalogue's kinds need. None has a wildcard. The
// chart's files/rights.yaml is made of them, so that they are stated here alone.
func Rights(cat *control.Catalogue) ([]Right, error) {
	kinds, err := kindNames()
	if err != nil {
		return nil, err
	}
	right := func(group, resources, verbs, why string) Right {
		return Right{Why: why, Group: group, Resources: strings.Fields(resources), Verbs: strings.Fields(verbs)}
	}
	named := func(r Right, names ...string) Right { r.Names = names; return r }
	here := func(r Right) Right { r.Here = true; return r }
	only := func(value string, r Right) Right { r.Only = value; return r }
	all := []Right{
		right("ringfence.dev", "platforms", look, "the bank's settings"),
		right("ringfence.dev", "platforms/status", "update patch", "conditions say whether the rules are in force, and why not"),
		right("ringfence.dev", "tenants", look+" patch", "the teams, and a finalizer that has an offboarding done in order; get, because nobody can give what he has not"),
		right("ringfence.dev", "tenants/status", "update", "phases and conditions of tenants"),
		right("ringfence.dev", "guards", keep+" patch", "what is compiled for each namespace; only Ringfence writes it"),
		right("ringfence.dev", "waivers", "list watch", "what is waived, and until when"),
		right("ringfence.dev", "elevations quarantines", look+" update", "more rights for a while, and workloads cut off: a finalizer has each ended in order"),
		right("ringfence.dev", "elevations/status quarantines/status", "update", "how far each of them is"),
		right("apiextensions.k8s.io", "customresourcedefinitions", "create "+look, "Ringfence's own kinds; which kinds the cluster has"),
		named(right("apiextensions.k8s.io", "customresourcedefinitions", "update", "its own kinds are put back where somebody edits them"), kinds...),
		right("admissionregistration.k8s.io", "validatingadmissionpolicies validatingadmissionpolicybindings", keep, "the native rules, which hold while Ringfence is down"),
		right("admissionregistration.k8s.io", "mutatingadmissionpolicies mutatingadmissionpolicybindings", keep, "what the platform fills in, on servers that serve these kinds"),
		right("admissionregistration.k8s.io", "validatingwebhookconfigurations mutatingwebhookconfigurations", keep, "the webhook, for what native policies of this server cannot say"),
		right("", "namespaces", "create patch delete "+look, "onboarding, labels, and deletion where a tenant asks for it"),
		right("", "serviceaccounts", "create patch delete "+look, "no token in pods that name no account; an account for each elevation"),
		right("", "serviceaccounts/token", "create", "tokens of elevations; a native policy refuses it those of other accounts"),
		right("", "resourcequotas limitranges", keep, "limits of tenants"),
		right("networking.k8s.io", "networkpolicies", keep+" patch", "network baseline of tenants; the closed network of a quarantine"),
		right("cilium.io", "ciliumnetworkpolicies", keep, "the same where the network is Cilium's"),
		right(rbac, "rolebindings clusterroles clusterrolebindings", keep, "rights of teams, pipelines and elevations; letting people find their namespaces"),
		named(right(rbac, "clusterroles", "escalate", "these roles are Ringfence's, and hold rights that it does not have itself"), roleNames()...),
		named(right(rbac, "clusterroles", "bind", "gives these roles and no others"), tenant.BoundRoles()...),
		right("", "pods", look+" patch", "debug containers whose time is over, images that run, the label of a quarantine"),
		right("", "pods/eviction", "create", "evicts the pod of a debug container whose time is over"),
		right("", "events", "list", "kept as evidence of a quarantined workload"),
		right("apps", "deployments statefulsets daemonsets replicasets", "get list", "whose pods a quarantine is about; kept as evidence"),
		right("batch", "jobs cronjobs", "get list", "likewise"),
		right("authentication.k8s.io", "tokenreviews", "create", "whose the token is of somebody who asks for an elevation's token"),
		only("reports.openReports", right("openreports.io", "reports clusterreports", "create patch delete list", "a report of what is open in each guarded namespace and outside of all, where the Platform asks for it")),
		only("reports.policyReports", right("wgpolicyk8s.io", "policyreports clusterpolicyreports", "create patch delete list", "likewise, in the older form")),
		only("images.trivyOperator", right("aquasecurity.github.io", "vulnerabilityreports clustervulnerabilityreports", "list watch", "what the trivy-operator found in images")),
		here(right("coordination.k8s.io", "leases", "create", "of several replicas one writes")),
		here(named(right("coordination.k8s.io", "leases", "get update", "of several replicas one writes"), Account)),
		here(right("", "configmaps", "create", "the certificates of replicas, which API servers must trust; no key is in them")),
		here(named(right("", "configmaps", "get update", "the certificates of replicas"), "ringfence-webhook-trust")),
		here(named(right("", "configmaps", "get", "records what ringfence verify-cluster showed"), probe.ReportName)),
		here(right("", "events", "create patch", "says who leads")),
	}
	return append(all, catalogueRights(cat)...), nil
}

// catalogueRights are those that follow from what the controls judge.
func catalogueRights(cat *control.Catalogue) (all []Right) {
	workloads, others := cat.Kinds()
	groups := map[string][]string{}
	unreachable := func(k control.Kind) bool {
		return slices.ContainsFunc(cat.Groups(), func(g control.Group) bool { return g.Unreachable && slices.ContainsFunc(g.Kinds, sameKind(k)) })
	}
	for _, k := range append(workloads, others...) {
		groups[k.APIGroup] = append(groups[k.APIGroup], k.Resource)
	}
	for _, group := range sorted(groups) {
		resources := slices.Compact(slices.Sorted(slices.Values(groups[group])))
		all = append(all, Right{Why: "what stands in the cluster is judged in the background", Group: group, Resources: resources, Verbs: []string{"list", "watch"}})
		tried := slices.DeleteFunc(slices.Clone(resources), func(resource string) bool {
			return slices.ContainsFunc(append(workloads, others...), func(k control.Kind) bool {
				return k.APIGroup == group && k.Resource == resource && unreachable(k)
			})
		})
		if len(tried) > 0 {
			all = append(all, Right{Why: "whether the rules refuse is tried by dry runs; nothing of this is ever stored", Group: group, Resources: tried, Verbs: []string{"create"}})
		}
	}
	return all
}

func sameKind(k control.Kind) func(control.Kind) bool {
	return func(o control.Kind) bool { return o.APIGroup == k.APIGroup && o.Kind == k.Kind }
}

func sorted(m map[string][]string) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, cmp.Compare)
	return keys
}

// kindNames are the definitions of Ringfence's own kinds, of which each has a file GROUP_PLURAL.yaml.
func kindNames() (names []string, err error) {
	files, err := fs.Glob(v1alpha1.CRDs(), "*.yaml")
	for _, file := range files {
		group, plural, _ := strings.Cut(strings.TrimSuffix(file, ".yaml"), "_")
		names = append(names, plural+"."+group)
	}
	return names, err
}

// roleNames are the roles that Ringfence keeps the same for every tenant.
func roleNames() (names []string) {
	for _, role := range tenant.Roles() {
		names = append(names, role.Name)
	}
	return names
}

// RightsYAML is the text of the chart's files/rights.yaml.
func RightsYAML(cat *control.Catalogue) ([]byte, error) {
	rights, err := Rights(cat)
	if err != nil {
		return nil, err
	}
	return rightsText("Rights", rights)
}

func rightsText(from string, rights []Right) ([]byte, error) {
	text, err := yaml.Marshal(rights)
	if err != nil {
		return nil, fmt.Errorf("write the rights that setup.%s says: %w", from, err)
	}
	return append(fmt.Appendf(nil, "# Made of setup.%s by go test ./charts -update; do not edit.\n", from), text...), nil
}
