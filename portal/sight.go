package portal

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/identity"
)

// The roles of a person in an environment.
const (
	roleAdmin, roleReadOnly, roleAuditor = "admin", "readOnly", "auditor"
)

// sight is what somebody may see at this moment. Its zero value is nothing.
type sight struct {
	// auditor sees every namespace, and what lies in none; administrator ends the access of others.
	auditor, administrator bool
	// factor says that the Platform names what proves a second factor.
	factor bool
	// roles are by namespace, tenants by name: those that the person is in, or all of an auditor.
	roles   map[string]string
	tenants map[string]*v1alpha1.Tenant
	places  map[string]Place
}

// see asks the cluster what a person may see. Where it cannot be asked the answer is a problem, and not that there is nothing.
func (p *Portal) see(ctx context.Context, who identity.Person) (sight, error) {
	platform, err := p.cfg.Estate.Platform(ctx)
	var tenants []v1alpha1.Tenant
	if err == nil {
		tenants, err = p.cfg.Estate.Tenants(ctx)
	}
	var owned map[string]Place
	if err == nil {
		owned, err = p.cfg.Estate.Owned(ctx)
	}
	if err != nil {
		return sight{}, p.blind(err)
	}
	return seen(platform, tenants, owned, who.Groups), nil
}

// blind is the problem that the cluster cannot be read.
func (p *Portal) blind(err error) error {
	p.cfg.Log.Error("what somebody may see is not known", "err", err)
	return problem(http.StatusServiceUnavailable, "undecided", "the cluster is not read yet, or cannot be read now, so it is not known what you may see; try again in a moment")
}

// seen is what somebody in groups may see. Whose a namespace is is said by its Guard, which Ringfence alone writes: two Tenants that claim
// the same namespace do not both have it.
func seen(platform *v1alpha1.Platform, tenants []v1alpha1.Tenant, owned map[string]Place, groups []string) sight {
	in := map[string]bool{}
	for _, g := range groups {
		in[g] = g != ""
	}
	s := sight{roles: map[string]string{}, tenants: map[string]*v1alpha1.Tenant{}, places: owned}
	if platform != nil {
		rules := platform.Spec.Identity
		s.auditor = slices.ContainsFunc(rules.Auditors, func(g string) bool { return in[g] })
		s.administrator = slices.ContainsFunc(rules.Administrators, func(g string) bool { return in[g] })
		s.factor = rules.MFA != ""
	}
	for i := range tenants {
		t := &tenants[i]
		if s.auditor || in[t.Spec.Groups.Admin] || in[t.Spec.Groups.ReadOnly] {
			s.tenants[t.Name] = t
		}
		for _, env := range t.Spec.Environments {
			role := roleIn(t, env, in)
			if role == "" && s.auditor {
				role = roleAuditor
			}
			if role == "" {
				continue
			}
			s.tenants[t.Name] = t
			name := cmp.Or(string(env.Namespace), t.Name+"-"+env.Name)
			if place := owned[name]; place.Tenant == t.Name && place.Environment == env.Name {
				s.roles[name] = role
			}
		}
	}
	return s
}

// roleIn is the role that groups give in an environment, "" for none.
func roleIn(t *v1alpha1.Tenant, env v1alpha1.Environment, in map[string]bool) string {
	admin, reader := t.Spec.Groups.Admin, t.Spec.Groups.ReadOnly
	if env.Groups != nil && env.Groups.Admin != "" {
		admin = env.Groups.Admin
	}
	if env.Groups != nil && env.Groups.ReadOnly != "" {
		reader = env.Groups.ReadOnly
	}
	switch {
	case in[admin]:
		return roleAdmin
	case in[reader]:
		return roleReadOnly
	}
	return ""
}

// namespaces are those that may be looked into, sorted.
func (s sight) namespaces() []string { return slices.Sorted(maps.Keys(s.roles)) }

// anyAdmin reports whether somebody is an admin anywhere.
func (s sight) anyAdmin() bool {
	for _, role := range s.roles {
		if role == roleAdmin {
			return true
		}
	}
	return false
}

// proved is a problem where the Platform names what proves a second factor, and the session lacks it.
func (s sight) proved(c *caller) error {
	if !s.factor || c.who.MFA {
		return nil
	}
	return problem(http.StatusForbidden, "second-factor", "this wants a second factor; sign in again with one (ringfence login, or acr_values at the identity provider), then POST "+prefix+"/sessions with the new ID token")
}
