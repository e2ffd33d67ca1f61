package adopt

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/schema"
	"ringfence.dev/ringfence/tenant"
)

var guid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

var namespaceForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// notes are where the values of a Tenant came from, for the comments in its YAML.
type notes struct {
	owner, admin, readOnly, quota, registries, grants, labels string

	groups map[string]string // of an environment's own groups, by environment
}

// builder makes the Plan of an Estate.
type builder struct {
	*Estate
	prefix   string
	plan     *Plan
	tenantOf map[string]string // by namespace
	chosen   map[string]bool   // namespace and group that a Tenant gives rights, with the level
}

// Plan makes Tenants of all that was read, which the schemas would take. It may be asked once. The same objects give the
// same plan, in whatever order they were read.
func (e *Estate) Plan(schemas *schema.Set) *Plan {
	e.findSystem()
	for _, q := range e.quotas {
		n := e.of(q.Namespace)
		n.quotas = append(n.quotas, q)
	}
	e.gatherAccess()
	e.claimAll()
	b := &builder{Estate: e, prefix: e.findPrefix(), plan: &Plan{}, tenantOf: map[string]string{}, chosen: map[string]bool{}}
	e.exempt(b.plan)
	byKey := map[string][]*namespace{}
	for _, n := range e.sorted() {
		switch {
		case n.system != "":
		case n.ending:
			n.set(Kept, "", "it is being deleted, and left out")
		case !namespaceForm.MatchString(n.Name) || len(n.Name) > 63:
			n.set(Unmapped, "", "no namespace can have this name")
		case n.labels[v1alpha1.LabelTenant] != "":
			b.tenantOf[n.Name] = n.labels[v1alpha1.LabelTenant]
			n.set(Kept, n.labels[v1alpha1.LabelTenant], "it is Ringfence's already")
		default:
			byKey[n.claim.key] = append(byKey[n.claim.key], n)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(e.capsules)) { // a Capsule Tenant without a namespace is a Tenant with none
		if k := legal(key); k != "" && byKey[k] == nil {
			byKey[k] = nil
		}
	}
	b.platform()
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		b.tenants(key, byKey[key])
	}
	b.plan.Platform.Spec.Registries = registriesOf(b.plan.Tenants)
	b.verify(schemas)
	b.settleBindings()
	b.settleClusterBindings()
	b.settleQuotasElsewhere()
	b.settlePolicies()
	b.takeover()
	b.finish()
	return b.plan
}

// platform proposes what the Platform says.
func (b *builder) platform() {
	p := &b.plan.Platform
	p.APIVersion, p.Kind = v1alpha1.GroupVersion.String(), "Platform"
	p.Name = v1alpha1.PlatformName
	p.Spec.Profile = v1alpha1.ProfileMVP
	p.Spec.Network.Model = v1alpha1.NetworkKubernetes
	for _, one := range b.policies {
		if one.Kind == "CiliumNetworkPolicy" {
			p.Spec.Network.Model = v1alpha1.NetworkCilium
		}
	}
	if len(b.prefix) <= 32 && !strings.HasPrefix(b.prefix, "system:") {
		prefix := b.prefix
		p.Spec.Identity.GroupPrefix = &prefix
	}
	for _, name := range slices.Sorted(maps.Keys(b.plan.exempt)) {
		p.Spec.ExemptNamespaces = append(p.Spec.ExemptNamespaces, v1alpha1.NamespaceName(name))
	}
}

// tenants makes one Tenant of namespaces, or several where there are more than a Tenant may have.
func (b *builder) tenants(key string, all []*namespace) {
	parts := slices.Collect(slices.Chunk(all, maxEnvironments))
	if len(parts) == 0 {
		parts = [][]*namespace{nil}
	}
	for i, part := range parts {
		name := key
		if i > 0 {
			name = short(key, maxTenantName-3, "-") + fmt.Sprintf("-%d", i+1)
		}
		for n := 2; b.taken[name]; n++ {
			name = short(key, maxTenantName-4, "-") + fmt.Sprintf("-%d", n)
		}
		b.taken[name] = true
		t := Tenant{Name: name, Was: key, Sure: Certain, Environments: []Environment{}}
		if len(part) > 0 {
			t.Was = part[0].claim.tenant
		}
		t.Object.APIVersion, t.Object.Kind = v1alpha1.GroupVersion.String(), "Tenant"
		t.Object.ObjectMeta = metav1.ObjectMeta{Name: name}
		t.Object.Spec.Environments = []v1alpha1.Environment{}
		if len(parts) > 1 {
			b.decide("too-many-environments", name, nil, fmt.Sprintf("%d namespaces belong to %s and a Tenant has at most %d: they were divided by name into %d Tenants; divide them by application instead", len(all), show(key), maxEnvironments, len(parts)), "each Tenant has the people of its own namespaces")
		}
		b.fill(&t, part)
		b.plan.Tenants = append(b.plan.Tenants, t)
	}
}

