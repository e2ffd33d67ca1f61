package rollout

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"ringfence.dev/ringfence/finding"
)

// When an object would be refused.
const (
	// Restart: the next Pod of it would be.
	Restart = "restart"
	// Anew: what is there stays, and could not be created anew, from Git or from a backup.
	Anew = "anew"
)

// Break is one object that would be refused.
type Break struct {
	Control string `json:"control"`
	Tenant  string `json:"tenant"` // "" for nobody's
	Owner   string `json:"owner"`  // who answers for the tenant
	// Subject is the object; of what a controller made, the workload that it made it of.
	Subject finding.Subject `json:"subject"`
	// When is Restart or Anew.
	When string `json:"when"`
	// Pods are those of it that run and fail.
	Pods int `json:"pods"`
	// PodsOnly says that the Pods fail and what they are made of does not: something adds to them, or they are of an older template.
	PodsOnly bool   `json:"podsOnly"`
	Found    string `json:"found"`
	Path     string `json:"path"`
	Fix      string `json:"fix"`
}

// Owner says whose a namespace is: a tenant and its owner; "" for nobody's.
type Owner func(namespace string) (tenant, owner string)

// Config is what a Preflight needs to know.
type Config struct {
	// Was is the action that a control has for a subject now.
	Was func(s finding.Subject, control string) finding.Action
	// Owner says whose a namespace is.
	Owner Owner
}

// Preflight gathers what a change would refuse. New makes one. It is safe for many goroutines.
type Preflight struct {
	cfg Config

	mu        sync.Mutex // guards what follows
	objects   int
	already   int // denied with or without the change
	undecided int // that apply and could not be judged
	nodes     map[string]*node
	others    []Break // of what is no workload
	requests  requests
}

// node is one workload, or what was made of one.
type node struct {
	subject finding.Subject
	owner   string // uid of its controller; "" for none
	fails   []Break
}

// New is an empty Preflight.
func New(cfg Config) *Preflight {
	return &Preflight{cfg: cfg, nodes: map[string]*node{}, requests: newRequests()}
}

// Add takes up an object that is there, with what was found of it as if the change were made.
func (p *Preflight) Add(subject finding.Subject, value map[string]any, findings []finding.Finding) {
	fails, already, undecided := p.refused(subject, findings)
	meta, _ := value["metadata"].(map[string]any)
	uid, _ := meta["uid"].(string)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.objects++
	p.already += already
	p.undecided += undecided
	if uid == "" || !runs(subject.Kind, value) {
		p.others = append(p.others, fails...)
		return
	}
	p.nodes[uid] = &node{subject, controllerOf(meta), fails}
}

// refused are the breaks of an object, one a control; how many controls refuse it already, and how many could not be decided.
func (p *Preflight) refused(subject finding.Subject, findings []finding.Finding) (fails []Break, already, undecided int) {
	last := ""
	for i := range findings {
		f := &findings[i]
		if strings.HasPrefix(f.Path, "/spec/ephemeralContainers/") {
			continue // no Pod is made with one
		}
		if f.Outcome == finding.Errored {
			undecided++
		}
		if !f.Blocks() || f.Outcome != finding.Fail {
			continue
		}
		when := Anew
		if subject.Kind == "Pod" || strings.Contains(f.Path, "/template/") {
			when = Restart
		}
		if n := len(fails); f.Control == last {
			if n > 0 && fails[n-1].Control == last && when == Restart {
				fails[n-1].When = Restart // one place is enough
			}
			continue
		}
		last = f.Control
		if p.cfg.Was(subject, f.Control) == finding.Deny {
			already++
			continue
		}
		b := Break{Control: f.Control, Subject: subject, When: when, Found: finding.Value(f.Found), Path: finding.Clean(f.Path), Fix: f.Fix}
		b.Tenant, b.Owner = p.cfg.Owner(subject.Namespace)
		fails = append(fails, b)
	}
	return fails, already, undecided
}

// runs reports whether Pods are made of an object, or it is one.
func runs(kind string, value map[string]any) bool {
	spec, _ := value["spec"].(map[string]any)
	return kind == "Pod" || spec["template"] != nil || spec["jobTemplate"] != nil
}

// controllerOf is the uid of an object's controller.
func controllerOf(meta map[string]any) string {
	references, _ := meta["ownerReferences"].([]any)
	for _, r := range references {
		if owner, _ := r.(map[string]any); owner["controller"] == true {
			uid, _ := owner["uid"].(string)
			return uid
		}
	}
	return ""
}

// maxChain bounds the way from a Pod to its workload: CronJob, Job, Pod is three.
const maxChain = 6

// top is the workload that an object was made of, itself where nobody's; and whether a Job is on the way, which ends.
func (p *Preflight) top(n *node) (top *node, ends bool) {
	for range maxChain {
		owner := p.nodes[n.owner]
		ends = ends || n.subject.Kind == "Job" && owner != nil || owner != nil && owner.subject.Kind == "Job"
		if owner == nil || owner == n {
			return n, ends
		}
		n = owner
	}
	return n, ends
}

// breaks are all, the workload in the place of what was made of it.
func (p *Preflight) breaks() []Break {
	type key struct {
		top     *node
		control string
	}
	all := map[key]*Break{}
	for _, n := range p.nodes {
		if top, _ := p.top(n); top == n {
			for _, b := range n.fails {
				all[key{n, b.Control}] = &b
			}
		}
	}
	for _, n := range p.nodes {
		top, ends := p.top(n)
		if top == n || n.subject.Kind != "Pod" {
			continue // a ReplicaSet of an older template fails for itself, and nothing is made of it
		}
		for _, b := range n.fails {
			known := all[key{top, b.Control}]
			switch {
			case known == nil && ends:
				continue // a Pod that ended with its Job
			case known == nil:
				b.Subject, b.PodsOnly = top.subject, true
				known = &b
				all[key{top, b.Control}] = known
			}
			known.Pods++
			known.When = Restart
		}
	}
	out := slices.Clone(p.others)
	for k, b := range all {
		if k.top.subject.Kind == "Pod" {
			b.Pods = 1
		}
		out = append(out, *b)
	}
	slices.SortFunc(out, func(a, b Break) int {
		return cmp.Or(strings.Compare(a.Control, b.Control), strings.Compare(b.When, a.When), strings.Compare(a.Tenant, b.Tenant),
			strings.Compare(a.Subject.Namespace, b.Subject.Namespace), strings.Compare(a.Subject.Kind, b.Subject.Kind), strings.Compare(a.Subject.Name, b.Subject.Name))
	})
	return out
}
