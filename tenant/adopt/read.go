package adopt

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// Estate is what was read. The zero value is not usable: see New. It is for one goroutine.
type Estate struct {
	options    Options
	readers    map[string]func(*Estate, *Object, map[string]any)
	namespaces map[string]*namespace
	objects    []*Object
	seen       map[string]*Object // by kind, namespace and name
	notRead    map[NotRead]int

	bindings        []*binding
	clusterBindings []*binding
	roles           map[string]*role // by namespace/name, namespace "" for ClusterRoles
	quotas          []*quota
	policies        []*policy
	capsules        map[string]*capsule
	projects        map[string]string // Rancher: display name by project id
	groups          map[string]bool   // of the cluster itself (OpenShift)
	taken           map[string]bool   // names of Tenants that are there already
	platform        *v1alpha1.Platform
	decisions       map[string]*Decision
	all             map[string]bool // every group that is bound to anything
}

// namespace is what is known of one.
type namespace struct {
	*Object
	labels, notes map[string]string
	// given says that the Namespace object was read; else others name it.
	given, ending bool
	// parent and ancestors are HNC's: ancestors by depth.
	parent  string
	anchor  bool
	capsule string

	system string // why it is the platform's, "" if it is not
	claim  claim
	access []access
	quotas []*quota
	closed map[string]bool // Ingress, Egress: a policy that selects all pods closes it
}

// binding is a RoleBinding or a ClusterRoleBinding.
type binding struct {
	*Object
	role     string
	roleKind string
	labels   map[string]string
	subjects []subject
}

// subject is one subject of a binding.
type subject struct{ kind, name, namespace string }

// quota is a ResourceQuota.
type quota struct {
	*Object
	hard   map[string]string
	scoped bool
	labels map[string]string
}

// policy is a network policy of any kind, or what else stays in a namespace.
type policy struct {
	*Object
	closes []string // Ingress, Egress, where it selects every pod
	opens  []string // what it opens outside the cluster
}

// New begins to read an estate.
func New(o Options) *Estate {
	return &Estate{options: o, readers: readers(), namespaces: map[string]*namespace{}, seen: map[string]*Object{}, notRead: map[NotRead]int{}, roles: map[string]*role{},
		capsules: map[string]*capsule{}, projects: map[string]string{}, groups: map[string]bool{}, taken: map[string]bool{},
		decisions: map[string]*Decision{}, all: map[string]bool{}}
}

// readers are the kinds that say something of tenants, by group and kind.
func readers() map[string]func(*Estate, *Object, map[string]any) {
	rbac, openshift := "rbac.authorization.k8s.io/", "authorization.openshift.io/"
	all := map[string]func(*Estate, *Object, map[string]any){
		"/Namespace": (*Estate).namespace, "project.openshift.io/Project": (*Estate).namespace,
		"/ResourceQuota": (*Estate).quota, "/LimitRange": (*Estate).limits,
		"networking.k8s.io/NetworkPolicy": (*Estate).policy, "extensions/NetworkPolicy": (*Estate).policy,
		"cilium.io/CiliumNetworkPolicy": (*Estate).policy, "cilium.io/CiliumClusterwideNetworkPolicy": (*Estate).clusterPolicy,
		"crd.projectcalico.org/NetworkPolicy": (*Estate).policy, "crd.projectcalico.org/GlobalNetworkPolicy": (*Estate).clusterPolicy,
		"projectcalico.org/NetworkPolicy": (*Estate).policy, "projectcalico.org/GlobalNetworkPolicy": (*Estate).clusterPolicy,
		"policy.networking.k8s.io/AdminNetworkPolicy": (*Estate).clusterPolicy, "policy.networking.k8s.io/BaselineAdminNetworkPolicy": (*Estate).clusterPolicy,
		"capsule.clastix.io/Tenant":           (*Estate).capsule,
		"hnc.x-k8s.io/HierarchyConfiguration": (*Estate).hierarchy, "hnc.x-k8s.io/SubnamespaceAnchor": (*Estate).anchor,
		"hnc.x-k8s.io/HierarchicalResourceQuota":  (*Estate).treeQuota,
		"quota.openshift.io/ClusterResourceQuota": (*Estate).clusterQuota,
		"user.openshift.io/Group":                 (*Estate).group,
		"management.cattle.io/Project":            (*Estate).project,
		"argoproj.io/AppProject":                  (*Estate).stays,
		"ringfence.dev/Tenant":                    (*Estate).tenant, "ringfence.dev/Platform": (*Estate).platformObject,
	}
	for _, group := range []string{rbac, openshift} {
		all[group+"RoleBinding"], all[group+"ClusterRoleBinding"] = (*Estate).roleBinding, (*Estate).roleBinding
		all[group+"Role"], all[group+"ClusterRole"] = (*Estate).readRole, (*Estate).readRole
	}
	return all
}

