package tenant

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
)

// Fault is a mistake of a tenant that its schema cannot see, for it takes the Platform or other tenants to see it.
type Fault struct {
	// Tenant is whose mistake it is: of two that want the same, the one that came later.
	Tenant string
	// Path is the field, as RFC 6901 has it.
	Path string
	// Text says what is wrong and what to do.
	Text string
}

// Faults are the mistakes of tenants that they make together or with a Platform, which may be nil: by name, then by field. What a Guard
// or a namespace is refused for in a cluster is named here too, so that it is seen before.
func Faults(platform *v1alpha1.Platform, tenants []v1alpha1.Tenant) (all []Fault) {
	for i := range tenants {
		t := &tenants[i]
		add := func(path, format string, args ...any) {
			all = append(all, Fault{t.Name, path, fmt.Sprintf(format, args...)})
		}
		namespaceFaults(platform, tenants, t, add)
		groupFaults(platform, tenants, t, add)
		quotaFaults(t, add)
		pipelineFaults(tenants, t, add)
	}
	slices.SortStableFunc(all, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Path, b.Path)) })
	return all
}

func namespaceFaults(platform *v1alpha1.Platform, tenants []v1alpha1.Tenant, t *v1alpha1.Tenant, add func(path, format string, args ...any)) {
	for i, env := range t.Spec.Environments {
		name, path := NamespaceOf(t, env), fmt.Sprintf("/spec/environments/%d/name", i)
		if env.Namespace != "" {
			path = fmt.Sprintf("/spec/environments/%d/namespace", i)
		}
		if Exempt(platform, name) {
			add(path, "namespace %s is exempt from Ringfence; give environment %s another namespace, or take %s off exemptNamespaces of the Platform", name, env.Name, name)
		}
		if first := Of(tenants, name); first != nil && first.Name != t.Name {
			add(path, "namespace %s is that of environment %s of tenant %s; give environment %s of tenant %s another namespace", name, environmentOf(first, name).Name, first.Name, env.Name, t.Name)
		}
	}
}

// namedGroup is a group at the place where a tenant names it.
type namedGroup struct {
	path, group string
	admin       bool
}

// groupsNamed are all groups that a tenant names.
func groupsNamed(t *v1alpha1.Tenant) []namedGroup {
	all := []namedGroup{{"/spec/groups/admin", t.Spec.Groups.Admin, true}, {"/spec/groups/readOnly", t.Spec.Groups.ReadOnly, false}}
	for i, env := range t.Spec.Environments {
		if env.Groups == nil {
			continue
		}
		path := fmt.Sprintf("/spec/environments/%d/groups/", i)
		if env.Groups.Admin != "" {
			all = append(all, namedGroup{path + "admin", env.Groups.Admin, true})
		}
		if env.Groups.ReadOnly != "" {
			all = append(all, namedGroup{path + "readOnly", env.Groups.ReadOnly, false})
		}
	}
	return all
}

// claims are the groups, pipelines and namespaces that a tenant names, and whether it claims each for itself: readers, and the namespaces of
// pipelines' accounts, are shared with who does not.
func claims(t *v1alpha1.Tenant) map[string]bool {
	all := map[string]bool{}
	for _, g := range groupsNamed(t) {
		all["group "+fold(g.group)] = all["group "+fold(g.group)] || g.admin
	}
	for _, p := range t.Spec.Pipelines {
		if p.ServiceAccount != nil {
			all["namespace "+string(p.ServiceAccount.Namespace)] = false
		} else {
			all["pipeline "+PipelineUser(p)] = true
		}
	}
	for _, env := range t.Spec.Environments {
		all["namespace "+NamespaceOf(t, env)] = true
	}
	return all
}

// fold is a group as identity providers compare names: Entra ID and Active Directory know no difference of case.
func fold(group string) string { return strings.ToLower(group) }

// taken are the groups of t, folded, that an older tenant names too, with its name. Two tenants may share a group that only looks in
// both, as auditors do; through any other the people of one would act in the other.
func taken(tenants []v1alpha1.Tenant, t *v1alpha1.Tenant) map[string]string {
	own := map[string]bool{} // whether it is an admin group
	for _, g := range groupsNamed(t) {
		own[fold(g.group)] = own[fold(g.group)] || g.admin
	}
	out := map[string]string{}
	for i := range tenants {
		other := &tenants[i]
		if other.Name == t.Name || !older(other, t) || other.DeletionTimestamp != nil {
			continue
		}
		for _, g := range groupsNamed(other) {
			if admin, ok := own[fold(g.group)]; ok && (admin || g.admin) {
				out[fold(g.group)] = other.Name
			}
		}
	}
	return out
}

