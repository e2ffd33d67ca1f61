// Package cel compiles the catalogue's policy.yaml files and evaluates them.
//
// It speaks the language of Kubernetes 1.30, the oldest server supported, so that a rule which compiles here compiles on
// every one. Plans in plain Go answer nearly every rule and cel-go all the others, see expr; tests hold both to what the
// API server's own evaluator says. It neither builds nor installs policies (policy/bundle does). The command line and the
// control plane make their Engine from its Sets.
package cel

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/clean"
)

// rule is one control. Every group that holds the control shares it.
type rule struct {
	control *control.Control
	// first is the slot of the first of the control's own variables; the others follow, and cleanVariable is the last.
	first int
	// counts says that what the group's tooMany names breaks the rule too.
	counts bool
	// programs compiles the variables, once.
	programs func() ([]*program, error)
}

// bound is a rule with the kinds it judges of a group, nil for all, and the slot of what it found.
type bound struct {
	*rule
	only  []string
	found int
}

// set is the controls of one match group. It implements policy.Set and is immutable, but for the frames it keeps to use
// again.
type set struct {
	group control.Group
	rules []bound
	// compiled makes programs of the group's and its rules' variables, once.
	compiled func() (*programs, error)
}

// programs are the variables of a group and of its rules.
type programs struct {
	all []*program // by slot; nil where the group has no such variable
	// when is the slot of the group's condition and tooMany that of what is beyond counting, -1 for none.
	when, tooMany int
	clocks        []int // the slots of what the rules know of the time
	frames        sync.Pool
}

var _ policy.Set = (*set)(nil)

// whenVariable is the group's condition, compiled like its variables, and cleanVariable what package clean asks of a rule.
const (
	whenVariable  = "when"
	cleanVariable = "clean"
)

// Compile compiles a catalogue into one Set for each match group that has controls. The error names the control and the
// expression, with the compiler's own words.
func Compile(cat *control.Catalogue) ([]policy.Set, error) {
	sets, err := Lazy(cat)
	if err != nil {
		return nil, err
	}
	var faults []error
	for _, s := range sets {
		p, err := s.(*set).compiled()
		if err == nil {
			err = p.complete(s.(*set))
		}
		faults = append(faults, err)
	}
	return sets, errors.Join(faults...)
}

// Lazy is Compile for a catalogue that is known to compile, such as the embedded one: when the first object of a group
// comes, it compiles whether a rule finds anything, and what a rule finds when one does, so that a short command waits for
// no rule that it does not ask. What does not compile after all is undecided.
func Lazy(cat *control.Catalogue) ([]policy.Set, error) {
	c, err := newCompiler()
	if err != nil {
		return nil, err
	}
	groups, shared := cat.Groups(), map[string]int{}
	for _, g := range groups {
		for _, v := range append(slices.Clone(g.Variables), control.Variable{Name: whenVariable}) {
			if _, ok := shared[v.Name]; !ok {
				shared[v.Name] = len(shared)
			}
		}
	}
	rules, slots := make([]*rule, len(cat.Controls)), len(shared)
	for i := range cat.Controls {
		at := slices.IndexFunc(groups, func(g control.Group) bool { return g.Holds(cat.Controls[i]) })
		if at < 0 {
			return nil, fmt.Errorf("compile control %s: no group judges it", cat.Controls[i].ID)
		}
		rules[i] = c.rule(&cat.Controls[i], groups[at].Elements(), shared, slots)
		slots += rules[i].slots()
	}
	var sets []policy.Set
	for _, g := range groups {
		s := &set{group: g}
		for _, r := range rules {
			if found := r.slot(control.FoundVariable); found >= 0 && g.Holds(*r.control) {
				s.rules = append(s.rules, bound{r, g.Only(*r.control), found})
			}
		}
		s.compiled = sync.OnceValues(func() (*programs, error) { return c.programs(s, shared, slots) })
		if len(s.rules) > 0 {
			sets = append(sets, s)
		}
	}
	return sets, nil
}

