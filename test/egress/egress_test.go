package egress_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/test/egress"
)

func TestCovers(t *testing.T) {
	g := egress.New(map[string]string{"db.bank.example:5432": "", "old.bank.example:443": "2026-11-21T11:59:59Z", "soon.bank.example:443": "2026-11-21T12:00:01Z", "*.bank.example:443": ""},
		[]v1alpha1.EgressCIDR{{CIDR: "10.20.0.0/17", Port: 5432}, {CIDR: "10.20.128.0/17", Port: 5432}, {CIDR: "10.20.0.0/16", Port: 5433, Expires: "2026-11-21T12:00:00Z"}}, now)
	on := func(d egress.Destination, port uint16) egress.Destination {
		d.First, d.Last, d.Protocol = port, port, "TCP"
		return d
	}
	name := func(n string) egress.Destination { return egress.Destination{Name: n} }
	network := func(p string, except ...string) egress.Destination {
		d := egress.Destination{Network: netip.MustParsePrefix(p)}
		for _, e := range except {
			d.Except = append(d.Except, netip.MustParsePrefix(e))
		}
		return d
	}
	for _, c := range []struct {
		what string
		d    egress.Destination
		want bool
	}{
		{"a granted name", on(name("db.bank.example"), 5432), true},
		{"in other letters, with a dot", on(name("DB.Bank.Example."), 5432), true},
		{"with two dots", on(name("db.bank.example.."), 5432), false},
		{"with a Kelvin sign for a k", on(name("db.ban\u212a.example"), 5432), false},
		{"on another port", on(name("db.bank.example"), 443), false},
		{"over UDP", egress.Destination{Name: "db.bank.example", First: 5432, Last: 5432, Protocol: "UDP"}, false},
		{"on every port", egress.Destination{Name: "db.bank.example", Last: 65535, Protocol: "TCP"}, false},
		{"a pattern, although a grant reads the same", on(name("*.bank.example"), 443), false},
		{"a grant that has ended", on(name("old.bank.example"), 443), false},
		{"a grant that ends in a second", on(name("soon.bank.example"), 443), true},
		{"two granted halves", on(network("10.20.0.0/16"), 5432), true},
		{"bits beyond the length", on(network("10.20.200.7/16"), 5432), true},
		{"a network that ended this instant", on(network("10.20.0.0/16"), 5433), false},
		{"one bit wider", on(network("10.20.0.0/15"), 5432), false},
		{"one bit wider, less what was not granted", on(network("10.20.0.0/15", "10.21.0.0/16"), 5432), true},
		{"an IPv4-mapped network", on(network("::ffff:10.20.0.0/112"), 5432), false},
		{"everything", egress.Destination{}, false},
	} {
		if got := egress.Covers(g, c.d); got != c.want {
			t.Errorf("%s: Covers = %v, want %v", c.what, got, c.want)
		}
	}
}

// BenchmarkCovers asks for names and networks among 10,000 of each, and reports the median, the 99th percentile and how
// many times longer a plain search through the lists takes.
func BenchmarkCovers(b *testing.B) {
	const entries = 10_000
	names, networks := map[string]string{}, make([]v1alpha1.EgressCIDR, 0, entries)
	for i := range entries {
		names[fmt.Sprintf("host%d.bank.example:443", i)] = ""
		networks = append(networks, v1alpha1.EgressCIDR{CIDR: v1alpha1.CIDR(fmt.Sprintf("10.%d.%d.0/25", i/250, i%250)), Port: v1alpha1.Port(5432 + i%20)})
	}
	g, r := egress.New(names, networks, now), rand.New(rand.NewPCG(3, 4))
	asked := make([]egress.Destination, 1000)
	for i := range asked {
		n := r.IntN(entries)
		asked[i] = egress.Destination{Name: fmt.Sprintf("Host%d.bank.example.", n), First: 443, Last: 443, Protocol: "TCP"}
		if i%2 == 0 {
			port := uint16(5432 + n%20)
			asked[i] = egress.Destination{Network: netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.64/26", n/250, n%250)), First: port, Last: port, Protocol: "TCP",
				Except: []netip.Prefix{netip.MustParsePrefix("10.0.0.96/32")}}
		}
	}
	took := make([]time.Duration, 0, b.N)
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		ok := egress.Covers(g, asked[i%len(asked)])
		took = append(took, time.Since(start))
		if !ok {
			b.Fatalf("%+v is granted", asked[i%len(asked)])
		}
	}
	slices.Sort(took)
	start := time.Now()
	for _, d := range asked[:100] {
		linear(d, names, networks)
	}
	plain := time.Since(start) / 100
	b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
	b.ReportMetric(float64(plain)/float64(max(took[len(took)/2], 1)), "x-linear")
}

// linear is the plain search.
func linear(d egress.Destination, names map[string]string, networks []v1alpha1.EgressCIDR) bool {
	if d.Name != "" {
		for name := range names {
			if name == fmt.Sprintf("%s:%d", d.Name, d.First) {
				return true
			}
		}
	}
	for _, n := range networks {
		p, err := netip.ParsePrefix(string(n.CIDR))
		if err == nil && n.Port == v1alpha1.Port(d.First) && p.Bits() <= d.Network.Bits() && p.Overlaps(d.Network) {
			return true
		}
	}
	return false
}