// fill gives a Tenant its environments, people and limits.
func (b *builder) fill(t *Tenant, all []*namespace) {
	by := map[string]int{}
	used := map[string]bool{}
	for _, n := range all {
		env := Environment{Namespace: n.Name, By: n.claim.by, Sure: n.claim.sure}
		env.Name = unique(environmentOf(n, t.Name), used)
		object := v1alpha1.Environment{Name: env.Name, Namespace: v1alpha1.NamespaceName(n.Name)}
		object.Production, env.ProductionBy = b.production(t.Name, n, env.Name)
		if !n.given {
			env.By += "; the Namespace itself was not read"
			b.decide("namespace-not-read", t.Name, n.Object, "these namespaces are named by other objects and were not among those read: read them too, or take them out where they are gone", "they are environments; Ringfence would make those that are gone")
			n.set(Mapped, t.Name, "")
		}
		t.Object.Spec.Environments = append(t.Object.Spec.Environments, object)
		t.Environments = append(t.Environments, env)
		by[cmp.Or(firstClause(n.claim.by), "nothing")]++
		t.Sure = weaker(t.Sure, env.Sure)
		b.tenantOf[n.Name] = t.Name
		n.set(Mapped, t.Name, "environment "+env.Name+" of tenant "+t.Name+"; by "+n.claim.by)
		if env.Sure == Low {
			b.decide("whose-is-it", t.Name, n.Object, "nothing says which team these namespaces belong to; say so with a label and read them again, or join them with another tenant", "each is a tenant of its own")
		}
	}
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%s (%d of %d)", what, by[what], len(all)))
	}
	t.By = strings.Join(parts, ", ")
	b.owner(t, all)
	b.people(t, all)
	if len(all) == 0 {
		b.carryCapsule(t, b.capsuleOf(t.Name, nil))
		return
	}
	b.mapQuota(t, all)
	b.shared(t, all)
	b.carryCapsule(t, b.capsuleOf(t.Name, all))
}

// firstClause is the kind of evidence, without what it says of one namespace.
func firstClause(by string) string {
	if before, _, ok := strings.Cut(by, ":"); ok {
		return before
	}
	return by
}

func weaker(a, b Sure) Sure {
	order := []Sure{Certain, High, Medium, Low}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}

// capsuleOf is the Capsule Tenant of namespaces, or of a name where there are none.
func (b *builder) capsuleOf(name string, all []*namespace) *capsule {
	for _, n := range all {
		if c := b.capsules[n.capsule]; c != nil {
			return c
		}
	}
	if len(all) == 0 {
		for _, was := range slices.Sorted(maps.Keys(b.capsules)) {
			if legal(was) == name {
				return b.capsules[was]
			}
		}
	}
	return nil
}

// carryCapsule takes over what Capsule allows a tenant, and lists what has no place.
func (b *builder) carryCapsule(t *Tenant, c *capsule) {
	if c == nil {
		return
	}
	c.set(Mapped, t.Name, "Tenant "+t.Name+" carries its owners, namespaces, quota and grants")
	spec := &t.Object.Spec
	spec.Registries, spec.Grants, spec.StorageClasses, spec.IngressClasses = c.registries, c.grants, c.storage, c.ingress
	t.notes.registries, t.notes.grants = "containerRegistries of Capsule's Tenant", "of Capsule's Tenant"
	for key, value := range c.labels {
		if legalLabel(key, value) && len(spec.Labels) < 30 {
			if spec.Labels == nil {
				spec.Labels = map[string]string{}
			}
			spec.Labels[key] = value
			t.notes.labels = "additionalMetadata of Capsule's Tenant"
		}
	}
	if len(c.lost) > 0 {
		b.decide("capsule-fields", t.Name, c.Object, "Capsule's Tenant says more than a Tenant of Ringfence can: "+strings.Join(slices.Compact(c.lost), ", "), "Capsule keeps it as long as it runs; then it is gone")
	}
}

