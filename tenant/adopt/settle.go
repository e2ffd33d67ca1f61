package adopt

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// settleBindings says what becomes of each RoleBinding. Ringfence deletes none of them.
func (b *builder) settleBindings() {
	for _, one := range b.bindings {
		n := b.of(one.Namespace)
		switch {
		case n.system != "":
			b.inPlatform(one)
			continue
		case n.ending:
			one.set(Kept, "", "its namespace is being deleted")
			continue
		case one.labels["app.kubernetes.io/managed-by"] == "ringfence":
			one.set(Kept, b.tenantOf[n.Name], "it is Ringfence's own")
			continue
		case b.tenantOf[n.Name] == "":
			one.set(Unmapped, "", "its namespace has no tenant")
			continue
		case len(one.subjects) == 0:
			one.set(Kept, b.tenantOf[n.Name], "it binds nobody")
			continue
		}
		r, guessed := b.roleOf(one)
		for _, s := range one.subjects {
			b.settle(one, n, r, s)
		}
		if guessed && one.Outcome == Mapped {
			b.decide("role-not-read", one.Tenant, one.Object, "these bindings name roles whose rules were not read, and were taken by the role's name ("+show(one.role)+"): read the roles too", "the groups get what the name suggests")
		}
		if r.wildcard && one.Outcome == Mapped {
			b.decide("everything-allowed", one.Tenant, one.Object, "these bindings allow everything in the namespace, quotas, rights and policies too; Ringfence's admin role does not", "they stay until somebody deletes them")
		}
	}
}

// inPlatform settles a binding in a namespace of the platform.
func (b *builder) inPlatform(one *binding) {
	one.set(OfPlatform, "", "in a namespace of the platform; it stays")
	for _, s := range one.subjects {
		if (s.kind == "User" || s.kind == "Group") && !strings.HasPrefix(s.name, "system:") {
			b.decide("people-in-the-platform", "", one.Object, "people have rights in namespaces of the platform: are they the platform team?", "the bindings stay", s.kind+" "+show(s.name))
		}
	}
}

// settle says what becomes of one subject of a binding.
func (b *builder) settle(one *binding, n *namespace, r *role, s subject) {
	t := b.tenantOf[n.Name]
	who := s.kind + " " + show(s.name)
	decide := func(kind, question, until string) {
		b.decide(kind, t, one.Object, question, until, who)
		one.set(Decide, t, who+": "+question)
	}
	const stays = "the bindings stay; Ringfence neither makes nor deletes such"
	switch s.kind {
	case "Group":
		b.settleGroup(one, n, r, s, decide)
	case "User":
		if strings.HasPrefix(s.name, "system:") {
			one.set(Kept, t, "it binds "+who+", which is of Kubernetes")
			return
		}
		decide("person-bound", "rights are bound to single people or to users of machines: put them into a group of the identity provider, or let the right go", stays)
	case "ServiceAccount":
		home := cmp.Or(s.namespace, n.Name)
		switch {
		case home == n.Name || b.tenantOf[home] == t:
			one.set(Kept, t, "an account of the tenant's own; it stays")
		case b.namespaces[home] != nil && b.namespaces[home].system != "":
			b.decide("tools-of-the-platform", "", one.Object, "accounts of the platform's tools have rights in tenants' namespaces: which of them are to stay?", "the bindings stay", "ServiceAccount "+show(home)+"/"+show(s.name))
			one.set(Kept, t, "it binds an account of the platform, "+show(home)+"/"+show(s.name)+"; it stays")
		default:
			decide("account-of-another", "accounts of other teams' namespaces have rights here", stays)
		}
	default:
		one.set(Unmapped, t, "its subject is of kind "+show(s.kind)+"; want User, Group or ServiceAccount")
	}
}

func (b *builder) settleGroup(one *binding, n *namespace, r *role, s subject, decide func(kind, question, until string)) {
	t := b.tenantOf[n.Name]
	const stays = "the bindings stay; Ringfence neither makes nor deletes such"
	switch {
	case s.name == "":
		one.set(Unmapped, t, "it binds a group without a name")
	case s.name == "system:serviceaccounts:"+n.Name:
		one.set(Kept, t, "it binds the namespace's own accounts; it stays")
	case everybody(s.name):
		decide("everybody-bound", "everybody in the cluster, or every account, has rights here: let them go", stays)
	case strings.HasPrefix(s.name, "system:serviceaccounts:"):
		if home := strings.TrimPrefix(s.name, "system:serviceaccounts:"); b.tenantOf[home] == t {
			one.set(Kept, t, "it binds accounts of the tenant's own; it stays")
			return
		}
		decide("account-of-another", "accounts of other teams' namespaces have rights here", stays)
	case strings.HasPrefix(s.name, "system:"):
		one.set(Kept, t, "it binds a group of Kubernetes; it stays")
	case r.level == levelNarrow && len(r.reaches) > 0:
		decide("special-right", "groups have rights of their own kind that Ringfence's roles do not have ("+strings.Join(r.reaches, ", ")+"): are they to keep them?", stays)
	case r.level == levelNarrow:
		one.set(Kept, t, "a right smaller than looking at everything ("+show(one.role)+"); it stays")
	case b.gives(n.Name, s.name, r.level):
		level := "readOnly"
		if r.level == levelAdmin {
			level = "admin"
		}
		one.set(Mapped, t, "group "+show(s.name)+" by role "+show(one.role)+" is "+level)
	default:
		if _, why := bare(s.name, b.prefix); why != "" {
			one.set(Decide, t, "group "+show(s.name)+": "+why)
			return
		}
		decide("more-groups", "more than one group has the same rights in a namespace and an environment names one: put the others into it at the identity provider", stays)
	}
}

