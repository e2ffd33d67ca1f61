package tenant

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// Compile makes the Guard of a namespace: all that a verdict there needs to know of Platform, Tenant and Waivers. It is pure.
//
// The action of each control is the most specific of: the Platform's for the tenant's ring, its production action, its
// action, the profile's, the catalogue's default. The Tenant can only strengthen it. Without a Platform every control
// denies and no registry is allowed. A tenant that is nil or has no such namespace counts for nothing. Waivers count in a
// tenant's namespaces alone; those of others among all, and those that nobody approved, are passed over. Egress and waivers
// that have ended are kept, with their end: there is no clock here; DropExpired takes them away.
func Compile(controls []control.Control, platform *v1alpha1.Platform, tenant *v1alpha1.Tenant, all []v1alpha1.Waiver, namespace string) v1alpha1.Guard {
	env := environmentOf(tenant, namespace)
	if env == nil {
		tenant = nil
	}
	guard := v1alpha1.Guard{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Guard"},
		ObjectMeta: metav1.ObjectMeta{
			Name:      v1alpha1.GuardName,
			Namespace: namespace,
			Labels:    map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy},
		},
		Spec: v1alpha1.GuardSpec{
			CPULimit: v1alpha1.Required,
		},
	}
	spec := &guard.Spec
	if tenant != nil {
		spec.Tenant, spec.Environment, spec.Production = tenant.Name, env.Name, env.Production
		if !env.Production {
			spec.Entry = v1alpha1.EntryOpen
		}
	}
	spec.Actions, spec.Changes = actions(controls, platform, tenant, env)
	if platform == nil {
		return guard
	}
	if platform.Spec.Resources.CPULimit == v1alpha1.Optional {
		spec.CPULimit = v1alpha1.Optional
	}
	spec.Suspended = suspended(platform.Spec.Suspensions, spec)
	spec.Contact = platform.Spec.Contact
	if platform.Spec.Identity.MFA == "" {
		spec.SecondFactor = v1alpha1.Optional // the bank names nothing that would prove one
	}
	spec.Registries = registries(platform, tenant)
	spec.BreakGlassGroups = platform.Spec.Identity.BreakGlassGroups
	spec.RequiredLabels, spec.CopyAnnotations = platform.Spec.Metadata.RequiredLabels, platform.Spec.Metadata.CopyAnnotations
	spec.Defaults = defaults(platform.Spec.Defaults)
	spec.StorageClasses, spec.IngressClasses = storageClasses(platform, tenant), ingressClasses(tenant)
	spec.DataClassLabel, spec.Elsewhere = platform.Spec.Separation.DataClassLabel, *platform.Spec.Separation.Production.DeepCopy()
	if spec.Production {
		spec.Elsewhere = *platform.Spec.Separation.NonProduction.DeepCopy()
	}
	spec.Debts = debts(controls, platform, tenant, env)
	spec.NetworkModel, spec.NodePoolLabel = modelOf(platform), platform.Spec.NodePoolLabel
	spec.LoadBalancerClasses = platform.Spec.Network.LoadBalancerClasses
	spec.Unwaivable = unwaivable(controls, platform)
	if tenant != nil {
		give(spec, platform, tenant, env)
		spec.Waivers = waivers(all, namespace, spec.Unwaivable)
	}
	return guard
}

// give fills in what a tenant has in an environment: who may be bound there, what it was granted, where its traffic may go.
func give(spec *v1alpha1.GuardSpec, platform *v1alpha1.Platform, tenant *v1alpha1.Tenant, env *v1alpha1.Environment) {
	prefix, groups := groupPrefix(platform), GroupsOf(tenant, *env)
	spec.Groups = []string{prefix + groups.Admin, prefix + groups.ReadOnly}
	spec.Pipelines = pipelineUsers(tenant, *env)
	spec.Grants = *tenant.Spec.Grants.DeepCopy()
	spec.Egress, spec.EgressCIDRs = egress(tenant.Spec.Egress)
	spec.LongestElevation = ElevationOf(platform).Longest.String()
}

// NameTenants fills in what only the Guard for what lies in no namespace says: whose each group and each namespace of tenants is. Groups
// of the bank's auditors, who look everywhere, are nobody's; a group that several tenants name is the oldest's.
func NameTenants(spec *v1alpha1.GuardSpec, platform *v1alpha1.Platform, tenants []v1alpha1.Tenant) {
	if platform == nil || len(tenants) == 0 {
		return
	}
	prefix, groups, namespaces := groupPrefix(platform), map[string]*v1alpha1.Tenant{}, map[string]*v1alpha1.Tenant{}
	claim := func(of map[string]*v1alpha1.Tenant, name string, t *v1alpha1.Tenant) {
		if was := of[name]; was == nil || older(t, was) {
			of[name] = t
		}
	}
	for i := range tenants {
		t := &tenants[i]
		for _, g := range groupsNamed(t) {
			if !slices.Contains(platform.Spec.Identity.Auditors, g.group) {
				claim(groups, prefix+g.group, t)
			}
		}
		for _, env := range t.Spec.Environments {
			if name := NamespaceOf(t, env); !Exempt(platform, name) {
				claim(namespaces, name, t)
			}
		}
	}
	names := func(of map[string]*v1alpha1.Tenant) map[string]string {
		out := make(map[string]string, len(of))
		for name, t := range of {
			out[name] = t.Name
		}
		return out
	}
	spec.TenantGroups, spec.TenantNamespaces = names(groups), names(namespaces)
}

