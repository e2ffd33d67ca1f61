// Package observe takes stock of a cluster that Ringfence does not guard yet: what each control would refuse, which images run from
// where, who holds which rights, and which namespaces lie open; and it proposes how to begin.
//
// It reads nothing itself and changes nothing: it is shown objects with what was found of them. package cli calls it.
package observe

import (
	"slices"
	"strings"
	"sync"

	"github.com/distribution/reference"

	"ringfence.dev/ringfence/finding"
)

// Stock is what was seen so far. The zero value is not to be used; New makes one. It is safe for many goroutines.
type Stock struct {
	mu         sync.Mutex
	objects    int
	namespaces map[string]*namespace
	failed     map[string]*failed // by control
	images     map[string]*uses   // by reference as it was written
	roles      map[string]power   // by scope and name
	bindings   []binding
	cilium     bool      // a policy of Cilium is there
	requests   *Requests // of an audit log, without its entries; nil for none
	entries    map[[3]string]*Entry
}

type namespace struct {
	objects, refused int
	closed, open     bool // a policy closes ingress for all of its pods, or opens it to everybody
	labels           map[string]string
}

// failed are the objects that fail one control.
type failed struct {
	rule       string
	title      string
	severity   finding.Severity
	objects    int
	namespaces map[string]int
}

type uses struct {
	containers int
	namespaces map[string]bool
}

// New is an empty stock.
func New() *Stock {
	return &Stock{namespaces: map[string]*namespace{}, failed: map[string]*failed{}, images: map[string]*uses{}, roles: map[string]power{}}
}

// Add takes up an object and what was found of it. What is not shaped as its kind should be is counted and says nothing.
func (s *Stock) Add(subject finding.Subject, value map[string]any, findings []finding.Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects++
	home := s.in(subject.Namespace)
	if home != nil {
		home.objects++
	}
	if s.fail(subject, findings) && home != nil {
		home.refused++
	}
	if spec, ok := podSpec(subject.Kind, value); ok {
		s.pod(subject.Namespace, spec)
	}
	switch subject.Kind {
	case "Namespace":
		s.in(subject.Name).labels = stringsOf(field(value, "metadata", "labels"))
	case "NetworkPolicy", "CiliumNetworkPolicy":
		s.cilium = s.cilium || strings.HasPrefix(subject.Kind, "Cilium")
		if home != nil {
			closed, open := ingress(subject.Kind, value)
			home.closed, home.open = home.closed || closed, home.open || open
		}
	case "Role", "ClusterRole":
		s.roles[subject.Namespace+"/"+subject.Name] = powerOf(list(value["rules"]))
	case "RoleBinding", "ClusterRoleBinding":
		s.bindings = append(s.bindings, bindingOf(subject, value))
	}
}

// Cilium tells whether a policy of Cilium was seen.
func (s *Stock) Cilium() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cilium
}

// in is a namespace; nil for what lies in none.
func (s *Stock) in(name string) *namespace {
	if name == "" {
		return nil
	}
	n := s.namespaces[name]
	if n == nil {
		n = &namespace{}
		s.namespaces[name] = n
	}
	return n
}

// fail counts the controls that refuse the object, each once: those that it fails and nothing waives, and those that could not be decided. It tells whether there is one.
func (s *Stock) fail(subject finding.Subject, findings []finding.Finding) (any bool) {
	last := ""
	for _, f := range findings {
		if f.Outcome != finding.Fail && f.Outcome != finding.Errored || f.Waiver != nil || f.Control == last {
			continue
		}
		any, last = true, f.Control
		c := s.failed[f.Control]
		if c == nil {
			c = &failed{rule: f.Rule, title: f.Title, severity: f.Severity, namespaces: map[string]int{}}
			s.failed[f.Control] = c
		}
		c.objects++
		c.namespaces[subject.Namespace]++
	}
	return any
}

func (s *Stock) pod(namespace string, spec map[string]any) {
	for _, kind := range []string{"initContainers", "containers", "ephemeralContainers"} {
		for _, c := range list(spec[kind]) {
			image, _ := field(c, "image").(string)
			if image == "" {
				continue
			}
			u := s.images[image]
			if u == nil {
				u = &uses{namespaces: map[string]bool{}}
				s.images[image] = u
			}
			u.containers++
			u.namespaces[namespace] = true
		}
	}
}

// podSpec is the pod inside a workload.
func podSpec(kind string, value map[string]any) (map[string]any, bool) {
	path := []string{"spec", "template", "spec"}
	switch kind {
	case "Pod":
		path = path[:1]
	case "PodTemplate":
		path = path[1:]
	case "CronJob":
		path = append([]string{"spec", "jobTemplate"}, path...)
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job":
	default:
		return nil, false
	}
	spec, ok := field(value, path...).(map[string]any)
	return spec, ok
}

// ingress tells whether a policy selects every pod of its namespace and closes ingress, and whether it then opens it to everybody: policies add up, so
// that beside such a one no other closes anything.
func ingress(kind string, value map[string]any) (closed, open bool) {
	spec, _ := value["spec"].(map[string]any)
	selector, opens := "podSelector", opensAll
	if kind == "CiliumNetworkPolicy" {
		selector, opens = "endpointSelector", opensAllCilium
	}
	chosen, given := spec[selector].(map[string]any)
	if !given || !everything(chosen) {
		return false, false
	}
	types := list(spec["policyTypes"])
	if _, ruled := spec["ingress"]; kind == "CiliumNetworkPolicy" && !ruled || len(types) > 0 && !slices.Contains(types, any("Ingress")) {
		return false, false
	}
	return true, slices.ContainsFunc(list(spec["ingress"]), opens)
}

// everything tells whether a selector selects all there is.
func everything(selector any) bool {
	chosen, _ := selector.(map[string]any)
	return len(stringsOf(chosen["matchLabels"])) == 0 && len(list(chosen["matchExpressions"])) == 0
}

// opensAll tells whether a rule of a NetworkPolicy lets in everybody in the cluster, on every port.
func opensAll(rule any) bool {
	from := list(field(rule, "from"))
	return len(list(field(rule, "ports"))) == 0 && (len(from) == 0 || slices.ContainsFunc(from, func(peer any) bool {
		cidr, _ := field(peer, "ipBlock", "cidr").(string)
		return field(peer, "namespaceSelector") != nil && everything(field(peer, "namespaceSelector")) && everything(field(peer, "podSelector")) ||
			strings.HasSuffix(cidr, "/0") && len(list(field(peer, "ipBlock", "except"))) == 0
	}))
}

// opensAllCilium is opensAll of a rule of a CiliumNetworkPolicy, of which one without anything lets in nobody.
func opensAllCilium(rule any) bool {
	entities := list(field(rule, "fromEntities"))
	return len(list(field(rule, "toPorts"))) == 0 && (slices.Contains(entities, any("all")) || slices.Contains(entities, any("cluster")))
}

// place is the registry of an image and how it is named: by "digest", "tag", or "none", which means the tag latest.
func place(image string) (registry, by string) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "?", "none"
	}
	registry = reference.Domain(named)
	if _, ok := named.(reference.Digested); ok {
		return registry, "digest"
	}
	if _, ok := named.(reference.Tagged); ok {
		return registry, "tag"
	}
	return registry, "none"
}

func field(value any, path ...string) any {
	for _, name := range path {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value
}

func list(value any) []any {
	all, _ := value.([]any)
	return all
}

func stringsOf(value any) map[string]string {
	object, _ := value.(map[string]any)
	out := make(map[string]string, len(object))
	for k, v := range object {
		if text, ok := v.(string); ok {
			out[k] = text
		}
	}
	return out
}