// environmentOf is how a tenant would call the environment that a namespace is.
func environmentOf(n *namespace, tenant string) string {
	was := legal(n.claim.tenant)
	for _, name := range []string{tenant, was} {
		if rest, ok := strings.CutPrefix(n.Name, name+"-"); ok && name != "" && environmentName(rest) != "" {
			return environmentName(rest)
		}
		if rest, ok := strings.CutSuffix(n.Name, "-"+name); ok && name != "" && environmentName(rest) != "" {
			return environmentName(rest)
		}
	}
	if n.Name == tenant || n.Name == was {
		if said := saidEnvironment(n); isEnvironment(said) {
			return environmentName(said)
		}
		return "main"
	}
	return cmp.Or(environmentName(n.Name), "main")
}

// unique makes a name that was not used before.
func unique(name string, used map[string]bool) string {
	try := name
	for i := 2; used[try]; i++ {
		number := fmt.Sprint(i)
		try = name[:min(len(name), maxEnvironmentName-len(number))] + number
	}
	used[try] = true
	return try
}

// saidEnvironment is what labels or annotations call a namespace's environment, in lower case.
func saidEnvironment(n *namespace) string {
	for _, key := range known(n, "environment env environmenttype envtype stage lifecycle tier", High) {
		if v := strings.ToLower(cmp.Or(n.labels[key.name], n.notes[key.name])); isEnvironment(v) {
			return v
		}
	}
	return ""
}

// production says whether a namespace holds real money and real data, and by what. What is not known counts as production,
// the stricter of the two.
func (b *builder) production(tenant string, n *namespace, name string) (production bool, by string) {
	said := saidEnvironment(n)
	named := ""
	if _, env, _, ok := split(n.Name); ok {
		named = env
		for _, part := range strings.Split(n.Name, "-") {
			if isEnvironment(part) && strings.HasPrefix(env, part) {
				named = part
			}
		}
	} else if isEnvironment(name) {
		named = name
	}
	switch {
	case said != "" && named != "" && isProduction(said) != isProduction(named):
		b.decide("production-or-not", tenant, n.Object, "name and label disagree whether these namespaces are production; correct one of them", "they count as production, the stricter")
		return true, fmt.Sprintf("its name says %s and its label %s: taken for production", named, said)
	case said != "":
		return isProduction(said), "its label says " + said
	case named != "":
		return isProduction(named), "its name says " + named
	}
	b.decide("production-or-not", tenant, n.Object, "nothing says whether these namespaces are production; set production on the environments", "they count as production, the stricter")
	return true, "nothing says: taken for production"
}

// verify drops Tenants that would be refused: by their schema, or by what keeps namespaces. None should be.
func (b *builder) verify(schemas *schema.Set) {
	b.plan.Tenants = slices.DeleteFunc(b.plan.Tenants, func(t Tenant) bool {
		fault := refused(schemas, &t.Object, &b.plan.Platform)
		if fault == "" {
			return false
		}
		for _, env := range t.Environments {
			b.namespaces[env.Namespace].Outcome = ""
			b.namespaces[env.Namespace].set(Unmapped, "", "the Tenant made of it would be refused: "+show(fault))
			delete(b.tenantOf, env.Namespace)
		}
		if len(t.Environments) == 0 {
			b.decide("refused", t.Name, nil, "the Tenant would be refused: "+show(fault), "it is left out")
		}
		return true
	})
	if faults := schemas.Validate(value(&b.plan.Platform)); len(faults) > 0 {
		b.decide("refused", "", nil, "the proposed Platform would be refused: "+show(faults[0].Path+": "+faults[0].Message), "it is a proposal alone")
	}
}

// refused says why a Tenant could not be applied, "" if it can.
func refused(schemas *schema.Set, t *v1alpha1.Tenant, platform *v1alpha1.Platform) string {
	for _, f := range schemas.Validate(value(t)) {
		return f.Path + ": " + f.Message
	}
	for _, one := range tenant.Plan(input(t, platform, nil)) {
		if one.Status.Phase != v1alpha1.EnvironmentActive {
			return one.Status.Message
		}
	}
	return ""
}
