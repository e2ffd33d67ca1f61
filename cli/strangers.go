package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/report"
)

// languages are what people write beside manifests and expect to be understood, by the domain of the group: what it is,
// and what to do instead of waiting for it.
func languages(domain string) (what, do string) {
	const policies = "are not read yet; look in `ringfence control list` whether the catalogue has its rule already, or give --policy the rule as a ValidatingAdmissionPolicy"
	switch domain {
	case "kyverno.io":
		return "Kyverno policies", policies
	case "gatekeeper.sh":
		return "Gatekeeper policies", policies
	case "eksctl.io":
		return "files of eksctl", "are not read; leave them out with a line in .ringfenceignore"
	}
	return "", ""
}

// strangers are the objects of kinds that come with CustomResourceDefinitions and of which no control speaks. It is safe
// for many goroutines.
type strangers struct {
	mu    sync.Mutex
	kinds map[strangeKind]strange
}

type strangeKind struct{ apiVersion, kind string }

// strange are the objects of one kind: the first of them, and how many.
type strange struct {
	name  string
	at    finding.Location
	count int
}

// add takes note of an object, if it is one of them. Kinds of Kubernetes itself are none: they are known, and allowed.
func (s *strangers) add(o *manifest.Object) {
	group, _, ok := strings.Cut(o.APIVersion(), "/")
	if !ok || !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io") || ownGroup(o) {
		return
	}
	key := strangeKind{o.APIVersion(), o.Kind()}
	one := strange{o.Subject().Name, o.Locate(""), 1}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kinds == nil {
		s.kinds = map[strangeKind]strange{}
	}
	if known, again := s.kinds[key]; again {
		if byLocation(known.at, one.at) < 0 {
			one.name, one.at = known.name, known.at
		}
		one.count += known.count
	}
	s.kinds[key] = one
}

func byLocation(a, b finding.Location) int {
	return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}

// maxStrange is how many kinds a message names.
const maxStrange = 5

// tell says of each kind that somebody may think was judged that it was not. Where nothing else was there, that is a fault
// of the input, and of every other kind too: nobody is told "no findings" of what nobody looked at.
func (s *strangers) tell(env Env, r *report.Report, paths []string, wanted bool) {
	alone := wanted && r.Summary.Invalid == 0 && !r.Interrupted && r.Summary.Objects > 0 && s.count() == r.Summary.Objects
	var faults [][]error
	var others []string
	for key, one := range s.sorted() {
		kind, name := finding.Value(key.kind), finding.Value(one.name)
		what, do := languages(domain(key.apiVersion))
		if what == "" {
			others = append(others, fmt.Sprintf("%s of %s", kind, finding.Value(key.apiVersion)))
			continue
		}
		if one.count > 1 {
			name += fmt.Sprintf(" and %d more", one.count-1)
		}
		fault := &manifest.Error{Location: one.at, Message: fmt.Sprintf("not judged: %s %s: %s %s", kind, name, what, do)}
		if alone {
			faults = append(faults, []error{fault})
		} else {
			env.note("%s", report.Inert(fault.Error()))
		}
	}
	if alone && len(others) > 0 {
		if len(others) > maxStrange {
			others = append(others[:maxStrange], "…")
		}
		faults = append(faults, []error{&manifest.Error{Location: finding.Location{File: strings.Join(paths, ", ")},
			Message: "nothing was judged: no control speaks of " + strings.Join(others, ", ") + "; name the manifests of workloads, roles, services or network policies too"}})
	}
	complain(env, r, faults)
}

// tellUnjudged says what was not judged, of the objects and of the controls.
func (j *judge) tellUnjudged(env Env, o checkOptions, r *report.Report) {
	// What was left out with a flag is nobody's surprise, and policies of others may speak of any kind.
	j.strangers.tell(env, r, o.paths, len(o.only) == 0 && o.since == "" && j.foreign == nil)
	if missing := j.missing(len(o.platform) > 0); missing != "" && r.Summary.Objects > 0 {
		env.note("%s", missing)
	}
	j.tellFilled(env, o)
}

// missing says which controls are not judged for want of a Platform, "" for none. Facts from outside are few banks' on the
// first day; what lacks them is counted, and listed with --all.
func (j *judge) missing(files bool) string {
	why, are := "no --platform given", "was not judged"
	if files {
		why = "no usable Platform among the --platform files"
	}
	var ids []string
	for id, reason := range j.unjudged {
		if reason == reasonNoPlatform {
			ids = append(ids, id)
		}
	}
	if slices.Sort(ids); len(ids) > 1 {
		are = "were not judged"
	}
	if len(ids) == 0 {
		return ""
	}
	return why + ": " + strings.Join(ids, ", ") + " " + are
}

// count is how many objects they are.
func (s *strangers) count() (n int) {
	for _, one := range s.sorted() {
		n += one.count
	}
	return n
}

// sorted are the kinds, by the place of their first object.
func (s *strangers) sorted() func(yield func(strangeKind, strange) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(s.kinds), func(a, b strangeKind) int {
		return cmp.Or(byLocation(s.kinds[a].at, s.kinds[b].at), strings.Compare(a.apiVersion+a.kind, b.apiVersion+b.kind))
	})
	return func(yield func(strangeKind, strange) bool) {
		for _, key := range keys {
			if !yield(key, s.kinds[key]) {
				return
			}
		}
	}
}

// domain is the last two parts of a group: kyverno.io of policies.kyverno.io/v1.
func domain(apiVersion string) string {
	group, _, _ := strings.Cut(apiVersion, "/")
	parts := strings.Split(group, ".")
	return strings.Join(parts[max(0, len(parts)-2):], ".")
}
