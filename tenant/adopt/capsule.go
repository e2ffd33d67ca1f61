package adopt

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// capsule is a Tenant of Capsule: what of it Ringfence has a place for, and the rest.
type capsule struct {
	*Object
	namespaces []string
	owners     []subject
	ownerRoles [][]string // of the owners, in their order; none is Capsule's default, admin
	owned      []level    // what these come to
	bindings   []*binding
	registries []v1alpha1.Registry
	grants     v1alpha1.Grants
	storage    []string // classes that volume claims, and ingress those that Ingresses and Gateways may name
	ingress    []string
	labels     map[string]string
	notes      map[string]string
	quotas     []map[string]string
	whole      bool // the quotas are for the tenant as a whole
	lost       []string
}

var (
	registryForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9._-]+)*$`)
	hostForm     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

// carried are the fields of a Capsule Tenant of any version that have a place in Ringfence, whole or in part.
const carried = " owners owner namespaceOptions namespacesMetadata containerRegistries ingressOptions ingressHostnames ingressClasses storageClasses priorityClasses runtimeClasses " +
	"additionalRoleBindings resourceQuotas limitRanges networkPolicies "

func (e *Estate) capsule(o *Object, value map[string]any) {
	spec := mapOf(value["spec"])
	c := &capsule{Object: o, namespaces: texts(at(value, "status", "namespaces")), notes: words(at(value, "metadata", "annotations"))}
	e.capsules[o.Name] = c
	owners := listOf(spec["owners"])
	if one := mapOf(spec["owner"]); one != nil { // v1alpha1
		owners = append(owners, one)
	}
	for _, owner := range owners {
		s := subject{kind: textOf(at(owner, "kind")), name: textOf(at(owner, "name"))}
		if rest, ok := strings.CutPrefix(s.name, "system:serviceaccount:"); ok {
			s.namespace, s.name, _ = strings.Cut(rest, ":")
			s.kind = "ServiceAccount"
		}
		c.owners, c.ownerRoles = append(c.owners, s), append(c.ownerRoles, texts(at(owner, "clusterRoles")))
		if s.kind == "Group" {
			e.all[s.name] = true
		}
	}
	for _, more := range listOf(spec["additionalRoleBindings"]) {
		b := &binding{Object: o, role: textOf(at(more, "clusterRoleName")), roleKind: "ClusterRole"}
		for _, s := range listOf(at(more, "subjects")) {
			b.subjects = append(b.subjects, subject{textOf(at(s, "kind")), textOf(at(s, "name")), textOf(at(s, "namespace"))})
		}
		c.bindings = append(c.bindings, b)
	}
	c.readLists(spec)
	for _, item := range append(listOf(at(spec, "resourceQuotas", "items")), listOf(spec["resourceQuotas"])...) {
		if len(listOf(at(item, "scopes"))) == 0 && at(item, "scopeSelector") == nil {
			c.quotas = append(c.quotas, amounts(at(item, "hard")))
		}
	}
	c.whole = len(c.quotas) > 0 && textOf(at(spec, "resourceQuotas", "scope")) != "Namespace"
	for field, v := range spec {
		if empty := v == nil || v == false || v == "" || v == "Disabled"; !empty && !strings.Contains(carried, " "+field+" ") {
			c.lost = append(c.lost, field)
		}
	}
	slices.Sort(c.lost)
	o.set(Mapped, "", "it says whose the namespaces are, who owns them and what they may use")
}

// readLists reads the lists of what is allowed.
func (c *capsule) readLists(spec map[string]any) {
	allowed := func(field string, v any) []string {
		if textOf(at(v, "allowedRegex")) != "" {
			c.lost = append(c.lost, field+".allowedRegex")
		}
		if len(mapOf(at(v, "matchLabels"))) > 0 || len(listOf(at(v, "matchExpressions"))) > 0 {
			c.lost = append(c.lost, field+" by labels")
		}
		return texts(at(v, "allowed"))
	}
	keep := func(field string, names []string, form *regexp.Regexp, most int) (kept []string) {
		for _, name := range names {
			if form.MatchString(name) && len(name) <= 253 && len(kept) < most && !slices.Contains(kept, name) {
				kept = append(kept, name)
			} else if !slices.Contains(kept, name) {
				c.lost = append(c.lost, field+" "+show(name))
			}
		}
		slices.Sort(kept)
		return kept
	}
	for _, r := range keep("containerRegistries", allowed("containerRegistries", spec["containerRegistries"]), registryForm, 100) {
		c.registries = append(c.registries, v1alpha1.Registry(r))
	}
	hosts := allowed("ingressOptions.allowedHostnames", at(spec, "ingressOptions", "allowedHostnames"))
	hosts = append(hosts, allowed("ingressHostnames", spec["ingressHostnames"])...)
	for i, h := range hosts {
		hosts[i] = strings.TrimPrefix(h, "*.")
	}
	c.grants.Hosts = keep("ingressOptions.allowedHostnames", hosts, hostForm, 100)
	c.grants.PriorityClasses = keep("priorityClasses", allowed("priorityClasses", spec["priorityClasses"]), hostForm, 20)
	c.grants.RuntimeClasses = keep("runtimeClasses", allowed("runtimeClasses", spec["runtimeClasses"]), hostForm, 20)
	c.storage = keep("storageClasses", allowed("storageClasses", spec["storageClasses"]), hostForm, 50)
	classes := allowed("ingressOptions.allowedClasses", at(spec, "ingressOptions", "allowedClasses"))
	c.ingress = keep("ingressOptions.allowedClasses", append(classes, allowed("ingressClasses", spec["ingressClasses"])...), hostForm, 20)
	for _, field := range []string{"quota", "forbiddenLabels", "forbiddenAnnotations"} {
		if v := at(spec, "namespaceOptions", field); v != nil && len(mapOf(v)) == 0 != (mapOf(v) != nil) {
			c.lost = append(c.lost, "namespaceOptions."+field)
		}
	}
	for _, place := range []any{at(spec, "namespaceOptions", "additionalMetadata"), spec["namespacesMetadata"]} {
		labels := words(at(place, "labels"))
		if len(labels) == 0 {
			labels = words(at(place, "additionalLabels"))
		}
		if len(labels) > 0 {
			c.labels = labels
		}
	}
}

// judgeOwners finds what the owners may do, once every role was read.
func (c *capsule) judgeOwners(e *Estate) {
	for _, roles := range c.ownerRoles {
		most := levelAdmin
		if len(roles) > 0 {
			most = levelNarrow
		}
		for _, name := range roles {
			r, _ := e.roleOf(&binding{Object: &Object{}, role: name, roleKind: "ClusterRole"})
			most = max(most, r.level)
		}
		c.owned = append(c.owned, most)
	}
}

// claimCapsules gives the namespaces of Capsule's Tenants to them, with the rights that Capsule gives their owners.
func (e *Estate) claimCapsules() {
	for _, name := range slices.Sorted(maps.Keys(e.capsules)) {
		e.capsules[name].judgeOwners(e)
		for _, ns := range e.capsules[name].namespaces {
			if n := e.of(ns); n.capsule == "" {
				n.capsule = name
			}
		}
	}
	for _, n := range e.sorted() {
		if n.capsule == "" || n.system != "" || n.ending {
			continue
		}
		n.claim = claim{tenant: n.capsule, by: "Capsule Tenant " + show(n.capsule), sure: Certain}
		c := e.capsules[n.capsule]
		if c == nil {
			continue
		}
		for i, s := range c.owners {
			if s.kind == "Group" && !strings.HasPrefix(s.name, "system:") && c.owned[i] != levelNarrow {
				n.access = append(n.access, access{s.name, c.owned[i], c.Object, ""})
			}
		}
		for _, b := range c.bindings {
			r, _ := e.roleOf(b)
			for _, s := range b.subjects {
				if s.kind == "Group" && !strings.HasPrefix(s.name, "system:") && r.level != levelNarrow {
					n.access = append(n.access, access{s.name, r.level, c.Object, ""})
				}
			}
		}
	}
}