// accountsOf and a namespace name the group of its ServiceAccounts.
const accountsOf = "system:serviceaccounts:"

// everybody reports whether a group holds everybody, or every account, of a cluster; OpenShift's for people included.
func everybody(group string) bool {
	return group == "system:authenticated" || group == "system:authenticated:oauth" || group == "system:unauthenticated" || group == "system:serviceaccounts"
}

// ours reports whether Ringfence has made a binding: one for its own role, whose name it keeps for itself.
func ours(one *binding) bool {
	return one.labels["app.kubernetes.io/managed-by"] == "ringfence" && one.Name == one.role && strings.HasPrefix(one.role, "ringfence:")
}

// settleClusterBindings lists who has rights in all namespaces.
func (b *builder) settleClusterBindings() {
	for _, one := range b.clusterBindings {
		r, _ := b.roleOf(one)
		one.set(OfPlatform, "", "of Kubernetes or of the platform's tools; it stays")
		for _, s := range one.subjects {
			who := s.kind + " " + show(s.name)
			switch {
			case strings.HasPrefix(one.Name, "system:") || one.labels["kubernetes.io/bootstrapping"] != "" || ours(one):
				continue
			case s.kind == "ServiceAccount" && (b.namespaces[s.namespace] == nil || b.namespaces[s.namespace].system != ""):
				continue
			case s.kind == "ServiceAccount":
				who += " of " + show(s.namespace)
				b.decide("account-everywhere", b.tenantOf[s.namespace], one.Object, "accounts of a team have rights in the whole cluster: no Tenant can give them", "the bindings stay", who)
			case everybody(s.name):
				b.decide("everybody-everywhere", "", one.Object, "everybody has rights in the whole cluster: let them go, unless they are Kubernetes' own", "the bindings stay", who)
			case strings.HasPrefix(s.name, accountsOf) && (b.namespaces[s.name[len(accountsOf):]] == nil || b.namespaces[s.name[len(accountsOf):]].system != ""):
				continue
			case strings.HasPrefix(s.name, "system:") && !strings.HasPrefix(s.name, accountsOf):
				continue // of Kubernetes, or of a distribution
			case r.wildcard:
				b.decide("cluster-admin", "", one.Object, "people may do everything in the whole cluster, past every tenant's limits: keep it for break-glass groups (identity.breakGlassGroups of the Platform)", "the bindings stay", who)
			default:
				b.decide("rights-everywhere", "", one.Object, "people have rights in all namespaces, of every tenant ("+show(one.role)+")", "the bindings stay", who)
			}
			one.Outcome = ""
			one.set(Decide, b.tenantOf[s.namespace], who+" has "+show(one.role)+" in the whole cluster")
		}
	}
}

// settleQuotasElsewhere says what becomes of quotas that are in no tenant's namespace.
func (b *builder) settleQuotasElsewhere() {
	for _, q := range b.quotas {
		n := b.of(q.Namespace)
		switch {
		case q.Outcome != "":
		case n.system != "":
			q.set(OfPlatform, "", "in a namespace of the platform; it stays")
		case n.ending || b.tenantOf[n.Name] != "":
			q.set(Kept, b.tenantOf[n.Name], "it stays and holds")
		default:
			q.set(Unmapped, "", "its namespace has no tenant")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.capsules)) {
		c := b.capsules[name]
		for _, s := range c.owners {
			if s.kind == "Group" {
				continue
			}
			b.decide("person-bound", b.capsuleTenant(name), c.Object, "rights are bound to single people or to users of machines: put them into a group of the identity provider, or let the right go", "Capsule's bindings stay as long as it runs; Ringfence neither makes nor deletes such", s.kind+" "+show(s.name))
		}
	}
}

// capsuleTenant is the Tenant that a Capsule Tenant became, its legal name where it cannot be told.
func (b *builder) capsuleTenant(name string) string {
	for i := range b.plan.Tenants {
		if b.plan.Tenants[i].Was == name {
			return b.plan.Tenants[i].Name
		}
	}
	return legal(name)
}

// decide notes what a person must decide. Objects with the same question of one tenant are one decision.
func (e *Estate) decide(kind, tenant string, o *Object, question, until string, about ...string) {
	key := kind + "\x00" + tenant + "\x00" + question
	d := e.decisions[key]
	if d == nil {
		d = &Decision{Kind: kind, Tenant: tenant, Question: question, Until: until, About: []string{}}
		e.decisions[key] = d
	}
	if o != nil {
		ref := o.Ref()
		if len(about) > 0 {
			ref += " (" + strings.Join(about, ", ") + ")"
		}
		about = []string{ref}
	}
	d.About = append(d.About, about...)
}

// sorted are the namespaces by name.
func (e *Estate) sorted() []*namespace {
	all := make([]*namespace, 0, len(e.namespaces))
	for _, name := range slices.Sorted(maps.Keys(e.namespaces)) {
		all = append(all, e.namespaces[name])
	}
	return all
}

func plural(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "ch"):
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
