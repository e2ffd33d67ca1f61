package bundle_test

import (
	"os"
	"slices"
	"testing"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/policy"
	rules "ringfence.dev/ringfence/policy/cel"
	"ringfence.dev/ringfence/policy/clean"
)

// TestClean holds the match condition of the bundles to the rules: for every case, and every control alone, it is true only
// where the control finds nothing. Where it were true for what a control finds, the API server would let it in unseen.
func TestClean(t *testing.T) {
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	sets, err := rules.Compile(cat)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := policy.NewGuard(casefile.Guard())
	if err != nil {
		t.Fatal(err)
	}
	engine, programs := policy.New(sets...), cleanPrograms(t, cat)
	asked, clean := 0, 0
	for _, c := range cat.Controls {
		cases, err := casefile.Read(os.DirFS("../../controls"), c.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range cases {
			in := one.Input(guard)
			in.Operation, in.OldObject = "CREATE", nil
			fails := map[string]bool{}
			for _, f := range engine.Judge(in, one.Object.Subject()) {
				fails[f.Control] = fails[f.Control] || f.Outcome != finding.Pass
			}
			for _, g := range cat.Groups() {
				if g.Of != "" || !slices.ContainsFunc(g.Kinds, func(k control.Kind) bool { return k.Kind == one.Object.Kind() }) {
					continue
				}
				for id, program := range programs[g.Name] {
					out, _, err := program.Eval(map[string]any{"object": one.Object.Value, "oldObject": nil, "params": guard.Params(), "request": map[string]any{
						"operation": "CREATE", "namespace": in.Namespace, "userInfo": map[string]any{"username": ""}}})
					asked++
					if err != nil { // the API server refuses
						continue
					}
					if out.Value() == true && fails[id] {
						t.Errorf("%s: %s finds something and the match condition of %s says that nothing is wrong", one.File, id, g.Name)
					}
					if out.Value() == true {
						clean++
					}
				}
			}
		}
	}
	if clean < asked/2 {
		t.Errorf("%d of %d answers say that nothing is wrong; want most: the condition is there to end what is well", clean, asked)
	}
	t.Logf("%d answers, %d that nothing is wrong", asked, clean)
}

// cleanPrograms are the match conditions of each control alone, by group and id.
func cleanPrograms(t *testing.T, cat *control.Catalogue) map[string]map[string]cel.Program {
	t.Helper()
	base, err := environment.MustBaseEnvSet(version.MajorMinor(1, 30)).Env(environment.NewExpressions)
	if err != nil {
		t.Fatal(err)
	}
	env, err := base.Extend(cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType), cel.Variable("params", cel.DynType), cel.Variable("request", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]cel.Program{}
	for _, g := range cat.Groups() {
		all[g.Name] = map[string]cel.Program{}
		for _, c := range cat.Controls {
			if g.Quick == "" || g.Of != "" || !g.Holds(c) {
				continue
			}
			well, err := clean.Group(g, []control.Control{c})
			if err != nil {
				t.Fatal(err)
			}
			ast, issues := env.Compile(well)
			if issues.Err() != nil {
				t.Fatalf("%s: %v", c.ID, issues.Err())
			}
			if all[g.Name][c.ID], err = env.Program(ast); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}