// rule is a control whose own variables have the slots from first on.
func (c *compiler) rule(of *control.Control, elements map[string]string, shared map[string]int, first int) *rule {
	r := &rule{control: of, first: first, counts: control.Counts(of.Variables)}
	r.programs = sync.OnceValues(func() ([]*program, error) {
		well, err := clean.Rule(*of, elements)
		if err != nil {
			return nil, fmt.Errorf("compile control %s: %w", of.ID, err)
		}
		names, all := maps.Clone(shared), make([]*program, 0, r.slots())
		for i, v := range of.Variables {
			all = append(all, c.later(v, maps.Clone(names)))
			names[v.Name] = first + i
		}
		p, err := c.compile(control.Variable{Name: cleanVariable, Expression: well}, names)
		if err != nil {
			for _, own := range all {
				if fault := own.ready(); fault != nil { // it was theirs
					err = fault
					break
				}
			}
			return nil, fmt.Errorf("compile control %s: %w", of.ID, err)
		}
		return append(all, p), nil
	})
	return r
}

// slots is how many the control's own variables and cleanVariable take.
func (r *rule) slots() int { return len(r.control.Variables) + 1 }

// slot is that of one of the control's own variables, -1 where there is none of that name.
func (r *rule) slot(name string) int {
	i := slices.IndexFunc(r.control.Variables, func(v control.Variable) bool { return v.Name == name })
	if i < 0 {
		return i
	}
	return r.first + i
}

