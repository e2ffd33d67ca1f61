// Package canary shows that the rules refuse: objects that must be refused, and some that must not, are sent to the API server as dry
// runs, in one namespace of each kind there is. Nothing is ever stored.
//
// The objects are the catalogue's own cases; what must come of them is what an engine says under the Guards that the Platform and
// the Tenants make, whatever stands in the cluster. Package server runs it; it records and repairs nothing.
package canary

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
)

// Name begins the name of every object that is tried, and is the field manager of every try.
const Name = "ringfence-canary"

// Place is one namespace that stands for others of its kind.
type Place struct {
	// Namespace is v1alpha1.SystemNamespace for what lies in none.
	Namespace string
	// Spec is the Guard that it should have, as Platform and Tenant make it.
	Spec v1alpha1.GuardSpec
	// Labels and Annotations are the namespace's own.
	Labels, Annotations map[string]string
	// Stands is how many namespaces it stands for.
	Stands int
}

// Places chooses one of each kind among namespaces: nobody's or a tenant's, production or not, and with the same actions. round changes
// which.
func Places(all []Place, round int) (chosen []Place) {
	kinds := map[string][]Place{}
	for _, p := range all {
		text, err := json.Marshal(p.Spec.Actions) // keys are sorted
		if err != nil {
			continue
		}
		key := fmt.Sprint(p.Namespace == v1alpha1.SystemNamespace, p.Spec.Tenant != "", p.Spec.Production, string(text))
		kinds[key] = append(kinds[key], p)
	}
	for _, key := range slices.Sorted(maps.Keys(kinds)) {
		of := kinds[key]
		slices.SortFunc(of, func(a, b Place) int { return strings.Compare(a.Namespace, b.Namespace) })
		p := of[round%len(of)]
		p.Stands = len(of)
		chosen = append(chosen, p)
	}
	slices.SortFunc(chosen, func(a, b Place) int { return strings.Compare(a.Namespace, b.Namespace) })
	return chosen
}

// try is one object that is to be sent.
type try struct {
	// control is whose denial is wanted; "" for an object that must be let in. alone says that no other control denies it.
	control string
	alone   bool
	kind    control.Kind
	object  map[string]any
}

// Planner makes the tries of a place. It is immutable and safe for many goroutines.
type Planner struct {
	engine *policy.Engine
	ids    []string
	bad    map[string][]Case // by control
	good   []Case
	groups []control.Group
}

// Case is an object of which it is known whether it fails.
type Case struct {
	// Control is whose case it is.
	Control string
	// Fails says that it fails that control.
	Fails bool
	// Object is the object, and APIVersion and Kind what it says of itself.
	Object           map[string]any
	APIVersion, Kind string
}

// NewPlanner makes a Planner of a catalogue's cases, all of objects to be created by anybody. engine judges with that catalogue.
func NewPlanner(cat *control.Catalogue, cases []Case, engine *policy.Engine) *Planner {
	p := &Planner{engine: engine, bad: map[string][]Case{}, groups: cat.Groups()}
	for _, c := range cat.Controls {
		p.ids = append(p.ids, c.ID)
	}
	for _, c := range cases {
		kind, judged := engine.Match(c.APIVersion, c.Kind)
		switch {
		case !judged || kind.Unstored() || p.unreachable(kind) || !strings.HasPrefix(c.APIVersion, kind.APIGroup): // the last is of servers of long ago
		case c.Fails:
			p.bad[c.Control] = append(p.bad[c.Control], c)
		default:
			p.good = append(p.good, c)
		}
	}
	return p
}

// unreachable reports whether no native policy is asked about a kind.
func (p *Planner) unreachable(k control.Kind) bool {
	return slices.ContainsFunc(p.groups, func(g control.Group) bool {
		return g.Unreachable && slices.ContainsFunc(g.Kinds, func(o control.Kind) bool { return o.APIGroup == k.APIGroup && o.Kind == k.Kind })
	})
}

// plan is what to try at a place, at a time: for every control that denies there an object that it alone refuses, if there is one; of every kind
// that is judged an object that is refused and one that is not.
func (p *Planner) plan(at Place, serves func(control.Kind) bool, now time.Time) (tries []try, err error) {
	guard, err := policy.NewGuard(at.Spec)
	if err != nil {
		return nil, err
	}
	covered := map[string]bool{}
	fits := func(k control.Kind) bool {
		return k.ClusterScoped == (at.Namespace == v1alpha1.SystemNamespace) && serves(k)
	}
	for _, id := range p.ids {
		if guard.Action(id) != finding.Deny {
			continue
		}
		var best *try
		for _, c := range p.bad[id] {
			t, denied := p.adapt(c, id, at, guard, now)
			if !fits(t.kind) || !slices.Contains(denied, id) {
				continue
			}
			t.alone = len(denied) == 1
			better := best == nil || t.alone && !best.alone
			if best != nil && t.alone == best.alone { // a kind that was not tried yet, and no bare Pod, for which other plug-ins may say no first
				better = !covered[key(t.kind)] && covered[key(best.kind)] || best.kind.Kind == "Pod" && t.kind.Kind != "Pod"
			}
			if better {
				best = &t
			}
			if best.alone && !covered[key(best.kind)] && best.kind.Kind != "Pod" {
				break
			}
		}
		if best != nil {
			tries = append(tries, *best)
			covered[key(best.kind)] = true
		}
	}
	tries = append(tries, p.kinds(at, guard, fits, covered, now)...)
	return append(tries, p.goods(at, guard, fits, now)...), nil
}

