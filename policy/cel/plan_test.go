package cel

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/policy"
)

// held is a compiled set beside the oracles of its group and of each of its rules.
type held struct {
	*set
	*programs
	shared *oracle
	own    []*oracle
}

// hold compiles the catalogue both ways.
func hold(tb testing.TB) (all []held, cases []casefile.Case) {
	tb.Helper()
	cat, err := control.Load(controls.FS)
	if err != nil {
		tb.Fatal(err)
	}
	sets, err := Compile(cat)
	if err != nil {
		tb.Fatal(err)
	}
	known := map[string]*oracle{} // groups share controls
	for _, one := range sets {
		s := one.(*set)
		p, err := s.compiled()
		if err != nil {
			tb.Fatal(err)
		}
		vars := s.group.Twins()
		if s.group.When != "" {
			vars = append(vars, control.Variable{Name: whenVariable, Expression: s.group.When})
		}
		h := held{set: s, programs: p, shared: newOracle(tb, nil, vars)}
		for _, r := range s.rules {
			key := r.control.ID + strings.Join(r.only, " ")
			if known[key] == nil {
				known[key] = newOracle(tb, nil, control.Derived(r.control.Variables, r.only))
			}
			own := *known[key]
			own.parent = h.shared
			h.own = append(h.own, &own)
		}
		all = append(all, h)
	}
	for _, c := range cat.Controls {
		more, err := casefile.Read(controls.FS, c.Dir)
		if err != nil {
			tb.Fatal(err)
		}
		cases = append(cases, more...)
	}
	return all, cases
}

// unplanned is the same without plans: what the engine says where no plan is sure.
func (h held) unplanned() held {
	p := &programs{all: slices.Clone(h.all), when: h.when, tooMany: h.tooMany}
	for i, one := range p.all {
		if one != nil && one.ready() == nil {
			exact := *one
			exact.plan = nil
			p.all[i] = &exact
		}
	}
	p.frames.New = func() any { return &frame{programs: p.all, slots: make([]slot, len(p.all))} }
	h.programs = p
	return h
}

// tally counts answers.
type tally struct{ sure, fell, errored, loose int }

// agree holds every variable of the group, own and shared, of the object and of the old one, to what cel-go says.
func (h held) agree(tb testing.TB, in policy.Input, n *tally) {
	tb.Helper()
	request := map[string]any{
		"operation": in.Operation, "namespace": in.Namespace,
		"userInfo": map[string]any{"username": in.Username},
	}
	sides := map[string]*frame{"": h.frame(in.Object, in.OldObject, in.Guard.Params(), request)}
	input := map[string]any{"object": in.Object, "oldObject": nil, "params": in.Guard.Params(), "request": request}
	if in.OldObject != nil {
		input["oldObject"] = in.OldObject
		sides["Before"] = h.frame(in.OldObject, in.OldObject, in.Guard.Params(), request)
	}
	h.wind(sides[""], sides["Before"], time.Time{})
	for side, f := range sides {
		shared := h.shared.state(input, nil)
		check := func(s *state, at int, name string) {
			if p := f.programs[at]; p.name == whenVariable && side != "" {
				return
			} else if diff := h.one(tb, f, s, at, name, n); diff != "" {
				tb.Errorf("%s: %s of %s: %s", h.group.Name, name, in.Object["kind"], diff)
			}
		}
		for _, v := range h.group.Variables {
			at := slices.IndexFunc(f.programs, func(p *program) bool { return p != nil && p.name == v.Name })
			check(shared, at, v.Name+side)
		}
		if h.when >= 0 && side == "" {
			check(shared, h.when, whenVariable)
		}
		for i, r := range h.rules {
			own := h.own[i].state(input, shared)
			for k, v := range r.control.Variables {
				name := v.Name
				if side != "" {
					name = control.Before(name)
				}
				check(own, r.first+k, name)
			}
		}
		h.release(f)
	}
}

// one holds one variable to what cel-go says.
func (h held) one(tb testing.TB, f *frame, s *state, at int, name string, n *tally) string {
	want := s.value(tb, name)
	plan, sure := f.run(f.programs[at])
	got, err := f.value(at)
	switch {
	case sure:
		n.sure++
	case err != nil:
		n.errored++
	default:
		n.fell++
	}
	diff := differ(got, err, want)
	if diff == "" && sure {
		diff = differ(plan, nil, want)
	}
	if diff != "" && !steady(func() ref.Val {
		fresh := s.oracle.state(s.input, s.parent)
		if s.parent != nil {
			fresh.parent = s.parent.oracle.state(s.input, nil)
		}
		return fresh.value(tb, name)
	}) {
		n.loose++
		diff = ""
	}
	return diff
}

