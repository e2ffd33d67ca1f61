// Package adopt reads what an existing cluster says of its teams and plans the Tenant objects that would take it over.
//
// It is pure: objects go in by Add, a Plan comes out, and nothing is changed anywhere. It understands plain Kubernetes
// (labels, names, bindings), Capsule, the Hierarchical Namespace Controller, OpenShift and Rancher. Every object is mapped,
// or kept, or listed with the reason. It never gives a group a right that the group has not got today: where somebody must
// decide, the Tenant names a group that nobody is in. The command line calls it.
package adopt

import (
	"cmp"
	"slices"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// Options say how an estate is read.
type Options struct {
	// TenantLabels are keys of labels or annotations of namespaces that name the tenant, the first that is there wins. They
	// are asked before the usual keys.
	TenantLabels []string
	// GroupPrefix is what the API server puts before each group of the identity provider; nil means that it is found out.
	GroupPrefix *string
}

// Outcome is what became of one object.
type Outcome string

// The outcomes. Each object has exactly one.
const (
	// Mapped means: a Tenant carries what the object says.
	Mapped Outcome = "mapped"
	// Kept means: the object stays as it is and goes on working beside Ringfence's own.
	Kept Outcome = "kept"
	// OfPlatform means: it belongs to the platform, not to a team.
	OfPlatform Outcome = "platform"
	// Decide means: what it says is known, and a person has to choose; it stays as it is until then.
	Decide Outcome = "decide"
	// Unmapped means: it could not be told what the object is for.
	Unmapped Outcome = "unmapped"
	// Duplicate means: the same object was read before, and that one counts.
	Duplicate Outcome = "duplicate"
)

// Object is one object that was read, and what became of it.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// At is where it was read, file:line, or "" where it came of a cluster.
	At      string  `json:"at"`
	Outcome Outcome `json:"outcome"`
	// Tenant is the tenant that it belongs to, "" for none.
	Tenant string `json:"tenant"`
	// Reason says what became of it and why.
	Reason string `json:"reason"`

	inherited bool // HNC copied it from a namespace above
}

// Ref names the object for messages, for instance RoleBinding payments-dev/admins.
func (o *Object) Ref() string {
	if o.Namespace == "" {
		return o.Kind + " " + show(o.Name)
	}
	return o.Kind + " " + show(o.Namespace) + "/" + show(o.Name)
}

// set gives the object its outcome. What needs a decision stays so, whatever else is mapped of it.
func (o *Object) set(outcome Outcome, tenant, reason string) {
	if o == nil {
		return
	}
	rank := []Outcome{"", Kept, OfPlatform, Mapped, Decide, Unmapped, Duplicate}
	if slices.Index(rank, outcome) < slices.Index(rank, o.Outcome) {
		return
	}
	o.Outcome, o.Tenant, o.Reason = outcome, cmp.Or(tenant, o.Tenant), reason
}

// Sure says how sure a choice is.
type Sure string

// How sure a choice may be.
const (
	// Certain means: an object says so that was made to say it.
	Certain Sure = "certain"
	// High means: a label made for the purpose says so.
	High Sure = "high"
	// Medium means: names or bindings suggest it.
	Medium Sure = "medium"
	// Low means: it is a guess that must be looked at.
	Low Sure = "low"
)

// Decision is something that a person must decide before the Tenant is applied.
type Decision struct {
	// Kind is the kind of the decision, for instance person-bound; docs/adopt.md lists them.
	Kind string `json:"kind"`
	// Tenant is the tenant it is about, "" for the platform.
	Tenant string `json:"tenant"`
	// Question says what was found and what there is to choose.
	Question string `json:"question"`
	// Until says what holds until it is decided.
	Until string `json:"until"`
	// About are the objects and names it is about, sorted.
	About []string `json:"about"`
}

// Environment is one namespace of an adopted tenant and why it is one.
type Environment struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	By        string `json:"by"`
	Sure      Sure   `json:"sure"`
	// ProductionBy says why it counts as production or not.
	ProductionBy string `json:"productionBy"`
	// Changes is what Ringfence would write there, in its order.
	Changes []string `json:"changes"`
	// Superseded are bindings that say no more than Ringfence's own, and could be deleted once those are there. Ringfence
	// deletes none of them.
	Superseded []string `json:"superseded"`
	// Policies are the network policies that stay.
	Policies []string `json:"policies"`
	// Closes says what traffic that is open today the baseline would close: ingress, egress, or both.
	Closes []string `json:"closes"`
}

// Tenant is one adopted tenant.
type Tenant struct {
	// Object is the Tenant to apply.
	Object v1alpha1.Tenant `json:"-"`
	// Name is its name, and Was how the estate calls it.
	Name string `json:"name"`
	Was  string `json:"was"`
	// By says by what its namespaces were put together, and Sure how sure the least sure of them is.
	By           string        `json:"by"`
	Sure         Sure          `json:"sure"`
	Environments []Environment `json:"environments"`

	notes notes
}

// NotRead counts the objects of a kind that says nothing of tenants.
type NotRead struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Count      int    `json:"count"`
}

// Counts are what was read, and what became of it.
type Counts struct {
	Objects    int `json:"objects"`
	Namespaces int `json:"namespaces"`
	Bindings   int `json:"bindings"`
	Groups     int `json:"groups"`
	Quotas     int `json:"quotas"`
	// Tenants and Environments are what they were made into.
	Tenants      int `json:"tenants"`
	Environments int `json:"environments"`
	Mapped       int `json:"mapped"`
	Kept         int `json:"kept"`
	Platform     int `json:"platform"`
	Decide       int `json:"decide"`
	Unmapped     int `json:"unmapped"`
	Duplicates   int `json:"duplicates"`
	// NotRead counts objects of kinds that say nothing of tenants; they count in nothing else.
	NotRead int `json:"notRead"`
	// Decisions counts the decisions, each of which may be about many objects.
	Decisions int `json:"decisions"`
}

// UnmappedPercent is how many of a hundred objects could not be mapped; duplicates count in neither number.
func (c Counts) UnmappedPercent() float64 {
	if c.Objects == c.Duplicates {
		return 0
	}
	return 100 * float64(c.Unmapped) / float64(c.Objects-c.Duplicates)
}

// Plan is what taking over would be.
type Plan struct {
	// Platform is a proposal: exempt namespaces, the prefix of groups, registries.
	Platform  v1alpha1.Platform
	Tenants   []Tenant
	Decisions []Decision
	Objects   []Object
	NotRead   []NotRead
	Counts    Counts

	exempt map[string]string // why, by namespace
}

// show makes a text from outside fit for a line: no control characters, at most 120 runes.
func show(s string) string {
	s = clean(strings.ToValidUTF8(s, "�"))
	if runes := []rune(s); len(runes) > 120 {
		return string(runes[:119]) + "…"
	}
	return s
}
