package observe

import (
	"cmp"
	"slices"
	"strings"

	"ringfence.dev/ringfence/finding"
)

// power is what a role gives, as far as a bank asks first.
type power struct {
	everything, secrets, exec, escalate, workloads bool
}

// The words for powers, the greatest first. They are part of the contract.
const (
	PowerEverything = "everything"     // any verb on any resource
	PowerEscalate   = "escalate"       // bind, escalate, impersonate: to be somebody else
	PowerSecrets    = "reads-secrets"  // get or list secrets that are not named one by one
	PowerExec       = "exec"           // into pods
	PowerWorkloads  = "changes-things" // create, update, patch or delete
)

// words are the powers in the order of weight.
func (p power) words() (all []string) {
	if p.everything {
		return []string{PowerEverything} // the others are parts of it
	}
	for _, w := range []struct {
		has  bool
		word string
	}{{p.everything, PowerEverything}, {p.escalate, PowerEscalate}, {p.secrets, PowerSecrets}, {p.exec, PowerExec}, {p.workloads, PowerWorkloads}} {
		if w.has {
			all = append(all, w.word)
		}
	}
	return all
}

func (p power) or(q power) power {
	return power{p.everything || q.everything, p.secrets || q.secrets, p.exec || q.exec, p.escalate || q.escalate, p.workloads || q.workloads}
}

// powerOf is what rules give.
func powerOf(rules []any) (p power) {
	for _, rule := range rules {
		verbs, groups, resources, names := texts(field(rule, "verbs")), texts(field(rule, "apiGroups")), texts(field(rule, "resources")), texts(field(rule, "resourceNames"))
		has := func(list []string, any ...string) bool {
			return slices.ContainsFunc(list, func(one string) bool { return one == "*" || slices.Contains(any, one) })
		}
		core, change := has(groups, ""), has(verbs, "create", "update", "patch", "delete", "deletecollection")
		p = p.or(power{
			everything: slices.Contains(verbs, "*") && slices.Contains(resources, "*") && slices.Contains(groups, "*"),
			secrets:    core && has(verbs, "get", "list", "watch") && has(resources, "secrets") && len(names) == 0,
			exec:       core && has(verbs, "create", "get") && has(resources, "pods/exec", "pods/attach"), // by get over websockets, before Kubernetes 1.35
			escalate: has(groups, "rbac.authorization.k8s.io") && has(verbs, "bind", "escalate") && has(resources, "roles", "clusterroles") ||
				core && has(verbs, "impersonate") && has(resources, "users", "groups", "serviceaccounts"),
			workloads: change && slices.ContainsFunc(resources, func(r string) bool { return !strings.HasPrefix(r, "selfsubject") && !strings.HasPrefix(r, "pods/") }),
		})
	}
	return p
}

func texts(value any) (out []string) {
	for _, v := range list(value) {
		if text, ok := v.(string); ok {
			out = append(out, text)
		}
	}
	return out
}

// binding gives a role to subjects.
type binding struct {
	namespace string // "" for all
	role      string // key of Stock.roles
	name      string
	subjects  []string
}

func bindingOf(subject finding.Subject, value map[string]any) binding {
	b := binding{namespace: subject.Namespace}
	b.name, _ = field(value, "roleRef", "name").(string)
	b.role = "/" + b.name
	if kind, _ := field(value, "roleRef", "kind").(string); kind == "Role" {
		b.role = subject.Namespace + b.role
	}
	for _, s := range list(value["subjects"]) {
		kind, _ := field(s, "kind").(string)
		name, _ := field(s, "name").(string)
		if home, _ := field(s, "namespace").(string); kind == "ServiceAccount" {
			name = cmp.Or(home, subject.Namespace) + "/" + name
		}
		b.subjects = append(b.subjects, kind+" "+name)
	}
	return b
}

// Holder is somebody who holds rights that matter.
type Holder struct {
	Subject    string   `json:"subject"` // "Group payments-admins", "ServiceAccount ci/deployer"
	Powers     []string `json:"powers"`  // the greatest first
	Cluster    bool     `json:"cluster"` // in the whole cluster
	Namespaces []string `json:"namespaces"`
	Roles      []string `json:"roles"`
}

// holders are those who hold powers, the most dangerous first. Kubernetes' own are left out: their rights are not the bank's to give.
func (s *Stock) holders() []Holder {
	all := map[string]*Holder{}
	powers := map[string]power{}
	for _, b := range s.bindings {
		p := s.roles[b.role]
		if p == (power{}) {
			continue
		}
		for _, subject := range b.subjects {
			if ofKubernetes(subject) {
				continue
			}
			h := all[subject]
			if h == nil {
				h = &Holder{Subject: subject, Namespaces: []string{}}
				all[subject] = h
			}
			powers[subject] = powers[subject].or(p)
			h.Cluster = h.Cluster || b.namespace == ""
			h.Namespaces, h.Roles = with(h.Namespaces, b.namespace), with(h.Roles, b.name)
		}
	}
	out := make([]Holder, 0, len(all))
	for subject, h := range all {
		h.Powers = powers[subject].words()
		out = append(out, *h)
	}
	weight := func(h Holder) (w int) {
		if h.Cluster {
			w = 100
		}
		for _, word := range h.Powers {
			w += map[string]int{PowerEverything: 50, PowerEscalate: 20, PowerSecrets: 10, PowerExec: 5, PowerWorkloads: 1}[word]
		}
		return w
	}
	slices.SortFunc(out, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(weight(b), weight(a)), cmp.Compare(len(b.Namespaces), len(a.Namespaces)), strings.Compare(a.Subject, b.Subject))
	})
	return out
}

// with is a sorted list with one more that is not empty.
func with(list []string, one string) []string {
	at, found := slices.BinarySearch(list, one)
	if found || one == "" {
		return list
	}
	return slices.Insert(list, at, one)
}

func ofKubernetes(subject string) bool {
	kind, name, _ := strings.Cut(subject, " ")
	switch {
	case kind == "ServiceAccount":
		return strings.HasPrefix(name, "kube-system/")
	case name == "system:anonymous", name == "system:unauthenticated", name == "system:authenticated":
		return false
	}
	return strings.HasPrefix(name, "system:")
}