func groupFaults(platform *v1alpha1.Platform, tenants []v1alpha1.Tenant, t *v1alpha1.Tenant, add func(path, format string, args ...any)) {
	others := taken(tenants, t)
	for _, g := range groupsNamed(t) {
		if other := others[fold(g.group)]; other != "" {
			add(g.path, "group %s is named by tenant %s too, and whoever is in it would act in both; name another group in one of them", finding.Value(g.group), other)
		}
		if strings.TrimSpace(g.group) != g.group || strings.ContainsFunc(g.group, unicode.IsControl) {
			add(g.path, "group %s begins or ends with a space or holds a control character, and no group of a token will be the same; write it as the token does", finding.Value(g.group))
		}
		if platform == nil {
			continue
		}
		prefix := groupPrefix(platform)
		if prefix != "" && strings.HasPrefix(g.group, prefix) {
			add(g.path, "group %s begins with the Platform's groupPrefix %s, which is put before it once more; leave the prefix out", finding.Value(g.group), finding.Value(prefix))
		}
		if slices.Contains(platform.Spec.Identity.BreakGlassGroups, prefix+g.group) {
			add(g.path, "group %s is one of the Platform's breakGlassGroups, which are no tenant's; name a group of the team", finding.Value(g.group))
		}
	}
}

func quotaFaults(t *v1alpha1.Tenant, add func(path, format string, args ...any)) {
	over := overdrawn(t)
	for _, name := range slices.Sorted(maps.Keys(over)) {
		total, sum := t.Spec.TotalQuota[name], over[name]
		add("/spec/totalQuota/"+pointer(name), "the environments' quotas of %s come to %s and the total is %s; raise the total, or lower quota of the tenant or of an environment", name, sum.String(), total.String())
	}
}

// pointer writes a key as RFC 6901 has it.
func pointer(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

func pipelineFaults(tenants []v1alpha1.Tenant, t *v1alpha1.Tenant, add func(path, format string, args ...any)) {
	for i, p := range t.Spec.Pipelines {
		path := fmt.Sprintf("/spec/pipelines/%d", i)
		for j, name := range p.Environments {
			if !slices.ContainsFunc(t.Spec.Environments, func(e v1alpha1.Environment) bool { return e.Name == name }) {
				add(fmt.Sprintf("%s/environments/%d", path, j), "there is no environment %s in tenant %s; name one of its environments", name, t.Name)
			}
		}
		switch other := pipelineOf(tenants, t, p); {
		case other == "":
		case p.OIDC != nil:
			add(path+"/oidc/subject", "subject %s deploys for tenant %s too; give each tenant a pipeline of its own", finding.Value(p.OIDC.Subject), other)
		default:
			add(path+"/serviceAccount/namespace", "namespace %s is tenant %s's, whose people make tokens and pods of its accounts; name an account of tenant %s or of the platform", p.ServiceAccount.Namespace, other, t.Name)
		}
	}
}

// pipelineOf is another tenant whose pipeline p of t is: an older one that names the same subject, or the one in whose namespace its account
// is. Through it the people of that tenant would deploy here. "" is none.
func pipelineOf(tenants []v1alpha1.Tenant, t *v1alpha1.Tenant, p v1alpha1.Pipeline) string {
	if p.ServiceAccount != nil {
		if of := Of(tenants, string(p.ServiceAccount.Namespace)); of != nil && of.Name != t.Name {
			return of.Name
		}
		return ""
	}
	for i := range tenants {
		other := &tenants[i]
		if other.Name == t.Name || !older(other, t) || other.DeletionTimestamp != nil {
			continue
		}
		if slices.ContainsFunc(other.Spec.Pipelines, func(o v1alpha1.Pipeline) bool { return PipelineUser(o) == PipelineUser(p) }) {
			return other.Name
		}
	}
	return ""
}

// explain says in the status of an environment what keeps its tenant from being as asked although its namespace is: the reason that
// needs a person most comes last and stays.
func (in Input) explain(plan *EnvironmentPlan) {
	t := in.Tenant
	say := func(phase v1alpha1.EnvironmentPhase, reason, message string) {
		plan.Status.Phase, plan.Reason, plan.Status.Message = phase, reason, message
	}
	if plan.Reason != "" {
		return
	}
	switch {
	case ends(t):
		say(v1alpha1.EnvironmentCordoned, ReasonOffboarding, in.offboardingMessage(plan.elevated))
	case t.Spec.Cordon != nil:
		say(v1alpha1.EnvironmentCordoned, ReasonCordoned, fmt.Sprintf("cordoned under %s: %s; what runs stays and nothing new comes; to undo it: ringfence tenant uncordon %s", t.Spec.Cordon.Ticket, t.Spec.Cordon.Reason, t.Name))
	}
	var faults []string
	note := func(path, format string, args ...any) {
		faults = append(faults, strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", ".")+": "+fmt.Sprintf(format, args...))
	}
	groupFaults(in.Platform, in.Tenants, t, note)
	quotaFaults(t, note)
	pipelineFaults(in.Tenants, t, note)
	if len(faults) > 0 {
		say(plan.Status.Phase, ReasonMistaken, strings.Join(faults, "; "))
	}
}
