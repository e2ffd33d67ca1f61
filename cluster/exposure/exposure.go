// Package exposure says by what pods are reached: Services that select them, the Ingresses and routes that lead to those Services, and
// ports of their nodes.
//
// It asks no cluster, and weighs neither NetworkPolicies nor firewalls: objects are given to it. The command line calls it.
package exposure

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/control"
)

// Kinds are what Add takes, in any version.
var Kinds = []control.Kind{
	{Kind: "Service", Version: "v1"},
	{APIGroup: "networking.k8s.io", Kind: "Ingress", Version: "*"},
	{APIGroup: gateways, Kind: "HTTPRoute", Version: "*"},
	{APIGroup: gateways, Kind: "GRPCRoute", Version: "*"},
	{APIGroup: gateways, Kind: "TLSRoute", Version: "*"},
	{APIGroup: gateways, Kind: "TCPRoute", Version: "*"},
	{APIGroup: gateways, Kind: "UDPRoute", Version: "*"},
}

const gateways = "gateway.networking.k8s.io"

// Way is one way to a pod.
type Way struct {
	// Kind is Service, Ingress or a route's; HostPort and HostNetwork are the pod's own.
	Kind string `json:"kind"`
	// Namespace and Name are the object's; of a HostPort the name is the port, of a HostNetwork both are empty.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Hosts are the names that it answers to; none: to any, or it knows no names.
	Hosts []string `json:"hosts"`
	// Outside says whether it leads in from outside the cluster.
	Outside bool `json:"outside"`
}

// String names it, for instance "Ingress payments-prod/web (pay.bank.example)".
func (w Way) String() string {
	text := w.Kind
	switch {
	case w.Namespace != "":
		text += " " + w.Namespace + "/" + w.Name
	case w.Name != "":
		text += " " + w.Name
	}
	if len(w.Hosts) > 0 {
		text += " (" + strings.Join(w.Hosts, ", ") + ")"
	}
	return text
}

// Map holds the ways of a cluster. The zero value is empty; nothing may be added after the first question.
type Map struct {
	services map[string][]service // by namespace
	fronts   map[string][]Way     // by namespace/name of the Service that they lead to
}

type service struct {
	Way
	selector map[string]string
}

// Add takes an object; what is of none of Kinds counts for nothing.
func (m *Map) Add(object map[string]any) {
	kind, _ := object["kind"].(string)
	spec, _ := object["spec"].(map[string]any)
	w := Way{Kind: kind, Namespace: text(object, "metadata", "namespace"), Name: text(object, "metadata", "name"), Hosts: []string{}, Outside: true}
	switch {
	case kind == "Service":
		w.Outside = slices.Contains([]string{"LoadBalancer", "NodePort"}, text(spec, "type")) || len(items(spec["externalIPs"])) > 0
		if selector := strs(spec["selector"]); len(selector) > 0 && text(spec, "type") != "ExternalName" {
			if m.services == nil {
				m.services = map[string][]service{}
			}
			m.services[w.Namespace] = append(m.services[w.Namespace], service{w, selector})
		}
	case kind == "Ingress":
		m.ingress(w, spec)
	case strings.HasSuffix(kind, "Route"):
		m.route(w, spec)
	}
}

func (m *Map) ingress(w Way, spec map[string]any) {
	backends := []any{spec["defaultBackend"]}
	for _, rule := range items(spec["rules"]) {
		if host := text(rule, "host"); host != "" && !slices.Contains(w.Hosts, host) {
			w.Hosts = append(w.Hosts, host)
		}
		for _, path := range items(rule, "http", "paths") {
			backends = append(backends, at(path, "backend"))
		}
	}
	for _, b := range backends {
		m.front(w, w.Namespace, text(b, "service", "name"))
	}
}

// route is one of the Gateway API. A route that only Services are the parents of is of a mesh, and leads in from nowhere else.
func (m *Map) route(w Way, spec map[string]any) {
	for _, host := range items(spec["hostnames"]) {
		if name, ok := host.(string); ok {
			w.Hosts = append(w.Hosts, name)
		}
	}
	parents := items(spec["parentRefs"])
	w.Outside = slices.ContainsFunc(parents, func(p any) bool { return text(p, "kind") != "Service" })
	for _, rule := range items(spec["rules"]) {
		for _, b := range items(rule, "backendRefs") {
			if kind := text(b, "kind"); kind == "" || kind == "Service" {
				m.front(w, cmp.Or(text(b, "namespace"), w.Namespace), text(b, "name"))
			}
		}
	}
}

func (m *Map) front(w Way, namespace, service string) {
	key := namespace + "/" + service
	if service == "" || slices.ContainsFunc(m.fronts[key], func(had Way) bool { return had.String() == w.String() }) {
		return
	}
	if m.fronts == nil {
		m.fronts = map[string][]Way{}
	}
	m.fronts[key] = append(m.fronts[key], w)
}

// Of are the ways to a pod, those from outside first, each once.
func (m *Map) Of(pod map[string]any) []Way {
	var all []Way
	labels := strs(at(pod, "metadata", "labels"))
	for _, s := range m.services[text(pod, "metadata", "namespace")] {
		if selects(s.selector, labels) {
			all = append(append(all, s.Way), m.fronts[s.Namespace+"/"+s.Name]...)
		}
	}
	return Join(all, ports(pod))
}

// Join puts ways together: those from outside first, each once.
func Join(ways ...[]Way) []Way {
	all := slices.Concat(ways...)
	slices.SortFunc(all, func(a, b Way) int {
		switch {
		case a.Outside && !b.Outside:
			return -1
		case b.Outside && !a.Outside:
			return 1
		}
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return slices.CompactFunc(all, func(a, b Way) bool { return a.String() == b.String() })
}

// ports are those of its node that lead to a pod.
func ports(pod map[string]any) (all []Way) {
	if shared, _ := at(pod, "spec", "hostNetwork").(bool); shared {
		return []Way{{Kind: "HostNetwork", Hosts: []string{}, Outside: true}}
	}
	for _, field := range []string{"containers", "initContainers"} {
		for _, c := range items(pod, "spec", field) {
			for _, p := range items(c, "ports") {
				if port, _ := at(p, "hostPort").(int64); port != 0 {
					all = append(all, Way{Kind: "HostPort", Name: strconv.FormatInt(port, 10), Hosts: []string{}, Outside: true})
				}
			}
		}
	}
	return all
}

func selects(selector, labels map[string]string) bool {
	for key, want := range selector {
		if got, has := labels[key]; !has || got != want {
			return false
		}
	}
	return true
}

// at is what lies at a path of an object; nil where nothing does.
func at(value any, path ...string) any {
	for _, name := range path {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value
}

func text(value any, path ...string) string {
	s, _ := at(value, path...).(string)
	return s
}

func items(value any, path ...string) []any {
	all, _ := at(value, path...).([]any)
	return all
}

// strs are the strings of an object.
func strs(value any) map[string]string {
	object, _ := value.(map[string]any)
	all := make(map[string]string, len(object))
	for k, v := range object {
		all[k], _ = v.(string)
	}
	return all
}