// kinds are objects of the kinds that no try has yet.
func (p *Planner) kinds(at Place, guard *policy.Guard, fits func(control.Kind) bool, covered map[string]bool, now time.Time) (tries []try) {
	for _, id := range p.ids {
		for _, c := range p.bad[id] {
			kind, _ := p.engine.Match(c.APIVersion, c.Kind)
			if covered[key(kind)] || !fits(kind) || guard.Action(id) != finding.Deny {
				continue
			}
			if t, denied := p.adapt(c, id, at, guard, now); slices.Contains(denied, id) {
				t.alone = len(denied) == 1
				tries = append(tries, t)
				covered[key(kind)] = true
			}
		}
	}
	return tries
}

// goods are objects that must be let in, one of each kind of which there is one.
func (p *Planner) goods(at Place, guard *policy.Guard, fits func(control.Kind) bool, now time.Time) (tries []try) {
	done := map[string]bool{}
	for _, c := range p.good {
		kind, _ := p.engine.Match(c.APIVersion, c.Kind)
		if done[key(kind)] || !fits(kind) || kind.Kind == "Pod" { // which needs a ServiceAccount that is there
			continue
		}
		if t, denied := p.adapt(c, "", at, guard, now); len(denied) == 0 {
			tries = append(tries, t)
			done[key(kind)] = true
		}
	}
	return tries
}

func key(k control.Kind) string { return k.APIGroup + "/" + k.Kind }

// adapt moves a case to a place: its name, namespace, registry and labels; and says which controls deny it there. Of the ways to do
// so it takes the one that the fewest deny.
func (p *Planner) adapt(c Case, id string, at Place, guard *policy.Guard, now time.Time) (best try, denied []string) {
	kind, _ := p.engine.Match(c.APIVersion, c.Kind)
	for _, whole := range []bool{true, false} {
		object := settle(c.Object, at, kind, whole, now)
		s := finding.Subject{APIVersion: c.APIVersion, Kind: c.Kind, Namespace: at.Namespace, Name: Name}
		if kind.ClusterScoped {
			s.Namespace = ""
		}
		var ids []string
		for _, f := range p.engine.Judge(policy.Input{Object: object, Namespace: at.Namespace, Guard: guard, Now: now}, s) {
			if (f.Blocks() || f.Outcome == finding.Errored) && !slices.Contains(ids, f.Control) {
				ids = append(ids, f.Control)
			}
		}
		better := best.object == nil || id == "" && len(ids) < len(denied) ||
			id != "" && slices.Contains(ids, id) && (!slices.Contains(denied, id) || len(ids) < len(denied))
		if better {
			best, denied = try{control: id, kind: kind, object: object}, ids
		}
	}
	return best, denied
}

// casesRegistry is where the images of cases come from, and casesDigest what they are.
const (
	casesRegistry = "registry.bank.example"
	casesDigest   = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// settle is a case's object as it would be written for a place. whole adds the labels and annotations that the platform wants.
func settle(value map[string]any, at Place, kind control.Kind, whole bool, now time.Time) map[string]any {
	swap := []string{}
	if len(at.Spec.Registries) > 0 {
		swap = append(swap, casesRegistry, string(at.Spec.Registries[0]))
	}
	if digest := admitted(at, now); digest != "" {
		swap = append(swap, casesDigest, digest)
	}
	object, _ := replaced(value, strings.NewReplacer(swap...)).(map[string]any)
	meta, _ := object["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
	}
	object["metadata"], meta["name"] = meta, Name
	delete(meta, "generateName")
	if delete(meta, "namespace"); !kind.ClusterScoped {
		meta["namespace"] = at.Namespace
	}
	if spec, ok := object["spec"].(map[string]any); ok && kind.Kind == "Pod" {
		spec["serviceAccountName"] = "default" // which is there: another plug-in refuses one that is not
	}
	if !whole {
		return object
	}
	labels, _ := meta["labels"].(map[string]any)
	if labels == nil {
		labels = map[string]any{}
	}
	for _, l := range at.Spec.RequiredLabels {
		if own := at.Labels[l]; own != "" || labels[l] == nil {
			if labels[l] = "canary"; own != "" {
				labels[l] = own
			}
		}
	}
	if len(labels) > 0 {
		meta["labels"] = labels
	}
	return object
}

// admitted is a digest of which nothing is wrong at a place and a time; "" for none.
func admitted(at Place, now time.Time) string {
	images := at.Spec.Images
	if images == nil {
		return ""
	}
	soon := v1alpha1.Instant(now.Add(time.Hour).UTC().Format(time.RFC3339))
	for _, digest := range slices.Sorted(maps.Keys(images.Admitted)) {
		if i := images.Admitted[digest]; i.ScannedUntil > soon && i.CleanUntil > soon && strings.HasPrefix(digest, "sha256:") && trusted(at, i, soon) {
			return digest
		}
	}
	return ""
}

// trusted tells whether a digest has the signature that the place demands where the images of cases come from.
func trusted(at Place, i v1alpha1.GuardImage, soon v1alpha1.Instant) bool {
	from := casesRegistry + "/"
	if len(at.Spec.Registries) > 0 {
		from = string(at.Spec.Registries[0]) + "/"
	}
	for _, t := range at.Spec.Images.Trust {
		if slices.ContainsFunc(t.Prefixes, func(p string) bool { return strings.HasPrefix(from, p) }) {
			return i.Signed[t.ID] > soon || t.AdmitUnknown && i.Signed[t.ID] != v1alpha1.Unsigned
		}
	}
	return len(at.Spec.Images.Trust) == 0
}

// replaced is a copy of a value with texts replaced.
func replaced(value any, r *strings.Replacer) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = replaced(e, r)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = replaced(e, r)
		}
		return out
	case string:
		return r.Replace(v)
	}
	return value
}
