package egress_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/test/egress"
)

// now is the instant at which the tests ask; two of the grants have ended by then.
var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// small worlds, so that a brute-force oracle can look at every place in them.
var (
	grantedNames    = []string{"db.bank.example", "api.bank.example", "bank.example", "x.example"}
	selectedNames   = []string{"db.bank.example", "DB.bank.Example.", "api.bank.example", "bank.example", "evil.example", "x.example..", "ekample", ""}
	selectedPattern = []string{"", "", "", "db.bank.example", "API.bank.example.", "*.bank.example", "d*.bank.example", "**.bank.example", "*", "**", "b*nk.example"}
	sampledNames    = []string{"db.bank.example", "api.bank.example", "bank.example", "evil.example", "x.example", "zz.bank.example", "dzz.bank.example",
		"a.b.bank.example", "bzznk.example", "zz", "ekample"}
	grantedCIDRs  = []string{"10.0.0.0/28", "10.0.0.0/29", "10.0.0.8/29", "10.0.0.4/30", "10.0.0.12/32", "2001:db8::/126", "2001:db8::4/127", "::ffff:10.0.0.0/124", "0.0.0.0/0"}
	selectedCIDRs = []string{"10.0.0.0/28", "10.0.0.5/29", "10.0.0.8/30", "10.0.0.12/32", "10.0.0.13", "10.0.0.0/27", "2001:db8::/126", "2001:db8::1/125",
		"::ffff:10.0.0.0/124", "0.0.0.0/0", "10.0.0.0/33", "nonsense"}
	protocols = []any{"TCP", "TCP", "TCP", "UDP", "ANY", "SCTP", "", nil}
	portWords = []any{"1", "2", "3", "4", "5", "6", "02", "0x2", "web", "0", "1 2", int64(3), nil}
	endPorts  = []any{nil, nil, nil, int64(0), int64(2), int64(4), int64(6), int64(40)}
)

// grants are some of the small world, drawn by r; sane ones are so many that much is granted.
func grants(r *rand.Rand, sane bool) (map[string]string, []v1alpha1.EgressCIDR) {
	ends := []string{"", "", "2099-01-01T00:00:00Z", "2026-11-21T12:00:00Z", "broken"}
	names, networks := map[string]string{}, []v1alpha1.EgressCIDR(nil)
	count, top := 8, 6
	if sane {
		count, top = 60, 3
	}
	for range r.IntN(count) {
		names[fmt.Sprintf("%s:%d", pick(r, grantedNames), 1+r.IntN(top))] = pick(r, ends)
	}
	for range r.IntN(count) {
		networks = append(networks, v1alpha1.EgressCIDR{CIDR: v1alpha1.CIDR(pick(r, grantedCIDRs)), Port: v1alpha1.Port(1 + r.IntN(top)), Expires: pick(r, ends)})
	}
	return names, networks
}

