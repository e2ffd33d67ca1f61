package adopt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// claim says to which tenant a namespace belongs, by what, and how sure that is.
type claim struct {
	tenant string // as the estate calls it
	key    string // the legal name: what differs in case and punctuation alone is one tenant
	by     string
	sure   Sure
}

// labelKey is a label's or annotation's key and how sure it is.
type labelKey struct {
	name string
	sure Sure
}

// usualKeys are the last parts of keys that name a team, in the order in which they are believed, without punctuation.
const usualKeys = "tenant tenantname tenantid team teamname teamid squad owningteam ownerteam teamowner owner ownedby"

// weakKeys name something that a team usually has to itself, but not always. They are asked last.
const weakKeys = "partof costcentre costcenter costcode product application app project department"

// labelKeys are the keys of a namespace that name its team, the most believed first.
func labelKeys(n *namespace, options []string) (keys []labelKey) {
	for _, key := range options {
		keys = append(keys, labelKey{key, High})
	}
	return append(keys, known(n, usualKeys, High)...)
}

// known are the keys of a namespace whose last part is one of the words, in the order of the words.
func known(n *namespace, wanted string, sure Sure) (keys []labelKey) {
	byWord := map[string][]string{}
	for _, of := range []map[string]string{n.labels, n.notes} {
		for key := range of {
			if w := lastPart(key); w != "" {
				byWord[w] = append(byWord[w], key)
			}
		}
	}
	for w := range strings.FieldsSeq(wanted) {
		slices.Sort(byWord[w])
		for _, key := range slices.Compact(byWord[w]) {
			keys = append(keys, labelKey{key, sure})
		}
	}
	return keys
}

// lastPart is a key without its domain and punctuation: cost-centre of bank.example/cost-centre is costcentre. Keys of
// machinery give "".
func lastPart(key string) string {
	domain, name, found := strings.Cut(key, "/")
	if !found {
		domain, name = "", key
	}
	for _, machine := range []string{"openshift.io", "cattle.io", "capsule.clastix.io", "projectcapsule.dev", "hnc.x-k8s.io", "ringfence.dev", "istio.io", "helm.sh"} {
		if domain == machine || strings.HasSuffix(domain, "."+machine) {
			return ""
		}
	}
	if strings.HasSuffix(domain, "kubernetes.io") && key != "app.kubernetes.io/part-of" {
		return ""
	}
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", ".", "").Replace(name))
}

// valueOf is a label or annotation, which says nothing where it is no name at all.
func valueOf(n *namespace, key string) string {
	v := cmp.Or(n.labels[key], n.notes[key])
	switch v = strings.TrimSpace(v); strings.ToLower(v) {
	case "true", "false", "none", "n/a", "na", "unknown", "tbd", "todo", "-", "null":
		return ""
	}
	if before, _, mail := strings.Cut(v, "@"); mail { // payments-team@bank.example
		v = before
	}
	if legal(v) == "" || len(v) > 200 {
		return ""
	}
	return v
}

// claimAll gives each namespace that is no platform's its tenant: by Capsule, HNC, labels, its name, who has admin rights,
// weaker labels, and last by itself.
func (e *Estate) claimAll() {
	e.claimCapsules()
	e.claimTrees()
	for _, n := range e.sorted() {
		if e.open(n) {
			e.claimByLabel(n)
		}
	}
	e.claimByName()
	e.claimByGroup()
	for _, n := range e.sorted() {
		if !e.open(n) {
			continue
		}
		for _, key := range known(n, weakKeys, Medium) {
			if v := valueOf(n, key.name); v != "" {
				n.claim = claim{tenant: v, by: fmt.Sprintf("label or annotation %s=%s", show(key.name), show(v)), sure: Medium}
				break
			}
		}
		if n.claim.tenant == "" {
			n.claim = claim{tenant: n.Name, by: "nothing says whose it is: a tenant of its own", sure: Low}
		}
	}
	for _, n := range e.namespaces {
		if n.claim.key = legal(n.claim.tenant); n.claim.key == "" && n.claim.tenant != "" {
			n.claim.key = legal("x" + n.Name)
		}
	}
}

// open reports whether a namespace still wants a tenant.
func (e *Estate) open(n *namespace) bool {
	return n.system == "" && !n.ending && n.claim.tenant == "" && n.labels["ringfence.dev/tenant"] == ""
}