// verdict holds what a set says of an object to the violations of the derived policy.
func (h held) verdict(tb testing.TB, in policy.Input) []string {
	tb.Helper()
	got := h.Judge(in)
	input := map[string]any{"object": in.Object, "oldObject": nil, "params": in.Guard.Params(), "request": map[string]any{
		"operation": in.Operation, "namespace": in.Namespace, "userInfo": map[string]any{"username": in.Username},
	}}
	if in.OldObject != nil {
		input["oldObject"] = in.OldObject
	}
	shared := h.shared.state(input, nil)
	if h.when >= 0 && shared.value(tb, whenVariable) == types.False {
		if got != nil {
			tb.Errorf("%s: judged what is not meant", h.group.Name)
		}
		return nil
	}
	kind, _ := in.Object["kind"].(string)
	for i, r := range h.rules {
		want := h.own[i].state(input, shared).value(tb, control.ViolationsVariable)
		at := slices.IndexFunc(got, func(g policy.Result) bool { return g.Control == r.control })
		if at < 0 {
			if list, ok := want.(traits.Lister); len(r.only) == 0 || slices.Contains(r.only, kind) || !ok || list.Size() != types.IntZero {
				tb.Errorf("%s: %s was not asked, cel-go has %s", h.group.Name, r.control.ID, show(want))
			}
			continue
		}
		if diff := violations(got[at], want); diff != "" {
			tb.Errorf("%s: %s: %s", h.group.Name, r.control.ID, diff)
		}
	}
	return lines(got)
}

// violations says how a result differs from the variable of that name. What is no "<value> at <pointer>" is an error
// here and a refusal there.
func violations(got policy.Result, want ref.Val) string {
	list, ok := want.(traits.Lister)
	if !ok {
		if got.Err == nil {
			return fmt.Sprintf("found %q, cel-go has %s", got.Violations, show(want))
		}
		return ""
	}
	var texts []string
	for _, item := range items(list) {
		text, _ := item.Value().(string)
		if !strings.Contains(text, " at /") && got.Err != nil {
			return ""
		}
		texts = append(texts, text)
	}
	var found []string
	for _, v := range got.Violations {
		found = append(found, v.Found+" at "+v.Path)
	}
	slices.Sort(texts)
	slices.Sort(found)
	if got.Err != nil || !slices.Equal(texts, found) {
		return fmt.Sprintf("found %q, %v; cel-go has %q", found, got.Err, texts)
	}
	return ""
}

// lines are results in an order of their own.
func lines(results []policy.Result) (all []string) {
	for _, r := range results {
		all = append(all, fmt.Sprint(r.Control.ID, r.Err != nil))
		for _, v := range r.Violations {
			all = append(all, r.Control.ID+" "+v.Found+" at "+v.Path)
		}
	}
	slices.Sort(all)
	return all
}

// inputs are the ways in which a case is judged here: as it is, and as an update of itself, with and without a Guard.
func inputs(tb testing.TB, c casefile.Case) (all []policy.Input) {
	guard, err := policy.NewGuard(casefile.Guard())
	if err != nil {
		tb.Fatal(err)
	}
	for _, g := range []*policy.Guard{guard, nil} {
		in := policy.Input{Object: c.Object.Value, Operation: "CREATE", Namespace: "payments-dev", Guard: g}
		all = append(all, in)
		in.Operation, in.OldObject, in.Username = "UPDATE", c.Object.Value, "system:apiserver"
		if c.Update() {
			in.OldObject = c.Old.Value
		}
		all = append(all, in)
		in.Object, in.OldObject = in.OldObject, in.Object
		all = append(all, in)
	}
	return all
}

func (h held) judges(s finding.Subject) bool {
	_, ok := h.Match(s.APIVersion, s.Kind)
	return ok
}

// TestPlans holds every variable of the catalogue, over every case of the catalogue, to cel-go's answer; and every verdict
// to the policy that the API server gets.
func TestPlans(t *testing.T) {
	all, cases := hold(t)
	seen, planned := map[*program]bool{}, 0
	var bare []string
	for _, h := range all {
		for _, p := range h.all {
			if p == nil || seen[p] {
				continue
			}
			if seen[p] = true; p.ready() == nil && p.plan != nil {
				planned++
			} else {
				bare = append(bare, h.group.Name+"/"+p.name)
			}
		}
	}
	t.Logf("%d expressions, %d have a plan, %d have none: %q", len(seen), planned, len(bare), bare)
	var mu sync.Mutex
	var sum tally
	t.Run("cases", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.File, func(t *testing.T) {
				var n tally
				for _, in := range inputs(t, c) {
					for _, h := range all {
						if h.judges(c.Object.Subject()) {
							h.agree(t, in, &n)
							h.unplanned().agree(t, in, &tally{})
							h.verdict(t, in)
						}
					}
				}
				mu.Lock()
				defer mu.Unlock()
				sum = tally{sum.sure + n.sure, sum.fell + n.fell, sum.errored + n.errored, sum.loose + n.loose}
			})
		}
	})
	t.Logf("%d cases; answers: %d of a plan, %d where it was not sure, %d errors; %d have no order", len(cases), sum.sure, sum.fell, sum.errored, sum.loose)
}