// drawn is a CiliumNetworkPolicy or a NetworkPolicy, drawn by r: a sane one, or one that is well formed or not.
func drawn(r *rand.Rand, sane bool) map[string]any {
	list := func(most int, one func() any) []any {
		all := []any{}
		for range r.IntN(most + 1) {
			all = append(all, one())
		}
		return all
	}
	port := func() any {
		p := map[string]any{}
		set(p, "port", pick(r, portWords))
		set(p, "protocol", pick(r, protocols))
		set(p, "endPort", pick(r, endPorts))
		if sane {
			p = map[string]any{"port": pick(r, portWords[:3]), "protocol": "TCP"}
			set(p, "endPort", pick(r, []any{nil, nil, int64(0), int64(3)}))
		}
		return p
	}
	block := func() any {
		b := map[string]any{"cidr": pick(r, selectedCIDRs)}
		if sane {
			b["cidr"] = pick(r, selectedCIDRs[:7])
		}
		if r.IntN(3) == 0 {
			b["except"] = list(2, func() any { return pick(r, selectedCIDRs) })
		}
		if !sane && r.IntN(40) == 0 {
			b["cidrGroupRef"] = "partners"
		}
		return b
	}
	if r.IntN(4) == 0 {
		rule := func() any {
			e := map[string]any{"to": list(2, func() any {
				return pick(r, []any{map[string]any{"ipBlock": block()}, map[string]any{"podSelector": map[string]any{}}, map[string]any{}})
			})}
			set(e, "ports", pick(r, []any{list(2, port), list(2, port), nil}))
			if sane {
				e["ports"] = []any{port()}
			}
			return e
		}
		return map[string]any{"kind": "NetworkPolicy", "metadata": map[string]any{"name": "x"}, "spec": map[string]any{"egress": list(2, rule)}}
	}
	selector := func() any {
		s := map[string]any{}
		if sane {
			return map[string]any{"matchName": pick(r, selectedNames[:4])}
		}
		set(s, "matchName", pick(r, []any{nil, pick(r, selectedNames), pick(r, selectedNames)}))
		if p := pick(r, selectedPattern); p != "" {
			s["matchPattern"] = p
		}
		return s
	}
	endpoint := func() any {
		if sane {
			return map[string]any{"matchLabels": map[string]any{"app": "x"}}
		}
		return pick(r, []any{map[string]any{}, map[string]any{"matchLabels": map[string]any{"app": "x"}}, map[string]any{"matchLabels": map[string]any{"reserved:world": ""}},
			map[string]any{"matchExpressions": []any{map[string]any{"key": "k8s:io.kubernetes.pod.namespace", "operator": pick(r, []any{"In", "Exists", "NotIn", "DoesNotExist"})}}}})
	}
	rule := func() any {
		e := map[string]any{}
		for _, f := range []struct {
			field string
			often int // one rule in so many has it
			one   func() any
		}{
			{"toFQDNs", 4, selector}, {"toCIDR", 4, func() any { return pick(r, selectedCIDRs) }}, {"toCIDRSet", 4, block}, {"toEndpoints", 8, endpoint},
			{"toEntities", 10, func() any {
				return pick(r, []string{"cluster", "host", "world", "all", "kube-apiserver", "world-ipv4", "news"})
			}},
			{"toServices", 20, func() any { return map[string]any{"k8sService": map[string]any{"serviceName": "x"}} }},
		} {
			if r.IntN(f.often) == 0 && !(sane && f.often > 8) {
				e[f.field] = list(3, f.one)
			}
		}
		if sane || r.IntN(8) > 0 {
			e["toPorts"] = list(2, func() any { return map[string]any{"ports": list(3, port)} })
		}
		if sane {
			e["toPorts"] = []any{map[string]any{"ports": []any{port()}}}
			e["toEndpoints"] = []any{endpoint()}
		}
		return e
	}
	spec := func() any { return map[string]any{"endpointSelector": map[string]any{}, "egress": list(3, rule)} }
	p := map[string]any{"kind": "CiliumNetworkPolicy", "metadata": map[string]any{"name": "x"}}
	if r.IntN(4) > 0 {
		p["spec"] = spec()
	}
	if r.IntN(4) == 0 {
		p["specs"] = list(2, spec)
	}
	return p
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func set(m map[string]any, key string, v any) {
	if v != nil && v != "" {
		m[key] = v
	}
}

// granted is the oracle's word on one destination: each sampled place on each port that d opens is looked up in a plain
// list of grants. Patterns are matched as Cilium does, by regular expression.
func granted(d egress.Destination, names map[string]string, networks []v1alpha1.EgressCIDR) bool {
	if d.Protocol != "TCP" || d.First == 0 || d.Last < d.First || d.Name == "" && (!d.Network.IsValid() || d.Network.Addr().Is4In6()) {
		return false
	}
	live := func(end string) bool {
		at, err := time.Parse(time.RFC3339, end)
		return end == "" || err == nil && now.Before(at)
	}
	for port := int(d.First); port <= int(d.Last); port++ {
		if d.Name != "" {
			for _, name := range sampledNames {
				end, ok := names[fmt.Sprintf("%s:%d", name, port)]
				if matches(d.Name, name) && !(ok && live(end)) {
					return false
				}
			}
			if !strings.Contains(d.Name, "*") && !matchesAny(d.Name) {
				return false // a name outside the world
			}
			continue
		}
		for _, addr := range sampledAddresses() {
			if !d.Network.Contains(addr) || contains(d.Except, addr) {
				continue
			}
			ok := false
			for _, n := range networks {
				prefix := netip.MustParsePrefix(string(n.CIDR))
				ok = ok || int(n.Port) == port && live(n.Expires) && prefix.Contains(addr)
			}
			if !ok {
				return false
			}
		}
	}
	return true
}

func matchesAny(pattern string) bool {
	for _, name := range sampledNames {
		if matches(pattern, name) {
			return true
		}
	}
	return false
}

func matches(pattern, name string) bool {
	pattern = strings.ToLower(pattern)
	if strings.Trim(pattern, "*") == "" {
		return true
	}
	if !strings.HasSuffix(pattern, ".") {
		pattern += "."
	}
	expression := strings.ReplaceAll(pattern, ".", "[.]")
	if rest, ok := strings.CutPrefix(expression, "**[.]"); ok {
		expression = "([-a-z0-9_]+([.][-a-z0-9_]+)*)[.]" + rest
	}
	expression = regexp.MustCompile(`(^|[^)])\*+`).ReplaceAllString(expression, "${1}[-a-z0-9_]*")
	if strings.HasPrefix(pattern, "**.") {
		expression = "([-a-z0-9_]+[.])+" + strings.ReplaceAll(strings.TrimPrefix(pattern, "**."), ".", "[.]")
	}
	return regexp.MustCompile("^" + expression + "$").MatchString(name + ".")
}

func contains(all []netip.Prefix, addr netip.Addr) bool {
	for _, p := range all {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// sampledAddresses are every address that the small world tells apart.
func sampledAddresses() (all []netip.Addr) {
	for _, start := range []string{"10.0.0.0", "2001:db8::"} {
		for addr, n := netip.MustParseAddr(start), 0; n < 34; addr, n = addr.Next(), n+1 {
			all = append(all, addr)
		}
	}
	return append(all, netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("9.255.255.255"), netip.MustParseAddr("255.255.255.255"))
}

// FuzzEgress compares the decision with the oracle's, destination by destination, over drawn policies and grants.
func FuzzEgress(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed, seed*7919)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		r, sane := rand.New(rand.NewPCG(a, b)), b%2 == 0
		names, networks := grants(r, sane)
		g := egress.New(names, networks, now)
		p := drawn(r, sane)
		for _, d := range egress.Destinations(p) {
			if got, want := egress.Covers(g, d), granted(d, names, networks); got != want {
				t.Errorf("Covers(%+v) = %v, want %v\ngrants %v %v\npolicy %v", d, got, want, names, networks, p)
			}
		}
	})
}