// Of is the tenant that asks for a namespace, nil if none does. Where several do, the oldest has it (then the first by
// name): files, which know no owner label, and clusters agree. A tenant being deleted asks for nothing.
func Of(tenants []v1alpha1.Tenant, namespace string) *v1alpha1.Tenant {
	var first *v1alpha1.Tenant
	for i := range tenants {
		t := &tenants[i]
		if environmentOf(t, namespace) == nil || t.DeletionTimestamp != nil {
			continue
		}
		if first == nil || older(t, first) {
			first = t
		}
	}
	return first
}

func older(a, b *v1alpha1.Tenant) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Name < b.Name
}

// NamespaceOf is the namespace of a tenant's environment: the one it names, else <tenant>-<environment>.
func NamespaceOf(t *v1alpha1.Tenant, env v1alpha1.Environment) string {
	if env.Namespace != "" {
		return string(env.Namespace)
	}
	return t.Name + "-" + env.Name
}

// liesAt reports whether NamespaceOf is a namespace, and makes no text for it: each event of a namespace asks it of every tenant.
func liesAt(t *v1alpha1.Tenant, env v1alpha1.Environment, namespace string) bool {
	if env.Namespace != "" {
		return string(env.Namespace) == namespace
	}
	rest, ok := strings.CutPrefix(namespace, t.Name)
	return ok && len(rest) == len(env.Name)+1 && rest[0] == '-' && rest[1:] == env.Name
}

// environmentOf is the environment of t whose namespace this is, nil if there is none or t is nil.
func environmentOf(t *v1alpha1.Tenant, namespace string) *v1alpha1.Environment {
	if t == nil {
		return nil
	}
	for i, env := range t.Spec.Environments {
		if liesAt(t, env, namespace) {
			return &t.Spec.Environments[i]
		}
	}
	return nil
}

// Exempt reports whether a namespace is not guarded: pinned, or listed by the Platform (which may be nil).
func Exempt(platform *v1alpha1.Platform, namespace string) bool {
	if slices.Contains(v1alpha1.PinnedExemptNamespaces, namespace) {
		return true
	}
	return platform != nil && slices.Contains(platform.Spec.ExemptNamespaces, v1alpha1.NamespaceName(namespace))
}

// Expiry reads the end of a grant: an RFC 3339 instant, or a date, which ends at 00:00:00Z of the following day. The
// grant is live while now is before it. The empty string never ends and gives the zero time.
func Expiry(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("read expiry %q: want a date such as 2027-01-31 or an RFC 3339 instant such as 2027-01-31T12:00:00Z: %w", s, err)
	}
	return at.UTC(), nil
}

// actions are those of all controls, and who made them other than the profile's; see action.
func actions(controls []control.Control, platform *v1alpha1.Platform, tenant *v1alpha1.Tenant, env *v1alpha1.Environment) (all map[string]v1alpha1.Action, changes map[string]string) {
	all = make(map[string]v1alpha1.Action, len(controls))
	for _, c := range controls {
		var change string
		if all[c.ID], change = action(c, platform, tenant, env); change != "" {
			if changes == nil {
				changes = map[string]string{}
			}
			changes[c.ID] = change
		}
	}
	return all, changes
}

// action is the action of one control under a platform and, where tenant is not nil, in its environment; and who made it
// another than the profile's, "" for nobody.
func action(c control.Control, platform *v1alpha1.Platform, tenant *v1alpha1.Tenant, env *v1alpha1.Environment) (chosen v1alpha1.Action, change string) {
	if platform == nil {
		return v1alpha1.Deny, ""
	}
	profile := cmp.Or(platform.Spec.Profile, v1alpha1.ProfileMVP)
	usual := known(v1alpha1.Action(c.Action(string(profile))))
	chosen = usual
	choose := func(a v1alpha1.Action, who string) {
		if a != "" {
			chosen, change = known(a), fmt.Sprintf("%s by %s (profile %s: %s)", known(a), who, profile, usual)
		}
	}
	rollout := platform.Spec.Controls[c.ID]
	choose(rollout.Action, "the Platform")
	if tenant != nil && env.Production {
		choose(rollout.Production, "the Platform for production")
	}
	if tenant != nil && tenant.Spec.Ring != "" {
		choose(rollout.Rings[tenant.Spec.Ring], "the Platform for ring "+tenant.Spec.Ring)
	}
	if tenant != nil {
		if own, ok := tenant.Spec.Controls[c.ID]; ok && finding.Stronger(finding.Action(chosen), finding.Action(known(own))) != finding.Action(chosen) {
			choose(own, "Tenant "+tenant.Name)
		}
	}
	if chosen == usual {
		return chosen, ""
	}
	return chosen, change
}