func (e *Estate) claimByLabel(n *namespace) {
	keys := labelKeys(n, e.options.TenantLabels)
	for _, key := range keys {
		if v := valueOf(n, key.name); v != "" {
			n.claim = claim{tenant: v, by: fmt.Sprintf("label or annotation %s=%s", show(key.name), show(v)), sure: key.sure}
			return
		}
	}
	if project := rancherProject(n); project != "" {
		n.claim = claim{tenant: cmp.Or(e.projects[project], project), by: "Rancher project " + show(cmp.Or(e.projects[project], project)), sure: High}
	}
}

// claimByName takes <tenant>-<environment> apart. A name alone makes a tenant where another namespace shares it, or where
// the environment's word is a whole word.
func (e *Estate) claimByName() {
	byTenant := map[string][]*namespace{}
	for _, n := range e.sorted() {
		if !e.open(n) {
			continue
		}
		if tenant, _, _, ok := split(n.Name); ok {
			byTenant[tenant] = append(byTenant[tenant], n)
		}
	}
	claimed := map[string]bool{} // by stronger evidence
	for _, n := range e.namespaces {
		if n.claim.tenant != "" {
			claimed[legal(n.claim.tenant)] = true
		}
	}
	for tenant, all := range byTenant {
		letters := 0
		for _, n := range all {
			if _, _, short, _ := split(n.Name); short {
				letters++
			}
		}
		if letters == len(all) && letters < 2 {
			continue
		}
		for _, n := range all {
			_, environment, _, _ := split(n.Name)
			sure := Medium
			if len(all) > 1 || claimed[legal(tenant)] {
				sure = High
			}
			n.claim = claim{tenant: tenant, by: fmt.Sprintf("its name: tenant %s, environment %s", show(tenant), show(environment)), sure: sure}
		}
	}
}

// mostShared is in how many namespaces a group may have admin rights and still be taken for one team's.
const mostShared = maxEnvironments

// claimByGroup joins namespaces whose admin group is the same and nobody else's: to the tenant that has the group already,
// or to one of their own.
func (e *Estate) claimByGroup() {
	inGroup, tenants := map[string][]*namespace{}, map[string]map[string]string{}
	for _, n := range e.sorted() {
		if n.system != "" || n.ending {
			continue
		}
		for _, group := range n.groups(levelAdmin) {
			inGroup[group] = append(inGroup[group], n)
			if n.claim.tenant != "" {
				if tenants[group] == nil {
					tenants[group] = map[string]string{}
				}
				tenants[group][legal(n.claim.tenant)] = n.claim.tenant
			}
		}
	}
	for _, n := range e.sorted() {
		if !e.open(n) {
			continue
		}
		for _, group := range n.groups(levelAdmin) {
			if len(inGroup[group]) > mostShared || len(tenants[group]) > 1 {
				continue
			}
			name := teamOf(group, inGroup[group])
			for _, tenant := range tenants[group] {
				name = tenant
			}
			if len(inGroup[group]) > 1 || len(tenants[group]) == 1 {
				n.claim = claim{tenant: name, by: "its admin group: " + show(group) + " has admin rights in the tenant's other namespaces too", sure: Medium}
				break
			}
		}
	}
}

// teamOf names a tenant after its admin group, or after what its namespaces' names begin with where the group's is a number.
func teamOf(group string, all []*namespace) string {
	name := group
	if i := strings.LastIndexAny(name, ":/"); i >= 0 && i < len(name)-1 {
		name = name[i+1:]
	}
	if rest, ok := strings.CutPrefix(strings.ToUpper(name), "CN="); ok { // an LDAP name
		name, _, _ = strings.Cut(rest, ",")
	}
	var parts []string
	for _, part := range strings.Split(legal(name), "-") {
		switch part {
		case "admin", "admins", "administrators", "team", "developers", "devs", "edit", "editors", "owners", "owner", "group", "grp", "gg", "sg", "role", "k8s", "kubernetes", "aks", "eks", "oidc", "ns":
		default:
			if !isEnvironment(part) {
				parts = append(parts, part)
			}
		}
	}
	if len(parts) > 0 && !guid.MatchString(strings.ToLower(group)) {
		return strings.Join(parts, "-")
	}
	shared := strings.Split(all[0].Name, "-")
	for _, n := range all[1:] {
		other := strings.Split(n.Name, "-")
		i := 0
		for i < len(shared) && i < len(other) && shared[i] == other[i] {
			i++
		}
		shared = shared[:i]
	}
	if len(shared) > 0 {
		return strings.Join(shared, "-")
	}
	return all[0].Name
}
