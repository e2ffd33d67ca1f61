package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// tcp is the only protocol that is granted.
const tcp = "TCP"

// Destination is something outside the cluster, with ports, that a policy opens. The zero value is everything.
type Destination struct {
	// Name is a DNS name or a pattern of Cilium, as the policy writes it. Empty: an address.
	Name string
	// Network is the addresses, less Except. Invalid with no Name: everything.
	Network netip.Prefix
	Except  []netip.Prefix
	// First and Last are the ports, both included. A First of 0 is every port, or one that is no number.
	First, Last uint16
	// Protocol is TCP, another one, or empty for all of them.
	Protocol string
}

// insideEntities are the entities of Cilium that lie in the cluster. Others, also those that are not known yet, do not.
var insideEntities = []string{"cluster", "host", "remote-node", "kube-apiserver", "health", "init", "ingress", "unmanaged", "none"}

// Destinations reads what a CiliumNetworkPolicy or a NetworkPolicy opens outside the cluster. What cannot be read as
// these kinds are written, and what can lead anywhere, is everything.
func Destinations(policy map[string]any) []Destination {
	if policy["kind"] == "NetworkPolicy" {
		spec, ok := policy["spec"].(map[string]any)
		if !ok {
			return unreadable(policy["spec"])
		}
		return each(spec["egress"], kubernetesRule)
	}
	all := each(policy["specs"], ciliumSpec)
	if spec, ok := policy["spec"]; ok && spec != nil {
		all = append(all, ciliumSpec(spec)...)
	}
	return all
}

// everything is a destination that no grant covers.
func everything() []Destination { return []Destination{{}} }

// unreadable is everything, or nothing where there is nothing.
func unreadable(v any) []Destination {
	if v == nil {
		return nil
	}
	return everything()
}

// each reads the items of a list; what is there and no list is everything.
func each(list any, read func(any) []Destination) (all []Destination) {
	items, ok := list.([]any)
	if !ok {
		return unreadable(list)
	}
	for _, item := range items {
		all = append(all, read(item)...)
	}
	return all
}

func items(v any) []any {
	list, _ := v.([]any)
	return list
}

func kubernetesRule(v any) []Destination {
	rule, ok := v.(map[string]any)
	if !ok {
		return everything()
	}
	opened := portsOf(items(rule["ports"]), tcp)
	if len(items(rule["to"])) == 0 {
		return everything()
	}
	return each(rule["to"], func(v any) []Destination {
		peer, ok := v.(map[string]any)
		block, outside := peer["ipBlock"].(map[string]any)
		switch {
		case !ok || len(peer) == 0:
			return everything()
		case !outside && peer["ipBlock"] != nil:
			return everything()
		case !outside:
			return nil
		}
		return onPorts(network(map[string]any{"cidr": block["cidr"], "except": block["except"]}), opened)
	})
}

// ciliumSpec reads one rule of Cilium. One that selects by a reserved label is not confined to its namespace, and neither
// are the endpoints it names; one that turns the default off opens it.
func ciliumSpec(v any) []Destination {
	spec, ok := v.(map[string]any)
	if !ok {
		return everything()
	}
	if deny, ok := spec["enableDefaultDeny"].(map[string]any); ok && deny["egress"] == false || reserved(spec["endpointSelector"]) {
		return everything()
	}
	return each(spec["egress"], ciliumRule)
}

func ciliumRule(v any) []Destination {
	rule, ok := v.(map[string]any)
	if !ok {
		return everything()
	}
	known := 0
	for _, field := range []string{"toEndpoints", "toEntities", "toFQDNs", "toCIDR", "toCIDRSet"} {
		known += len(items(rule[field]))
	}
	if known == 0 && (rule["toPorts"] != nil || rule["icmps"] != nil) {
		return everything()
	}
	for _, field := range []string{"toServices", "toGroups", "toNodes"} {
		if len(items(rule[field])) > 0 {
			return everything()
		}
	}
	var opened []Destination
	for _, v := range items(rule["toPorts"]) {
		entry, _ := v.(map[string]any)
		if entry["listener"] != nil {
			return everything()
		}
		opened = append(opened, portsOf(items(entry["ports"]), "")...)
	}
	if len(opened) == 0 {
		opened = portsOf(nil, "")
	}
	all := slices.Concat(each(rule["toEndpoints"], endpoints), each(rule["toEntities"], entity))
	outside := slices.Concat(each(rule["toFQDNs"], fqdn), each(rule["toCIDR"], func(v any) []Destination { return network(map[string]any{"cidr": v}) }),
		each(rule["toCIDRSet"], network))
	return append(all, onPorts(outside, opened)...)
}

