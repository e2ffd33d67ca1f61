// Package egress holds the rule RF-NW-03 to what it stands for: whether what a network policy opens lies inside what a namespace was granted.
//
// It decides that exactly, in plain Go: it reads CiliumNetworkPolicy and NetworkPolicy objects as Cilium and Kubernetes do (Destinations) and
// compares each destination with the egress of a Guard (New, Covers). The rule, in CEL, may be stricter in the ways that TestNative lists, and
// never laxer. It writes no policy and resolves no name. Its own tests call it, and nothing that is built.
package egress

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// Grants are the destinations that a namespace may open, indexed. They are immutable; the zero value grants nothing.
type Grants struct {
	// names are the TCP ports granted for each name, sorted and merged.
	names map[string][]ports
	// networks are the addresses granted for each TCP port, sorted and merged.
	networks map[uint16][]addresses
}

// ports are first to last, both included.
type ports struct{ first, last uint16 }

// addresses are first to last, both included, of one family.
type addresses struct{ first, last netip.Addr }

// New indexes a Guard's egress as it is live at now: names by "fqdn:port" with their ends, and networks. An entry that
// cannot be read, has ended, or is a pattern or an IPv4-mapped network grants nothing.
func New(names map[string]string, networks []v1alpha1.EgressCIDR, now time.Time) *Grants {
	g := &Grants{names: map[string][]ports{}, networks: map[uint16][]addresses{}}
	for entry, expires := range names {
		colon := strings.LastIndexByte(entry, ':')
		if colon < 0 || !live(expires, now) {
			continue
		}
		name, port := entry[:colon], number(entry[colon+1:])
		if port > 0 && canonical(name) == name && name != "" && !strings.Contains(name, "*") {
			g.names[name] = append(g.names[name], ports{port, port})
		}
	}
	for _, n := range networks {
		prefix, err := netip.ParsePrefix(string(n.CIDR))
		if err != nil || prefix.Addr().Is4In6() || n.Port < 1 || n.Port > 65535 || !live(n.Expires, now) {
			continue
		}
		g.networks[uint16(n.Port)] = append(g.networks[uint16(n.Port)], span(prefix))
	}
	for name, all := range g.names {
		g.names[name] = mergePorts(all)
	}
	for port, all := range g.networks {
		g.networks[port] = mergeAddresses(all)
	}
	return g
}

// Covers reports whether everything that the destination opens was granted. The zero Destination, everything, never is.
func Covers(g *Grants, d Destination) bool {
	if d.Protocol != tcp || d.First == 0 || d.Last < d.First {
		return false
	}
	if d.Name != "" {
		// A pattern with a wildcard matches names without end, and grants are single names.
		return slices.ContainsFunc(g.names[canonical(d.Name)], func(p ports) bool { return p.first <= d.First && d.Last <= p.last })
	}
	if !d.Network.IsValid() || d.Network.Addr().Is4In6() {
		return false
	}
	pieces := without(span(d.Network), d.Except)
	if len(pieces) == 0 {
		return true // everything is taken out
	}
	if int(d.Last-d.First) >= len(g.networks) {
		return false // fewer ports are granted at all
	}
	for port := int(d.First); port <= int(d.Last); port++ {
		granted := g.networks[uint16(port)]
		for _, piece := range pieces {
			if !inside(granted, piece) {
				return false
			}
		}
	}
	return true
}

// CoversAll reports whether every destination was granted.
func CoversAll(g *Grants, all []Destination) bool {
	return !slices.ContainsFunc(all, func(d Destination) bool { return !Covers(g, d) })
}

// live reports whether a grant that ends at expires, RFC 3339, is still one; the empty string never ends.
func live(expires string, now time.Time) bool {
	if expires == "" {
		return true
	}
	end, err := time.Parse(time.RFC3339, expires)
	return err == nil && now.Before(end)
}

// number reads a port in plain decimal, 0 if it is none: what else a port may look like (octal, a name) is not one number.
func number(s string) uint16 {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0
	}
	return uint16(n)
}

// canonical is a name as Cilium compares it, lower case and without the dot at its end; names beyond ASCII stay as they
// are, so that no letter becomes another.
func canonical(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.TrimSuffix(name, "."))
}

// span is the addresses of a network; bits of its address beyond its length count for nothing.
func span(p netip.Prefix) addresses {
	first := p.Masked().Addr()
	raw := first.AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(raw)
	return addresses{first, last}
}

// without is what is left of all once the networks are taken out.
func without(all addresses, networks []netip.Prefix) []addresses {
	if len(networks) == 0 {
		return []addresses{all}
	}
	holes := make([]addresses, 0, len(networks))
	for _, n := range networks {
		if n.Addr().Is4() == all.first.Is4() && !n.Addr().Is4In6() {
			holes = append(holes, span(n))
		}
	}
	var left []addresses
	for _, hole := range mergeAddresses(holes) {
		if hole.last.Less(all.first) || all.last.Less(hole.first) {
			continue
		}
		if all.first.Less(hole.first) {
			left = append(left, addresses{all.first, hole.first.Prev()})
		}
		if !hole.last.Less(all.last) {
			return left
		}
		all.first = hole.last.Next()
	}
	return append(left, all)
}

// inside reports whether one of the sorted, merged ranges holds the piece.
func inside(granted []addresses, piece addresses) bool {
	i, found := slices.BinarySearchFunc(granted, piece.first, func(a addresses, at netip.Addr) int { return a.first.Compare(at) })
	if !found {
		i--
	}
	return i >= 0 && granted[i].last.Compare(piece.last) >= 0 && granted[i].last.Is4() == piece.first.Is4()
}

func mergeAddresses(all []addresses) []addresses {
	slices.SortFunc(all, func(a, b addresses) int { return cmp.Or(a.first.Compare(b.first), a.last.Compare(b.last)) })
	var out []addresses
	for _, a := range all {
		if n := len(out) - 1; n >= 0 && out[n].last.Is4() == a.first.Is4() && (!out[n].last.Less(a.first) || out[n].last.Next() == a.first) {
			if out[n].last.Less(a.last) {
				out[n].last = a.last
			}
			continue
		}
		out = append(out, a)
	}
	return out
}

func mergePorts(all []ports) []ports {
	slices.SortFunc(all, func(a, b ports) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.last, b.last)) })
	var out []ports
	for _, p := range all {
		if n := len(out) - 1; n >= 0 && int(p.first) <= int(out[n].last)+1 {
			out[n].last = max(out[n].last, p.last)
			continue
		}
		out = append(out, p)
	}
	return out
}
