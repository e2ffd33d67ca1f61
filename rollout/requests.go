package rollout

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
)

// maxGroups bounds how many groups of requests are told apart; the rest are counted together.
const maxGroups = 10_000

// Requests are what was recorded of requests that the change would have refused.
type Requests struct {
	// Observed says whether there is evidence of requests at all. Without it the counts say nothing.
	Observed bool `json:"observed"`
	// Why says why not.
	Why string `json:"why"`
	// Asked is from when on they were asked for, Since from when on there is evidence, Until the newest audit event.
	Asked time.Time  `json:"asked"`
	Since *time.Time `json:"since"`
	Until *time.Time `json:"until"`
	// Times is how many would have been refused; DryRuns are left out of it.
	Times   int `json:"times"`
	DryRuns int `json:"dryRuns"`
	// Groups are the same, by workload and who asked, most first. Others is how many are in no group for lack of room.
	Groups []Asked `json:"groups"`
	Others int     `json:"others"`
	// Unknown are times of which something is not known.
	Unknown []Unknown `json:"unknown"`
	// Unrecorded are namespaces where the control only audits: of what it finds there nothing is recorded.
	Unrecorded []string `json:"unrecorded"`
}

// Asked are requests of one control about one workload by one user.
type Asked struct {
	Control   string    `json:"control"`
	Tenant    string    `json:"tenant"`
	Owner     string    `json:"owner"`
	Namespace string    `json:"namespace"`
	Kind      string    `json:"kind"`
	Name      string    `json:"name"`
	By        string    `json:"by"` // a reference where nobody knows whom it means
	Times     int       `json:"times"`
	Last      time.Time `json:"last"`
	Found     string    `json:"found"`
	Path      string    `json:"path"`
}

// Unknown is a time of which something is not known. Until is null where it has not ended.
type Unknown struct {
	Since time.Time  `json:"since"`
	Until *time.Time `json:"until"`
	What  string     `json:"what"`
}

// requests gathers them.
type requests struct {
	groups  map[[5]string]*Asked
	times   int
	dryRuns int
	others  int
}

func newRequests() requests { return requests{groups: map[[5]string]*Asked{}} }

// generated is the end of a name that Kubernetes made up for a Pod or ReplicaSet: a template's hash, and letters without vowels.
var generated = regexp.MustCompile(`(-[0-9bcdf]{6,10})?-[bcdfghjklmnpqrstvwxz2456789]{5}$`)

// Request takes up a finding of a recorded request. refuses says whether it would have been refused.
func (p *Preflight) Request(f finding.Finding, refuses func(s finding.Subject, control string) bool) {
	if f.Observed == nil || f.Outcome != finding.Fail || f.Observed.Refused || f.Waiver != nil {
		return
	}
	if !refuses(f.Subject, f.Control) || p.cfg.Was(f.Subject, f.Control) == finding.Deny {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &p.requests
	if f.Observed.DryRun {
		r.dryRuns++
		return
	}
	r.times++
	name, by := finding.Clean(f.Subject.Name), finding.Value(cmp.Or(f.Observed.ImpersonatedUser, f.Observed.User))
	if f.Subject.Kind == "Pod" {
		name = generated.ReplaceAllString(name, "")
	}
	key := [5]string{f.Control, f.Subject.Namespace, f.Subject.Kind, name, by}
	g := r.groups[key]
	if g == nil {
		if len(r.groups) >= maxGroups {
			r.others++
			return
		}
		g = &Asked{Control: f.Control, Namespace: f.Subject.Namespace, Kind: f.Subject.Kind, Name: name, By: by, Found: finding.Value(f.Found), Path: finding.Clean(f.Path)}
		g.Tenant, g.Owner = p.cfg.Owner(f.Subject.Namespace)
		r.groups[key] = g
	}
	g.Times++
	if f.Observed.Time.After(g.Last) {
		g.Last = f.Observed.Time
	}
}

// sum fills in the counts.
func (r *requests) sum(into *Requests) {
	into.Times, into.DryRuns, into.Others = r.times, r.dryRuns, r.others
	into.Groups = []Asked{}
	for _, g := range r.groups {
		into.Groups = append(into.Groups, *g)
	}
	slices.SortFunc(into.Groups, func(a, b Asked) int {
		return cmp.Or(cmp.Compare(b.Times, a.Times), strings.Compare(a.Control, b.Control), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name), strings.Compare(a.Kind, b.Kind), strings.Compare(a.By, b.By))
	})
}
