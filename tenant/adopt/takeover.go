package adopt

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
)

// value is an object as it would be decoded of its JSON.
func value(object any) map[string]any {
	text, err := json.Marshal(object)
	if err != nil {
		return nil
	}
	var v map[string]any
	if json.Unmarshal(text, &v) != nil {
		return nil
	}
	return v
}

// input is what tenant.Plan would look at in the estate as it is: namespaces that are there and nobody's.
func input(t *v1alpha1.Tenant, platform *v1alpha1.Platform, absent map[string]bool) tenant.Input {
	in := tenant.Input{Platform: platform, Tenant: t, Tenants: []v1alpha1.Tenant{*t}, Namespaces: map[string]tenant.Live{}, Cilium: true, Now: time.Unix(0, 0)}
	for _, env := range t.Spec.Environments {
		name := tenant.NamespaceOf(t, env)
		if !absent[name] {
			in.Namespaces[name] = tenant.Live{Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}}
		}
	}
	return in
}

// takeover says of each environment what would change.
func (b *builder) takeover() {
	bindings, policies := map[string][]string{}, map[string][]string{}
	for _, one := range b.bindings {
		if one.Outcome == Mapped {
			bindings[one.Namespace] = append(bindings[one.Namespace], show(one.Name))
		}
	}
	for _, p := range b.policies {
		policies[p.Namespace] = append(policies[p.Namespace], p.Kind+" "+show(p.Name))
	}
	absent := map[string]bool{}
	for _, n := range b.namespaces {
		absent[n.Name] = !n.given
	}
	for i := range b.plan.Tenants {
		t := &b.plan.Tenants[i]
		for j, plan := range tenant.Plan(input(&t.Object, &b.plan.Platform, absent)) {
			env := &t.Environments[j]
			n := b.namespaces[env.Namespace]
			env.Changes, env.Closes = []string{}, []string{}
			for _, c := range plan.Changes {
				env.Changes = append(env.Changes, c.String())
			}
			env.Superseded, env.Policies = orNone(bindings[n.Name]), orNone(policies[n.Name])
			for _, side := range []string{"ingress", "egress"} {
				if !n.closed[side] {
					env.Closes = append(env.Closes, side)
				}
			}
			if len(env.Closes) > 0 {
				b.decide("traffic-that-ends", t.Name, n.Object, "no policy closes all pods there today; Ringfence's baseline would: ingress from anywhere, and egress to outside the cluster but for DNS and the proxy", "write the policies that the workloads need first; allowing ones work before the baseline is there")
			}
		}
	}
}

// orNone is a list sorted, and never nil.
func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	slices.Sort(list)
	return list
}

// finish counts and puts everything into order.
func (b *builder) finish() {
	p, c := b.plan, &b.plan.Counts
	for _, o := range b.objects {
		if o.Outcome == "" {
			o.set(Unmapped, "", "nothing was found out about it")
		}
		c.Objects++
		switch o.Kind {
		case "RoleBinding", "ClusterRoleBinding":
			if o.Outcome != Duplicate {
				c.Bindings++
			}
		case "ResourceQuota":
			if o.Outcome != Duplicate {
				c.Quotas++
			}
		case "Namespace":
			if o.Outcome != Duplicate && o.Name != "" {
				c.Namespaces++
			}
		}
		*map[Outcome]*int{Mapped: &c.Mapped, Kept: &c.Kept, OfPlatform: &c.Platform, Decide: &c.Decide, Unmapped: &c.Unmapped, Duplicate: &c.Duplicates}[o.Outcome]++
		p.Objects = append(p.Objects, *o)
	}
	slices.SortStableFunc(p.Objects, func(x, y Object) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Name, y.Name))
	})
	for group := range b.all {
		if group != "" {
			c.Groups++
		}
	}
	for what, n := range b.notRead {
		what.Count = n
		p.NotRead = append(p.NotRead, what)
		c.NotRead += n
	}
	slices.SortFunc(p.NotRead, func(x, y NotRead) int {
		return cmp.Or(cmp.Compare(x.APIVersion, y.APIVersion), cmp.Compare(x.Kind, y.Kind))
	})
	for _, key := range slices.Sorted(maps.Keys(b.decisions)) {
		d := b.decisions[key]
		slices.Sort(d.About)
		d.About = slices.Compact(d.About)
		p.Decisions = append(p.Decisions, *d)
	}
	c.Decisions, c.Tenants = len(p.Decisions), len(p.Tenants)
	for i := range p.Tenants {
		c.Environments += len(p.Tenants[i].Environments)
	}
}
