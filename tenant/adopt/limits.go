package adopt

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
)

// amountForm is what is taken for an amount: short enough that nothing in it is expensive to reckon with.
var amountForm = regexp.MustCompile(`^[0-9]{1,15}(\.[0-9]{1,9})?([numkMGTPE]|[KMGTPE]i|[eE][0-9]{1,2})?$`)

// amounts are the hard limits of a quota, as text. What is no amount is left out.
func amounts(v any) map[string]string {
	out := map[string]string{}
	for key, one := range mapOf(v) {
		text := textOf(one)
		if text == "" {
			text = fmt.Sprint(one)
		}
		if amountForm.MatchString(text) && len(key) <= 316 {
			out[key] = text
		}
	}
	return out
}

// plainLimits are the keys of a quota without a slash that a Tenant may limit.
const plainLimits = " cpu memory ephemeral-storage requests.cpu requests.memory requests.storage requests.ephemeral-storage limits.cpu limits.memory " +
	"limits.ephemeral-storage pods resourcequotas services replicationcontrollers secrets persistentvolumeclaims configmaps services.nodeports services.loadbalancers "

func limitable(key string) bool {
	return strings.Contains(key, "/") || strings.HasPrefix(key, "hugepages-") || strings.HasPrefix(key, "requests.hugepages-") || strings.Contains(plainLimits, " "+key+" ")
}

// limits is what holds in a namespace: of each key the smallest amount, for all quotas hold at once.
type limits map[string]resource.Quantity

func (l limits) add(hard map[string]string) {
	for key, text := range hard {
		amount, err := resource.ParseQuantity(text)
		if err != nil || !limitable(key) {
			continue
		}
		if have, there := l[key]; !there || amount.Cmp(have) < 0 {
			l[key] = amount
		}
	}
}

// mapQuota makes a Tenant's quota, which is that of each namespace: of what every namespace limits, the most that one allows.
// So nothing that runs is refused, and the namespaces' own quotas, which stay, go on being the tighter ones.
func (b *builder) mapQuota(t *Tenant, all []*namespace) {
	each := make([]limits, len(all))
	differ := false
	for i, n := range all {
		each[i] = limits{}
		c := b.capsules[n.capsule]
		if c != nil {
			for _, hard := range c.quotas {
				each[i].add(hard)
			}
		}
		for _, q := range n.quotas {
			if !q.scoped && !(c != nil && len(c.quotas) > 0 && q.labels["capsule.clastix.io/resource-quota"] != "") {
				each[i].add(q.hard)
			}
		}
	}
	out := map[string]resource.Quantity{}
	for key, amount := range each[0] {
		most, everywhere := amount, true
		for _, other := range each[1:] {
			have, there := other[key]
			everywhere = everywhere && there
			if there && have.Cmp(most) != 0 {
				differ = true
			}
			if there && have.Cmp(most) > 0 {
				most = have
			}
		}
		if everywhere {
			out[key] = most
		}
	}
	keys := slices.Sorted(maps.Keys(out))
	for _, key := range keys[min(len(keys), 30):] {
		delete(out, key)
	}
	if len(out) > 0 {
		t.Object.Spec.Quota = out
		t.notes.quota = "of each namespace, as ResourceQuotas there say; theirs stay and hold beside it"
		if differ {
			t.notes.quota = "of each namespace, the most that one of them has today; theirs stay, and the smaller one holds"
		}
	}
	b.settleQuotas(t, all, out)
}

