// Package cel compiles the catalogue's policy.yaml files and evaluates them.
//
// It speaks the language of Kubernetes 1.30, the oldest server supported, so that a rule which compiles here compiles on
// every one. Plans in plain Go answer nearly every rule and cel-go all the others, see expr; tests hold both to what the
// API server's own evaluator says. It neither builds nor installs policies (policy/bundle does). The command line and the
// control plane make their Engine from its Sets.
package cel

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/policy"
)

// rule is one compiled control. Every group that holds the control shares it.
type rule struct {
	control *control.Control
	// programs are the control's own variables, in slots from first on.
	programs []*program
	first    int
	// found is the slot of what breaks the rule.
	found int
	// counts says that what the group's tooMany names breaks the rule too.
	counts bool
}

// set is the controls of one match group. It implements policy.Set and is immutable, but for the frames it keeps to use
// again.
type set struct {
	group control.Group
	rules []bound
	// when is the slot of the group's condition and tooMany that of what is beyond counting, -1 for none.
	when, tooMany int
	programs      []*program // by slot; nil where the group has no such variable
	frames        sync.Pool
}

// bound is a rule with the kinds it judges of a group, nil for all.
type bound struct {
	*rule
	only []string
}

var _ policy.Set = (*set)(nil)

// whenVariable is the group's condition, compiled like its variables.
const whenVariable = "when"

// Compile compiles a catalogue into one Set for each match group that has controls. The error names the control and the
// expression, with the compiler's own words.
func Compile(cat *control.Catalogue) ([]policy.Set, error) {
	c, err := newCompiler()
	if err != nil {
		return nil, err
	}
	shared := map[string]int{}
	for _, g := range cat.Groups() {
		for _, v := range append(g.Variables, control.Variable{Name: whenVariable}) {
			if _, ok := shared[v.Name]; !ok {
				shared[v.Name] = len(shared)
			}
		}
	}
	rules, slots := make([]*rule, len(cat.Controls)), len(shared)
	for i := range cat.Controls {
		if rules[i], err = c.rule(&cat.Controls[i], shared, slots); err != nil {
			return nil, fmt.Errorf("compile control %s: %w", cat.Controls[i].ID, err)
		}
		slots += len(rules[i].programs)
	}
	var sets []policy.Set
	for _, g := range cat.Groups() {
		s, err := c.set(g, rules, shared, slots)
		if err != nil {
			return nil, fmt.Errorf("compile shared variables of %s: %w", g.Name, err)
		}
		if len(s.rules) > 0 {
			sets = append(sets, s)
		}
	}
	return sets, nil
}

// rule compiles a control's own variables into slots from first on.
func (c *compiler) rule(of *control.Control, shared map[string]int, first int) (*rule, error) {
	r := &rule{control: of, first: first, counts: control.Counts(of.Variables)}
	names := maps.Clone(shared)
	for i, v := range of.Variables {
		p, err := c.compile(v, maps.Clone(names))
		if err != nil {
			return nil, err
		}
		r.programs = append(r.programs, p)
		names[v.Name] = first + i
	}
	r.found = names[control.FoundVariable]
	return r, nil
}

// set compiles the shared variables of a group and binds the rules that judge it.
func (c *compiler) set(g control.Group, rules []*rule, shared map[string]int, slots int) (*set, error) {
	s := &set{group: g, when: -1, tooMany: -1, programs: make([]*program, slots)}
	for _, r := range rules {
		if g.Holds(*r.control) {
			s.rules = append(s.rules, bound{r, g.Only(*r.control)})
			copy(s.programs[r.first:], r.programs)
		}
	}
	if len(s.rules) == 0 {
		return s, nil
	}
	vars := slices.Clone(g.Variables)
	if g.When != "" {
		vars = append(vars, control.Variable{Name: whenVariable, Expression: g.When})
		s.when = shared[whenVariable]
	}
	names := map[string]int{}
	for _, v := range vars {
		p, err := c.compile(v, maps.Clone(names))
		if err != nil {
			return nil, err
		}
		names[v.Name] = shared[v.Name]
		s.programs[shared[v.Name]] = p
		if v.Name == control.TooManyVariable {
			s.tooMany = shared[v.Name]
		}
	}
	if err := s.complete(len(shared)); err != nil {
		return nil, err
	}
	s.frames.New = func() any { return &frame{programs: s.programs, slots: make([]slot, slots)} }
	return s, nil
}

// complete refuses a rule that uses a variable which other groups have and this one lacks.
func (s *set) complete(shared int) error {
	for _, r := range s.rules {
		for _, p := range r.programs {
			for _, name := range p.uses {
				if at := p.names[name]; at < shared && s.programs[at] == nil {
					return fmt.Errorf("control %s: variable %s: there is no variables.%s in this group", r.control.ID, p.name, name)
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

// Judge evaluates every control of the group over one frame.
func (s *set) Judge(in policy.Input) []policy.Result {
	request := map[string]any{
		"operation": in.Operation, "namespace": in.Namespace,
		"userInfo": map[string]any{"username": in.Username},
	}
	now := s.frame(in.Object, in.OldObject, in.Guard.Params(), request)
	defer s.release(now)
	if s.when >= 0 {
		if yes, err := now.value(s.when); err == nil && yes != true {
			return nil
		}
	}
	// An UPDATE is excused what it leaves as it was: the same rules over the old object.
	var before *frame
	if in.Operation == "UPDATE" {
		before = s.frame(in.OldObject, in.OldObject, in.Guard.Params(), request)
		defer s.release(before)
	}
	kind, _ := in.Object["kind"].(string)
	results := make([]policy.Result, 0, len(s.rules))
	for _, r := range s.rules {
		if len(r.only) > 0 && !slices.Contains(r.only, kind) {
			continue
		}
		one := policy.Result{Control: r.control}
		one.Violations, one.Err = s.violations(r, now, before)
		results = append(results, one)
	}
	return results
}

// violations are what a rule found and did not find before: in Go what the variable of that name says in the native policy.
func (s *set) violations(r bound, now, before *frame) ([]policy.Violation, error) {
	found, err := s.found(r, now)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	if before != nil {
		old, err := s.found(r, before)
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
func (s *set) found(r bound, f *frame) ([]any, error) {
	v, err := f.value(r.found)
	if err != nil {
		return nil, err
	}
	found, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("the rule returned %s, not a list", val(v).Type().TypeName())
	}
	if !r.counts || s.tooMany < 0 {
		return found, nil
	}
	v, err = f.value(s.tooMany)
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
func (s *set) frame(object, oldObject, params, request map[string]any) *frame {
	f := s.frames.Get().(*frame)
	f.object, f.oldObject, f.params, f.request = object, nil, params, request
	if oldObject != nil {
		f.oldObject = oldObject
	}
	return f
}

// release keeps a frame for another object; nothing of this one stays in it.
func (s *set) release(f *frame) {
	clear(f.slots)
	clear(f.stack[:cap(f.stack)])
	f.object, f.oldObject, f.params, f.request = nil, nil, nil, nil
	s.frames.Put(f)
}