// endpoints are pods of the cluster unless the selector asks what is no pod. Cilium confines a selector to the policy's
// namespace unless it has a requirement on a reserved label or on the namespace: one that is met by what lacks the label
// is met by the world.
func endpoints(v any) []Destination {
	selector, ok := v.(map[string]any)
	if !ok || reserved(selector) {
		return everything()
	}
	for _, v := range items(selector["matchExpressions"]) {
		e, _ := v.(map[string]any)
		key, _ := e["key"].(string)
		if e["operator"] != "In" && e["operator"] != "Exists" && strings.Contains(key, "namespace") {
			return everything()
		}
	}
	return nil
}

// reserved reports whether a selector requires anything of a label that Cilium reserves.
func reserved(selector any) bool {
	s, _ := selector.(map[string]any)
	labels, _ := s["matchLabels"].(map[string]any)
	for key := range labels {
		if strings.HasPrefix(key, "reserved") {
			return true
		}
	}
	return slices.ContainsFunc(items(s["matchExpressions"]), func(v any) bool {
		e, _ := v.(map[string]any)
		key, _ := e["key"].(string)
		return strings.HasPrefix(key, "reserved")
	})
}

func entity(v any) []Destination {
	if name, ok := v.(string); ok && slices.Contains(insideEntities, name) {
		return nil
	}
	return everything()
}

// fqdn reads a selector of names; one with a name and a pattern selects both.
func fqdn(v any) (all []Destination) {
	selector, _ := v.(map[string]any)
	for _, field := range []string{"matchName", "matchPattern"} {
		if name, ok := selector[field].(string); ok && name != "" {
			all = append(all, Destination{Name: name})
		}
	}
	if len(all) == 0 {
		return everything()
	}
	return all
}

// network reads a network with what is taken out of it; an address alone is a network of one.
func network(v any) []Destination {
	block, _ := v.(map[string]any)
	text, _ := block["cidr"].(string)
	prefix, err := netip.ParsePrefix(text)
	if addr, bad := netip.ParseAddr(text); err != nil && bad == nil && addr.Zone() == "" {
		prefix, err = addr.Prefix(addr.BitLen())
	}
	if err != nil || block["cidrGroupRef"] != nil || block["cidrGroupSelector"] != nil {
		return everything()
	}
	d := Destination{Network: prefix}
	for _, v := range items(block["except"]) {
		text, _ := v.(string)
		if except, err := netip.ParsePrefix(text); err == nil {
			d.Except = append(d.Except, except)
		}
	}
	return []Destination{d}
}

// portsOf reads the ports of a rule, each as a Destination without a place. None are all of them. A port that is no
// plain number has a First of 0.
func portsOf(list []any, protocol string) []Destination {
	if len(list) == 0 {
		return []Destination{{Last: 65535}}
	}
	var all []Destination
	for _, v := range list {
		entry, _ := v.(map[string]any)
		d := Destination{Protocol: protocol}
		if named, ok := entry["protocol"]; ok && named != nil {
			d.Protocol = fmt.Sprint(named)
		}
		d.First = number(fmt.Sprint(entry["port"]))
		d.Last = d.First
		if end, ok := entry["endPort"]; ok && end != nil && fmt.Sprint(end) != "0" {
			d.Last = number(fmt.Sprint(end))
		}
		all = append(all, d)
	}
	return all
}

// onPorts is every place on every port.
func onPorts(places, opened []Destination) (all []Destination) {
	for _, place := range places {
		for _, p := range opened {
			d := place
			d.First, d.Last, d.Protocol = p.First, p.Last, p.Protocol
			all = append(all, d)
		}
	}
	return all
}
