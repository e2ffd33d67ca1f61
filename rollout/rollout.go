// Package rollout says what a change of a control's action would break, and how such a change is made and undone.
//
// It reads no cluster and writes none: it is shown objects with what was found of them, requests that were recorded, and a
// Platform. package cli calls it.
package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
)

// Scope says for whom an action is changed. The zero value is everybody for whom nothing more specific is said.
type Scope struct {
	// Ring is a ring of tenants; "" is none in particular.
	Ring string
	// Production is production environments.
	Production bool
	// Tenant is one tenant, which strengthens the control for itself.
	Tenant string
}

// Place is where a Platform says the action: "action", "production" or "ring/" and its name. A Tenant has none.
func (s Scope) Place() string {
	switch {
	case s.Ring != "":
		return "ring/" + s.Ring
	case s.Production:
		return "production"
	}
	return "action"
}

// String names the scope for people.
func (s Scope) String() string {
	switch {
	case s.Tenant != "":
		return "tenant " + s.Tenant
	case s.Ring != "":
		return "ring " + s.Ring
	case s.Production:
		return "production"
	}
	return "everywhere"
}

// Check says what is wrong with a scope, given the Tenants there are; nil for nothing. A ring that no tenant is in would make an
// empty preflight, which must not look like a clean one.
func (s Scope) Check(tenants []v1alpha1.Tenant) error {
	named := func(is func(v1alpha1.Tenant) bool) bool { return slices.ContainsFunc(tenants, is) }
	switch {
	case s.Ring != "" && !named(func(t v1alpha1.Tenant) bool { return t.Spec.Ring == s.Ring }):
		return fmt.Errorf("no tenant is in ring %s; the rings are: %s", s.Ring, rings(tenants))
	case s.Tenant != "" && !named(func(t v1alpha1.Tenant) bool { return t.Name == s.Tenant }):
		return fmt.Errorf("there is no tenant %s", s.Tenant)
	case s.Production && !named(hasProduction):
		return fmt.Errorf("no tenant has a production environment")
	}
	return nil
}

// Covers says whether a scope is about a namespace. What a more specific scope says there is not asked.
func (s Scope) Covers(tenants []v1alpha1.Tenant, namespace string) bool {
	if s == (Scope{}) {
		return true
	}
	t := tenant.Of(tenants, namespace)
	switch {
	case t == nil || namespace == "":
		return false
	case s.Tenant != "":
		return t.Name == s.Tenant
	case s.Ring != "":
		return t.Spec.Ring == s.Ring
	}
	return slices.ContainsFunc(t.Spec.Environments, func(e v1alpha1.Environment) bool { return e.Production && tenant.NamespaceOf(t, e) == namespace })
}

func hasProduction(t v1alpha1.Tenant) bool {
	return slices.ContainsFunc(t.Spec.Environments, func(e v1alpha1.Environment) bool { return e.Production })
}

func rings(tenants []v1alpha1.Tenant) string {
	var all []string
	for _, t := range tenants {
		if t.Spec.Ring != "" {
			all = append(all, t.Spec.Ring)
		}
	}
	slices.Sort(all)
	return cmp.Or(strings.Join(slices.Compact(all), ", "), "none")
}

// Plain is a copy of a Platform as it is without suspensions: they end by themselves, and what counts is what holds then.
func Plain(p *v1alpha1.Platform) *v1alpha1.Platform {
	p = p.DeepCopy()
	p.Spec.Suspensions = nil
	return p
}

// Apply is copies of a Platform and its Tenants in which controls have an action for a scope.
func Apply(p *v1alpha1.Platform, tenants []v1alpha1.Tenant, ids []string, action v1alpha1.Action, s Scope) (*v1alpha1.Platform, []v1alpha1.Tenant) {
	p = p.DeepCopy()
	if s.Tenant == "" {
		for _, id := range ids {
			set(p, id, s.Place(), action)
		}
		return p, tenants
	}
	tenants = slices.Clone(tenants)
	for i := range tenants {
		if tenants[i].Name != s.Tenant {
			continue
		}
		t := tenants[i].DeepCopy()
		if t.Spec.Controls == nil {
			t.Spec.Controls = map[string]v1alpha1.Action{}
		}
		for _, id := range ids {
			t.Spec.Controls[id] = action
		}
		tenants[i] = *t
	}
	return p, tenants
}

// At is the action that a Platform says for a control at a place; "" for none.
func At(p *v1alpha1.Platform, id, place string) v1alpha1.Action {
	c := p.Spec.Controls[id]
	if ring, ok := strings.CutPrefix(place, "ring/"); ok {
		return c.Rings[ring]
	}
	if place == "production" {
		return c.Production
	}
	return c.Action
}

// set puts an action at a place; "" takes it away.
func set(p *v1alpha1.Platform, id, place string, action v1alpha1.Action) {
	c := p.Spec.Controls[id]
	ring, ringed := strings.CutPrefix(place, "ring/")
	switch {
	case ringed && action == "":
		delete(c.Rings, ring)
	case ringed:
		if c.Rings == nil {
			c.Rings = map[string]v1alpha1.Action{}
		}
		c.Rings[ring] = action
	case place == "production":
		c.Production = action
	default:
		c.Action = action
	}
	if p.Spec.Controls == nil {
		p.Spec.Controls = map[string]v1alpha1.ControlRollout{}
	}
	p.Spec.Controls[id] = c
}