// settleQuotas says what became of each quota.
func (b *builder) settleQuotas(t *Tenant, all []*namespace, out map[string]resource.Quantity) {
	for _, n := range all {
		for _, q := range n.quotas {
			carried := 0
			for key := range q.hard {
				if _, ok := out[key]; ok {
					carried++
				}
			}
			switch {
			case q.scoped:
				q.set(Kept, t.Name, "it counts some pods alone (scopes), which a Tenant's quota cannot; it stays and holds")
			case carried == 0:
				q.set(Kept, t.Name, "what it limits is not limited in every namespace of the tenant; it stays and holds")
			case carried < len(q.hard):
				q.set(Mapped, t.Name, fmt.Sprintf("in spec.quota, %d of its %d limits; it stays and holds beside it", carried, len(q.hard)))
			default:
				q.set(Mapped, t.Name, "in spec.quota; it stays and holds beside it")
			}
		}
	}
	if c := b.capsules[all[0].capsule]; c != nil && c.whole {
		b.decide("quota-of-the-tenant", t.Name, c.Object, "Capsule's quota is for the tenant as a whole and each namespace was given the whole amount: state it as spec.totalQuota, which is divided among them", "each namespace may use as much as all may today, as long as Capsule's own quotas do not stop it")
	}
}

// readPolicy notes what a network policy closes and what it opens outside the cluster.
func readPolicy(o *Object, value map[string]any) *policy {
	p := &policy{Object: o}
	spec := mapOf(value["spec"])
	selector := mapOf(spec["podSelector"])
	if selector == nil {
		selector = mapOf(spec["endpointSelector"])
	}
	everyPod := len(mapOf(selector["matchLabels"])) == 0 && len(listOf(selector["matchExpressions"])) == 0
	types := texts(spec["policyTypes"])
	ingress := len(types) == 0 || slices.Contains(types, "Ingress")
	egress := slices.Contains(types, "Egress") || len(types) == 0 && spec["egress"] != nil
	if o.Kind == "CiliumNetworkPolicy" {
		ingress, egress = spec["ingress"] != nil || spec["ingressDeny"] != nil, spec["egress"] != nil || spec["egressDeny"] != nil
	}
	if everyPod && ingress {
		p.closes = append(p.closes, "ingress")
	}
	if everyPod && egress {
		p.closes = append(p.closes, "egress")
	}
	for _, rule := range listOf(spec["egress"]) {
		for _, to := range listOf(at(rule, "to")) {
			if cidr := textOf(at(to, "ipBlock", "cidr")); cidr != "" {
				p.opens = append(p.opens, cidr)
			}
		}
		p.opens = append(p.opens, texts(at(rule, "toCIDR"))...)
		for _, set := range listOf(at(rule, "toCIDRSet")) {
			p.opens = append(p.opens, textOf(at(set, "cidr")))
		}
		for _, f := range listOf(at(rule, "toFQDNs")) {
			p.opens = append(p.opens, textOf(at(f, "matchName"))+textOf(at(f, "matchPattern")))
		}
		if len(listOf(at(rule, "to"))) == 0 && o.Kind == "NetworkPolicy" {
			p.opens = append(p.opens, "everything")
		}
	}
	return p
}

// settlePolicies says what becomes of network policies: all stay.
func (b *builder) settlePolicies() {
	for _, p := range b.policies {
		n := b.of(p.Namespace)
		name := b.tenantOf[p.Namespace]
		switch {
		case n.system != "":
			p.set(OfPlatform, "", "in a namespace of the platform; it stays")
		case p.Name == tenant.BaselineName:
			p.set(Kept, name, "it is Ringfence's own")
		case len(p.opens) > 0 && name != "":
			b.decide("opens-egress", name, p.Object, "network policies open destinations outside the cluster: grant them in spec.egress, or let them go", "the policies stay and go on opening what they open; a new one like it is judged by the egress control", p.opens...)
			p.set(Kept, name, "it stays; it opens "+show(strings.Join(p.opens, ", ")))
		default:
			p.set(Kept, name, "it stays; policies add to each other")
		}
	}
}

// registriesOf are all that Tenants name, for the Platform's must hold them.
func registriesOf(tenants []Tenant) (all []v1alpha1.Registry) {
	for i := range tenants {
		all = append(all, tenants[i].Object.Spec.Registries...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
