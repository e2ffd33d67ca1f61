// Package cel compiles the catalogue's policy.yaml files with the API server's own CEL environment and evaluates them.
//
// It evaluates exactly the variables that the native policies hold, for Kubernetes 1.30, the oldest server supported,
// so that a rule which compiles here compiles on every one. It neither builds nor installs policies (policy/bundle does).
// The command line and the control plane make their Engine from its Sets.
package cel

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/policy"
)

// oldestServer is the oldest Kubernetes that is supported; a rule may use no newer CEL library.
var oldestServer = version.MajorMinor(1, 30)

// variable is one compiled variable. Its slot is its place in an evaluation's cache.
type variable struct {
	program cel.Program
	slot    int
}

// whenVariable is the group's condition, compiled like its variables.
const whenVariable = "when"

// rule is one compiled control.
type rule struct {
	control *control.Control
	// only are the kinds that the control judges, empty for all of the set's.
	only   []string
	names  map[string]*variable
	result *variable
}

// set is the controls of one match group. It implements policy.Set.
type set struct {
	group  control.Group
	shared map[string]*variable
	slots  int
	rules  []rule
}

var _ policy.Set = (*set)(nil)

// Compile compiles a catalogue into one Set for each match group that has controls. The error names the control and the
// expression, with the compiler's own words.
func Compile(cat *control.Catalogue) ([]policy.Set, error) {
	env, err := newEnv()
	if err != nil {
		return nil, err
	}
	var sets []policy.Set
	for _, g := range cat.Groups() {
		s := &set{group: g}
		vars := g.Twins()
		if g.When != "" {
			vars = append(vars, control.Variable{Name: whenVariable, Expression: g.When})
		}
		groupEnv, shared, err := s.compile(env, vars, nil)
		if err != nil {
			return nil, fmt.Errorf("compile shared variables of %s: %w", g.Name, err)
		}
		s.shared = shared
		for i := range cat.Controls {
			c := &cat.Controls[i]
			if !g.Holds(*c) {
				continue
			}
			_, names, err := s.compile(groupEnv, control.Derived(c.Variables, nil), s.shared)
			if err != nil {
				return nil, fmt.Errorf("compile control %s: %w", c.ID, err)
			}
			s.rules = append(s.rules, rule{c, g.Only(*c), names, names[control.ViolationsVariable]})
		}
		if len(s.rules) > 0 {
			sets = append(sets, s)
		}
	}
	return sets, nil
}

// newEnv is the environment of a ValidatingAdmissionPolicy, but for variables.
func newEnv() (*cel.Env, error) {
	base, err := environment.MustBaseEnvSet(oldestServer).Env(environment.NewExpressions)
	if err != nil {
		return nil, fmt.Errorf("CEL environment of Kubernetes %s: %w", oldestServer, err)
	}
	return base.Extend(
		cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType),
		cel.Variable("params", cel.DynType), cel.Variable("request", cel.DynType))
}

// compile adds variables one after another to env and gives each a slot.
func (s *set) compile(env *cel.Env, vars []control.Variable, known map[string]*variable) (*cel.Env, map[string]*variable, error) {
	names := map[string]*variable{}
	for name, v := range known {
		names[name] = v
	}
	for _, v := range vars {
		ast, issues := env.Compile(v.Expression)
		if issues.Err() != nil {
			return nil, nil, fmt.Errorf("variable %s: %w", v.Name, issues.Err())
		}
		program, err := env.Program(ast)
		if err != nil {
			return nil, nil, fmt.Errorf("variable %s: %w", v.Name, err)
		}
		names[v.Name] = &variable{program, s.slots}
		s.slots++
		if env, err = env.Extend(cel.Variable("variables."+v.Name, ast.OutputType())); err != nil {
			return nil, nil, fmt.Errorf("variable %s: %w", v.Name, err)
		}
	}
	return env, names, nil
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

// Judge evaluates every control of the group over one activation; shared variables are evaluated at most once.
func (s *set) Judge(in policy.Input) []policy.Result {
	shared := &evaluation{
		object: in.Object, oldObject: nullable(in.OldObject), params: in.Guard.Params(),
		request: map[string]any{
			"operation": in.Operation, "namespace": in.Namespace,
			"userInfo": map[string]any{"username": in.Username},
		},
		cache: make([]ref.Val, s.slots),
	}
	shared.names = s.shared
	if when := s.shared[whenVariable]; when != nil {
		if yes, err := shared.value(when); err == nil && yes != truth {
			return nil
		}
	}
	kind, _ := in.Object["kind"].(string)
	results := make([]policy.Result, 0, len(s.rules))
	for _, r := range s.rules {
		if len(r.only) > 0 && !slices.Contains(r.only, kind) {
			continue
		}
		shared.names = r.names
		one := policy.Result{Control: r.control}
		one.Violations, one.Err = violations(shared.value(r.result))
		results = append(results, one)
	}
	return results
}

func nullable(m map[string]any) any {
	if m == nil {
		return nil
	}
	return m
}

// violations reads the list that a control's violations variable holds.
func violations(v ref.Val, err error) ([]policy.Violation, error) {
	if err != nil {
		return nil, err
	}
	list, ok := v.(traits.Lister)
	if !ok {
		return nil, fmt.Errorf("the rule returned %s, not a list", v.Type().TypeName())
	}
	var out []policy.Violation
	for it := list.Iterator(); it.HasNext() == truth; {
		text, ok := it.Next().Value().(string)
		at := strings.LastIndex(text, " at /")
		if !ok || at < 0 {
			return nil, fmt.Errorf("the rule returned %q, not \"<value> at <pointer>\"", text)
		}
		out = append(out, policy.Violation{Found: text[:at], Path: text[at+len(" at "):]})
	}
	return out, nil
}