// programs compiles the shared variables of a group and the rules that judge it, these on all processors.
func (c *compiler) programs(s *set, shared map[string]int, slots int) (*programs, error) {
	p := &programs{when: -1, tooMany: -1, all: make([]*program, slots)}
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	work.Go(func() error { return c.shared(s.group, p, shared) })
	for _, r := range s.rules {
		if at := r.slot(control.ClockVariable); at >= 0 {
			p.clocks = append(p.clocks, at)
		}
		work.Go(func() error {
			own, err := r.programs()
			copy(p.all[r.first:], own)
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	p.frames.New = func() any { return &frame{programs: p.all, slots: make([]slot, slots)} }
	return p, nil
}

// shared compiles the shared variables of a group, and its condition.
func (c *compiler) shared(g control.Group, into *programs, slots map[string]int) error {
	vars := slices.Clone(g.Variables)
	if g.When != "" {
		vars = append(vars, control.Variable{Name: whenVariable, Expression: g.When})
		into.when = slots[whenVariable]
	}
	names := map[string]int{}
	for _, v := range vars {
		p, err := c.compile(v, maps.Clone(names))
		if err != nil {
			return fmt.Errorf("compile shared variables of %s: %w", g.Name, err)
		}
		names[v.Name] = slots[v.Name]
		into.all[slots[v.Name]] = p
		if v.Name == control.TooManyVariable {
			into.tooMany = slots[v.Name]
		}
	}
	return nil
}

// complete compiles what is left. It refuses a rule that uses a variable which other groups have and this one lacks.
func (p *programs) complete(s *set) error {
	for _, r := range s.rules {
		for _, own := range p.all[r.first : r.first+r.slots()] {
			if err := own.ready(); err != nil {
				return fmt.Errorf("compile control %s: %w", r.control.ID, err)
			}
			for _, name := range own.uses {
				if p.all[own.names[name]] == nil {
					return fmt.Errorf("compile control %s: variable %s: the group %s has no variables.%s", r.control.ID, own.name, s.group.Name, name)
				}
			}
		}
	}
	return nil
}

// Match is the kind of the group that is meant, and whether there is one. Any version of a kind matches, also one of its
// old API groups.
func (s *set) Match(apiVersion, kind string) (control.Kind, bool) {
	apiGroup, _, grouped := strings.Cut(apiVersion, "/")
	if !grouped {
		apiGroup = ""
	}
	i := slices.IndexFunc(s.group.Kinds, func(k control.Kind) bool {
		return k.Kind == kind && (k.APIGroup == apiGroup || slices.Contains(k.OldAPIGroups, apiGroup))
	})
	if i < 0 {
		return control.Kind{}, false
	}
	return s.group.Kinds[i], true
}

// anyList is texts as CEL knows a list.
func anyList(texts []string) []any {
	out := make([]any, len(texts))
	for i, text := range texts {
		out[i] = text
	}
	return out
}

// Judge evaluates every control of the group over one frame.
func (s *set) Judge(in policy.Input) []policy.Result {
	kind, _ := in.Object["kind"].(string)
	results := make([]policy.Result, 0, len(s.rules))
	p, err := s.compiled()
	if err != nil {
		for _, r := range s.rules {
			results = append(results, policy.Result{Control: r.control, Err: err})
		}
		return results
	}
	request := map[string]any{
		"operation": in.Operation, "namespace": in.Namespace,
		"userInfo": map[string]any{"username": in.Username, "groups": anyList(in.Groups)},
	}
	now := p.frame(in.Object, in.OldObject, in.Guard.Params(), request)
	defer p.release(now)
	if p.when >= 0 {
		if yes, err := now.value(p.when); err == nil && yes != true {
			return nil
		}
	}
	// An UPDATE is excused what it leaves as it was: the same rules over the old object.
	var before *frame
	if in.Operation == "UPDATE" {
		before = p.frame(in.OldObject, in.OldObject, in.Guard.Params(), request)
		defer p.release(before)
	}
	p.wind(now, before, in.Now)
	for _, r := range s.rules {
		if len(r.only) > 0 && !slices.Contains(r.only, kind) {
			continue
		}
		one := policy.Result{Control: r.control}
		one.Violations, one.Err = p.violations(r, now, before)
		results = append(results, one)
	}
	return results
}

// violations are what a rule found and did not find before: in Go what the variable of that name says in the native policy.
func (p *programs) violations(r bound, now, before *frame) ([]policy.Violation, error) {
	found, err := p.found(r, now)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	if before != nil {
		old, err := p.found(r, before)
		if err != nil {
			return nil, err
		}
		found = slices.DeleteFunc(slices.Clone(found), func(v any) bool {
			same, _ := in(v, old)
			return same
		})
	}
	out := make([]policy.Violation, 0, len(found))
	for _, v := range found {
		text, ok := v.(string)
		at := strings.LastIndex(text, " at /")
		if !ok || at < 0 {
			return nil, fmt.Errorf("the rule returned %q, not \"<value> at <pointer>\"", text)
		}
		out = append(out, policy.Violation{Found: text[:at], Path: text[at+len(" at "):]})
	}
	return out, nil
}

// found is what a rule found, and what it cannot look at.
func (p *programs) found(r bound, f *frame) ([]any, error) {
	var found []any
	if well, sure := f.run(p.all[r.first+r.slots()-1]); !sure || well != true {
		v, err := f.value(r.found)
		if err != nil {
			return nil, err
		}
		list, ok := v.([]any)
		if !ok {
			return nil, fmt.Errorf("the rule returned %s, not a list", val(v).Type().TypeName())
		}
		found = list
	}
	if !r.counts || p.tooMany < 0 {
		return found, nil
	}
	v, err := f.value(p.tooMany)
	if err != nil {
		return nil, err
	}
	beyond, _ := v.([]any)
	if len(beyond) == 0 {
		return found, nil
	}
	return slices.Concat(found, beyond), nil
}

// frame is a frame ready for an object.
func (p *programs) frame(object, oldObject, params, request map[string]any) *frame {
	f := p.frames.Get().(*frame)
	f.object, f.oldObject, f.params, f.request = object, nil, params, request
	if oldObject != nil {
		f.oldObject = oldObject
	}
	return f
}

// wind tells the frames what time it is; where nobody said, what is stamped on the new object tells both.
func (p *programs) wind(now, before *frame, at time.Time) {
	for _, clock := range p.clocks {
		if !at.IsZero() {
			now.slots[clock] = slot{true, []any{at.UTC().Format(time.RFC3339)}, nil}
		}
		if before != nil {
			v, err := now.value(clock)
			before.slots[clock] = slot{true, v, err}
		}
	}
}

// release keeps a frame for another object; nothing of this one stays in it.
func (p *programs) release(f *frame) {
	clear(f.slots)
	clear(f.stack[:cap(f.stack)])
	f.object, f.oldObject, f.params, f.request = nil, nil, nil, nil
	p.frames.Put(f)
}