// Kinds are the kinds that Add reads, as group/kind, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(readers())) }

// same are kinds of which two groups show the same objects.
func same(kind string) string {
	if kind == "Project" {
		return "Namespace"
	}
	return kind
}

// Add reads one decoded object; where says where it stands, as file:line, "" for a cluster. Nothing of it is kept that says
// nothing of tenants.
func (e *Estate) Add(value map[string]any, where string) {
	apiVersion, kind := textOf(value["apiVersion"]), textOf(value["kind"])
	group := groupOf(apiVersion)
	read := e.readers[group+"/"+kind]
	if read == nil {
		e.notRead[NotRead{APIVersion: show(apiVersion), Kind: show(kind)}]++
		return
	}
	if group == "ringfence.dev" || group == "management.cattle.io" || group == "capsule.clastix.io" {
		kind = map[string]string{"ringfence.dev": "Ringfence ", "management.cattle.io": "Rancher ", "capsule.clastix.io": "Capsule "}[group] + kind
	} else {
		kind = same(kind)
	}
	o := &Object{Kind: kind, Namespace: textOf(at(value, "metadata", "namespace")), Name: textOf(at(value, "metadata", "name")), At: where}
	if kind == "Namespace" || strings.HasPrefix(kind, "Cluster") {
		o.Namespace = ""
	}
	e.objects = append(e.objects, o)
	if o.Name == "" {
		o.set(Unmapped, "", "it has no metadata.name")
		return
	}
	key := kind + "\x00" + o.Namespace + "\x00" + o.Name
	if first := e.seen[key]; first != nil {
		o.set(Duplicate, "", "the same was read before"+place(first.At))
		if kind == "Namespace" { // OpenShift shows a namespace twice, and may say more of it the second time
			e.annotate(o.Name, value)
		}
		return
	}
	e.seen[key] = o
	read(e, o, value)
}

func place(where string) string {
	if where == "" {
		return ""
	}
	return ", at " + show(where)
}

// of is the namespace of a name, which is made where nothing said of it yet.
func (e *Estate) of(name string) *namespace {
	n := e.namespaces[name]
	if n == nil {
		n = &namespace{Object: &Object{Kind: "Namespace", Name: name}, closed: map[string]bool{}}
		e.namespaces[name] = n
	}
	return n
}

func (e *Estate) namespace(o *Object, value map[string]any) {
	n := e.of(o.Name)
	n.Object, n.given = o, true
	n.ending = at(value, "metadata", "deletionTimestamp") != nil || textOf(at(value, "status", "phase")) == "Terminating"
	n.labels, n.notes = words(at(value, "metadata", "labels")), words(at(value, "metadata", "annotations"))
	for _, ref := range listOf(at(value, "metadata", "ownerReferences")) {
		if textOf(at(ref, "kind")) == "Tenant" && groupOf(textOf(at(ref, "apiVersion"))) == "capsule.clastix.io" {
			n.capsule = textOf(at(ref, "name"))
		}
	}
	n.capsule = cmp.Or(n.labels["capsule.clastix.io/tenant"], n.labels["projectcapsule.dev/tenant"], n.capsule)
	if parent := n.notes["hnc.x-k8s.io/subnamespace-of"]; parent != "" {
		n.parent, n.anchor = parent, true
	}
	for _, key := range slices.Sorted(maps.Keys(n.labels)) {
		if above, ok := strings.CutSuffix(key, ".tree.hnc.x-k8s.io/depth"); ok && n.labels[key] == "1" && n.parent == "" && above != n.Name {
			n.parent = above
		}
	}
}

// annotate adds labels and annotations that are said of a namespace a second time.
func (e *Estate) annotate(name string, value map[string]any) {
	n := e.of(name)
	for _, side := range []struct {
		have *map[string]string
		more map[string]string
	}{{&n.labels, words(at(value, "metadata", "labels"))}, {&n.notes, words(at(value, "metadata", "annotations"))}} {
		for k, v := range side.more {
			if _, there := (*side.have)[k]; !there {
				if *side.have == nil {
					*side.have = map[string]string{}
				}
				(*side.have)[k] = v
			}
		}
	}
}

