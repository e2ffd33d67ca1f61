package egress_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
	"ringfence.dev/ringfence/test/egress"
)

// TestNative holds the rule RF-NW-03 to this package over 20,000 drawn policies: what the rule passes, Covers passes.
// Where only the rule refuses, a network fits no single grant of its port (but all of them together, or without what
// except takes out) or a range is longer than ten ports.
func TestNative(t *testing.T) {
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	cat.Controls = slices.DeleteFunc(cat.Controls, func(c control.Control) bool { return c.ID != "RF-NW-03" })
	sets, err := cel.Compile(cat)
	if err != nil {
		t.Fatal(err)
	}
	engine, r := policy.New(sets...), rand.New(rand.NewPCG(1, 2))
	both, stricter, errored := 0, 0, 0
	for i := range 20_000 {
		sane := i%2 == 0
		names, networks := lively(grants(r, sane))
		guard, err := policy.NewGuard(v1alpha1.GuardSpec{Egress: names, EgressCIDRs: networks})
		if err != nil {
			t.Fatal(err)
		}
		p := drawn(r, sane)
		subject := finding.Subject{APIVersion: "cilium.io/v2", Kind: "CiliumNetworkPolicy", Namespace: "payments-dev", Name: "x"}
		if p["kind"] == "NetworkPolicy" {
			subject.APIVersion, subject.Kind = "networking.k8s.io/v1", "NetworkPolicy"
		}
		passes := true
		for _, f := range engine.Judge(policy.Input{Object: p, Guard: guard, Namespace: "payments-dev"}, subject) {
			passes = passes && f.Outcome == finding.Pass
			if f.Outcome == finding.Errored {
				errored++
			}
		}
		all := egress.Destinations(p)
		covered := egress.CoversAll(egress.New(names, networks, now), all)
		switch {
		case passes && !covered:
			t.Fatalf("the rule passes what was not granted\ngrants %v %v\npolicy %v", names, networks, p)
		case passes && len(all) > 0:
			both++
		case covered && !passes && !slices.ContainsFunc(all, func(d egress.Destination) bool { return beyondRule(d, networks) }):
			t.Fatalf("the rule refuses what was granted, for no reason listed\ngrants %v %v\npolicy %v", names, networks, p)
		case covered && !passes:
			stricter++
		}
	}
	t.Logf("%d policies with destinations pass both, %d only Covers, in %d the rule could not be evaluated", both, stricter, errored)
	if both < 200 {
		t.Errorf("%d policies pass both, too few to show anything", both)
	}
}

// lively are the grants that Ringfence leaves in a Guard at now.
func lively(names map[string]string, networks []v1alpha1.EgressCIDR) (map[string]string, []v1alpha1.EgressCIDR) {
	ended := func(end string) bool { return end != "" && end != "2099-01-01T00:00:00Z" }
	for name, end := range names {
		if ended(end) {
			delete(names, name)
		}
	}
	return names, slices.DeleteFunc(networks, func(n v1alpha1.EgressCIDR) bool {
		return ended(n.Expires) || netip.MustParsePrefix(string(n.CIDR)).Addr().Is4In6()
	})
}

// beyondRule reports whether the rule is stricter about a destination, as said at TestNative.
func beyondRule(d egress.Destination, networks []v1alpha1.EgressCIDR) bool {
	if d.Last-d.First > 9 {
		return true
	}
	for port := int(d.First); d.Name == "" && port <= int(d.Last); port++ {
		if !slices.ContainsFunc(networks, func(n v1alpha1.EgressCIDR) bool {
			grant := netip.MustParsePrefix(string(n.CIDR))
			return int(n.Port) == port && grant.Bits() <= d.Network.Bits() && grant.Overlaps(d.Network)
		}) {
			return true
		}
	}
	return false
}