// known is a, or Deny where a is no action: what cannot be read must not let anything through.
func known(a v1alpha1.Action) v1alpha1.Action {
	if a == v1alpha1.Warn || a == v1alpha1.Audit {
		return a
	}
	return v1alpha1.Deny
}

// registries are the platform's, or those of the tenant that lie inside one of them; a list of which none does allows none.
func registries(platform *v1alpha1.Platform, tenant *v1alpha1.Tenant) []v1alpha1.Registry {
	all := platform.Spec.Registries
	if tenant == nil || len(tenant.Spec.Registries) == 0 {
		return slices.Clone(all)
	}
	var narrowed []v1alpha1.Registry
	for _, r := range tenant.Spec.Registries {
		inside := func(p v1alpha1.Registry) bool { return r == p || strings.HasPrefix(string(r), string(p)+"/") }
		if slices.ContainsFunc(all, inside) && !slices.Contains(narrowed, r) {
			narrowed = append(narrowed, r)
		}
	}
	return narrowed
}

// storageClasses are the platform's, or those of them that the tenant names.
func storageClasses(platform *v1alpha1.Platform, tenant *v1alpha1.Tenant) []string {
	all := slices.Clone(platform.Spec.Storage.EncryptedClasses)
	if tenant == nil || len(tenant.Spec.StorageClasses) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(class string) bool { return !slices.Contains(tenant.Spec.StorageClasses, class) })
}

// ingressClasses are the tenant's, and any where it names none.
func ingressClasses(tenant *v1alpha1.Tenant) []string {
	if tenant == nil || len(tenant.Spec.IngressClasses) == 0 {
		return []string{v1alpha1.AnyClass}
	}
	return slices.Clone(tenant.Spec.IngressClasses)
}

// egress is the allowed destinations: names by "fqdn:port", networks in order. Of a destination listed twice the later end
// holds. An entry whose expiry cannot be read allows nothing.
func egress(rules []v1alpha1.EgressRule) (map[string]string, []v1alpha1.EgressCIDR) {
	type network struct {
		cidr v1alpha1.CIDR
		port v1alpha1.Port
	}
	names, networks := map[string]time.Time{}, map[network]time.Time{}
	for _, rule := range rules {
		end, err := Expiry(rule.Expires)
		if err != nil {
			continue
		}
		for _, port := range rule.Ports {
			if rule.FQDN != "" {
				keepLater(names, rule.FQDN+":"+strconv.Itoa(int(port)), end)
			}
			if rule.CIDR != "" {
				keepLater(networks, network{rule.CIDR, port}, end)
			}
		}
	}
	var byName map[string]string
	for name, end := range names {
		if byName == nil {
			byName = make(map[string]string, len(names))
		}
		byName[name] = instant(end)
	}
	cidrs := make([]v1alpha1.EgressCIDR, 0, len(networks))
	for _, n := range slices.SortedFunc(maps.Keys(networks), func(a, b network) int {
		return cmp.Or(cmp.Compare(a.cidr, b.cidr), cmp.Compare(a.port, b.port))
	}) {
		cidrs = append(cidrs, v1alpha1.EgressCIDR{CIDR: n.cidr, Port: n.port, Expires: instant(networks[n])})
	}
	if len(cidrs) == 0 {
		cidrs = nil
	}
	return byName, cidrs
}

// keepLater records an end unless a later one is there; the zero time, never, is the latest.
func keepLater[K comparable](ends map[K]time.Time, key K, end time.Time) {
	old, ok := ends[key]
	if !ok || !old.IsZero() && (end.IsZero() || end.After(old)) {
		ends[key] = end
	}
}

// instant writes an end as the Guard carries it: RFC 3339 in UTC, empty for never.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// DropExpired removes from spec the egress, waivers, debts, elevations and suspensions that have ended at now, lets what is suspended warn, and returns
// when the next of the rest ends (zero: never).
// Whoever gives a Guard to a verdict calls it: rules take what is there for live.
func DropExpired(spec *v1alpha1.GuardSpec, now time.Time) (next time.Time) {
	ended := func(expires string) bool {
		end, err := Expiry(expires)
		if err != nil || !end.IsZero() && !now.Before(end) {
			return true
		}
		if !end.IsZero() && (next.IsZero() || end.Before(next)) {
			next = end
		}
		return false
	}
	maps.DeleteFunc(spec.Elevations, func(_, expires string) bool { return ended(expires) })
	maps.DeleteFunc(spec.Egress, func(_, expires string) bool { return ended(expires) })
	spec.EgressCIDRs = slices.DeleteFunc(spec.EgressCIDRs, func(c v1alpha1.EgressCIDR) bool { return ended(c.Expires) })
	maps.DeleteFunc(spec.Waivers, func(_ string, of v1alpha1.SubjectWaivers) bool {
		maps.DeleteFunc(of, func(_ string, w v1alpha1.GuardWaiver) bool { return ended(w.Expires) })
		return len(of) == 0
	})
	maps.DeleteFunc(spec.Debts, func(_ string, until v1alpha1.Instant) bool { return ended(string(until)) })
	suspend(spec, ended)
	return next
}
