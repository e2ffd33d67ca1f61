package observe

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
)

// Schema is the version of a Report's JSON. Fields are only added.
const Schema = "ringfence.dev/observation/v1"

// Report is what a cluster holds, seen from its rules. Lists are sorted and never null.
type Report struct {
	SchemaVersion string      `json:"schemaVersion"`
	Cluster       string      `json:"cluster"`
	At            time.Time   `json:"at"`
	Objects       int         `json:"objects"`
	Namespaces    []Namespace `json:"namespaces"`
	Controls      []Control   `json:"controls"` // in the order in which they are to be switched on
	Images        []Image     `json:"images"`
	Registries    []Registry  `json:"registries"`
	Rights        []Holder    `json:"rights"`
	// Requests are what an audit log tells; null where none was given.
	Requests *Requests `json:"requests"`
	// NotObserved says what could not be seen, and why: what is missing is unknown, and not clean.
	NotObserved []string `json:"notObserved"`
}

// Namespace is one namespace.
type Namespace struct {
	Name    string `json:"name"`
	System  bool   `json:"system"`  // of the platform; proposed to be exempt
	Objects int    `json:"objects"` // that were judged
	Failing int    `json:"failing"` // that fail a control
	// Baseline is whether a policy closes ingress for all of its pods, and none opens it to everybody.
	Baseline bool `json:"baseline"`
}

// Control is one control, and what it would refuse today.
type Control struct {
	ID       string           `json:"id"`
	Title    string           `json:"title"`
	Severity finding.Severity `json:"severity"`
	Failing  int              `json:"failing"` // objects outside the platform's namespaces; 0 breaks nothing that runs
	System   int              `json:"system"`  // objects inside them
	// Namespaces are those with failing objects, most first; without the platform's own.
	Namespaces []Count `json:"namespaces"`
}

// Count is so many of something.
type Count struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// Image is one reference as it is written.
type Image struct {
	Reference  string   `json:"reference"`
	Registry   string   `json:"registry"`
	By         string   `json:"by"` // digest, tag, or none, which means the tag latest
	Containers int      `json:"containers"`
	Namespaces []string `json:"namespaces"`
}

// Registry is where images come from.
type Registry struct {
	Name       string `json:"name"`
	Public     bool   `json:"public"` // anybody may push there or read it; not proposed
	Images     int    `json:"images"`
	Containers int    `json:"containers"` // outside the platform's namespaces
}

// Rule is a control of the catalogue, as a Report needs it.
type Rule struct {
	ID, Title string
	Severity  finding.Severity
	Unjudged  string // why it was not judged: "platform-not-supplied", "facts-not-supplied"; "" where it was
}

// Report is what was seen. at is when, rules are those that judged, and notObserved is what could not be read.
func (s *Stock) Report(cluster string, at time.Time, rules []Rule, notObserved []string) Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Report{SchemaVersion: Schema, Cluster: cluster, At: at.UTC().Truncate(time.Second), Objects: s.objects,
		Namespaces: []Namespace{}, Controls: []Control{}, Images: []Image{}, Registries: []Registry{}, Rights: s.holders(), Requests: s.asked(), NotObserved: append([]string{}, notObserved...)}
	for _, name := range slices.Sorted(maps.Keys(s.namespaces)) {
		n := s.namespaces[name]
		r.Namespaces = append(r.Namespaces, Namespace{Name: name, System: isSystem(name), Objects: n.objects, Failing: n.refused, Baseline: n.closed && !n.open})
	}
	unjudged := map[string][]string{}
	for _, rule := range rules {
		if rule.Unjudged == "" {
			r.Controls = append(r.Controls, s.control(rule))
		} else {
			unjudged[rule.Unjudged] = append(unjudged[rule.Unjudged], rule.ID)
		}
	}
	for _, why := range slices.Sorted(maps.Keys(unjudged)) {
		text := ": compare with the bank's own settings; give them with --platform, for instance the Platform proposed here"
		if why == "facts-not-supplied" {
			text = ": compare with what scanners know of images; judge their reports with: ringfence image verdict"
		}
		r.NotObserved = append(r.NotObserved, strings.Join(unjudged[why], ", ")+text)
	}
	order(r.Controls)
	s.pictures(&r)
	return r
}

func (s *Stock) control(rule Rule) Control {
	c := Control{ID: rule.ID, Title: rule.Title, Severity: rule.Severity, Namespaces: []Count{}}
	f := s.failed[rule.ID]
	if f == nil {
		return c
	}
	for name, n := range f.namespaces {
		if isSystem(name) {
			c.System += n
			continue
		}
		c.Failing += n
		c.Namespaces = append(c.Namespaces, Count{cmp.Or(name, "(cluster)"), n})
	}
	slices.SortFunc(c.Namespaces, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name))
	})
	return c
}

// order puts first what breaks nothing, the most severe first; then by broken objects for each step of severity, so that a critical
// control may break eight times what a low one may.
func order(controls []Control) {
	weight := func(c Control) int {
		return map[finding.Severity]int{finding.Critical: 8, finding.High: 4, finding.Medium: 2}[c.Severity]
	}
	slices.SortStableFunc(controls, func(a, b Control) int {
		wa, wb := max(1, weight(a)), max(1, weight(b))
		return cmp.Or(cmp.Compare(a.Failing*wb, b.Failing*wa), cmp.Compare(wb, wa), strings.Compare(a.ID, b.ID))
	})
}

// pictures adds images and registries.
func (s *Stock) pictures(r *Report) {
	registries := map[string]*Registry{}
	for _, ref := range slices.Sorted(maps.Keys(s.images)) {
		u := s.images[ref]
		registry, by := place(ref)
		names := slices.Sorted(maps.Keys(u.namespaces))
		r.Images = append(r.Images, Image{Reference: ref, Registry: registry, By: by, Containers: u.containers, Namespaces: names})
		reg := registries[registry]
		if reg == nil {
			reg = &Registry{Name: registry, Public: public(registry)}
			registries[registry] = reg
		}
		reg.Images++
		if !slices.ContainsFunc(names, func(n string) bool { return !isSystem(n) }) {
			continue
		}
		reg.Containers += u.containers
	}
	for _, name := range slices.Sorted(maps.Keys(registries)) {
		r.Registries = append(r.Registries, *registries[name])
	}
}

// public tells whether a registry serves the whole world.
func public(host string) bool {
	switch host {
	case "docker.io", "quay.io", "ghcr.io", "gcr.io", "registry.k8s.io", "k8s.gcr.io", "public.ecr.aws", "mcr.microsoft.com", "nvcr.io", "lscr.io", "registry.gitlab.com", "registry.access.redhat.com", "registry.redhat.io", "cgr.dev", "dhi.io", "?":
		return true
	}
	return strings.HasSuffix(host, ".gcr.io") || strings.HasSuffix(host, ".docker.io")
}

// isSystem tells whether a namespace is the platform's own by a name that the field gives it.
func isSystem(name string) bool {
	if strings.HasPrefix(name, "kube-") || strings.HasSuffix(name, "-system") || strings.HasPrefix(name, "openshift-") || strings.HasPrefix(name, "cattle-") {
		return true
	}
	switch name {
	case "openshift", "kyverno", "cert-manager", "external-secrets", "argocd", "ingress-nginx", "monitoring", "logging", "falco", "velero", "linkerd", "istio-ingress", "local-path-storage", "amazon-cloudwatch", "capsule":
		return true
	}
	return false
}