// inside gives an object the namespace it lies in, nil where it names none.
func (e *Estate) inside(o *Object) *namespace {
	if o.Namespace == "" {
		o.set(Unmapped, "", "it has no metadata.namespace, so nobody can tell whose it is")
		return nil
	}
	return e.of(o.Namespace)
}

func (e *Estate) quota(o *Object, value map[string]any) {
	if e.inside(o) == nil {
		return
	}
	q := &quota{Object: o, hard: amounts(at(value, "spec", "hard")), labels: words(at(value, "metadata", "labels"))}
	q.scoped = len(listOf(at(value, "spec", "scopes"))) > 0 || at(value, "spec", "scopeSelector") != nil
	e.quotas = append(e.quotas, q)
}

func (e *Estate) limits(o *Object, _ map[string]any) {
	if e.inside(o) != nil {
		o.set(Kept, "", "it stays and goes on filling in defaults; Ringfence writes a LimitRange of its own for volume claims alone")
	}
}

func (e *Estate) policy(o *Object, value map[string]any) {
	if n := e.inside(o); n != nil {
		p := readPolicy(o, value)
		for _, side := range p.closes {
			n.closed[side] = true
		}
		e.policies = append(e.policies, p)
	}
}

func (e *Estate) clusterPolicy(o *Object, _ map[string]any) {
	o.Namespace = ""
	o.set(OfPlatform, "", "it holds for the whole cluster; it stays")
}

func (e *Estate) stays(o *Object, _ map[string]any) {
	o.set(Kept, "", "it speaks of deliveries, not of people in namespaces; it stays")
}

func (e *Estate) hierarchy(o *Object, value map[string]any) {
	n := e.inside(o)
	if n == nil {
		return
	}
	if parent := textOf(at(value, "spec", "parent")); parent != "" {
		n.parent = parent
		e.of(parent)
	}
	o.set(Mapped, "", "it says whose child the namespace is")
}

func (e *Estate) anchor(o *Object, _ map[string]any) {
	if e.inside(o) == nil {
		return
	}
	n := e.of(o.Name)
	n.anchor = true
	if n.parent == "" {
		n.parent = o.Namespace
	}
	o.set(Mapped, "", "it says whose child namespace "+show(o.Name)+" is")
}

func (e *Estate) treeQuota(o *Object, value map[string]any) {
	if e.inside(o) == nil {
		return
	}
	e.decide("quota-of-a-tree", "", o, "a quota for a namespace and all below it; Ringfence's quota is for each namespace alone: divide it among them, or keep HNC for it", "it stays and holds as long as HNC runs")
	o.set(Decide, "", "a quota over a tree of namespaces: "+show(strings.Join(slices.Sorted(maps.Keys(amounts(at(value, "spec", "hard")))), ", ")))
}

func (e *Estate) clusterQuota(o *Object, _ map[string]any) {
	e.decide("quota-of-several", "", o, "a quota over several namespaces; Ringfence's quota is for each namespace alone: divide it among them, or keep this one", "it stays and holds")
	o.set(Decide, "", "a quota over several namespaces")
}

func (e *Estate) group(o *Object, value map[string]any) {
	e.groups[o.Name] = true
	e.decide("group-of-the-cluster", "", o, "the cluster itself keeps who is in these groups (user.openshift.io), which the identity provider does not know: make each there before the Tenants are applied", "their bindings stay")
	o.set(Decide, "", "a group kept by the cluster, with "+plural(len(listOf(value["users"])), "member"))
}

func (e *Estate) project(o *Object, value map[string]any) {
	if name := textOf(at(value, "spec", "displayName")); name != "" {
		e.projects[o.Name] = name
	}
	o.set(Mapped, "", "it names the project of namespaces")
}

func (e *Estate) tenant(o *Object, _ map[string]any) {
	e.taken[o.Name] = true
	o.set(Kept, o.Name, "it is a Tenant of Ringfence already")
}

// platformObject takes the Platform that is there: what it says of groups and of exempt namespaces is not guessed anew.
func (e *Estate) platformObject(o *Object, value map[string]any) {
	o.set(Kept, "", "it is Ringfence's own; what it says of groups is taken over")
	e.platform = &v1alpha1.Platform{}
	prefix, ok := at(value, "spec", "identity", "groupPrefix").(string)
	if ok {
		e.platform.Spec.Identity.GroupPrefix = &prefix
	}
}
