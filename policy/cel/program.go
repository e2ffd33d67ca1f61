package cel

import (
	"errors"
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/decls"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"ringfence.dev/ringfence/control"
)

// program is one variable. What it is compiled to is there once ready was called.
type program struct {
	name string
	// ready compiles it, once. The error has the compiler's own words.
	ready func() error
	// names are the slots of the variables it may use, uses the names of those it does.
	names map[string]int
	uses  []string
	// plan is the fast way, nil where there is none; it uses stack places.
	plan  expr
	stack int
	// exact is the way of cel-go itself, made when it is first needed.
	exact func() (cel.Program, error)
}

// compiler compiles variables, one environment for all.
type compiler struct {
	env       *cel.Env
	functions map[string]*decls.FunctionDecl
}

func newCompiler() (*compiler, error) {
	env, err := newEnv()
	if err != nil {
		return nil, fmt.Errorf("CEL environment: %w", err)
	}
	return &compiler{env, env.Functions()}, nil
}

// compile compiles a variable that may use those in names. The error has the compiler's own words.
func (c *compiler) compile(v control.Variable, names map[string]int) (*program, error) {
	p := c.later(v, names)
	return p, p.ready()
}

// later is a variable that is compiled when it is first evaluated.
func (c *compiler) later(v control.Variable, names map[string]int) *program {
	p := &program{name: v.Name, names: names}
	p.ready = sync.OnceValue(func() error { return c.fill(p, v.Expression) })
	return p
}

// fill puts into out what an expression is compiled to.
func (c *compiler) fill(out *program, expression string) error {
	checked, issues := c.env.Compile(expression)
	if issues.Err() != nil {
		return fmt.Errorf("variable %s: %w", out.name, issues.Err())
	}
	out.uses = uses(checked.NativeRep().Expr())
	for _, used := range out.uses {
		if _, ok := out.names[used]; !ok {
			return fmt.Errorf("variable %s: there is no variables.%s before it", out.name, used)
		}
	}
	p := planner{functions: c.functions, ast: checked.NativeRep(), names: out.names, locals: map[string]int{}}
	out.plan = p.plan(checked.NativeRep().Expr())
	out.stack = p.most
	out.exact = sync.OnceValues(func() (made cel.Program, err error) {
		defer func() { // cel-go works out constants here, and faults over a map whose keys are bytes
			if fault := recover(); fault != nil {
				err = fmt.Errorf("cel-go: %v", fault)
			}
		}()
		return c.env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	})
	return nil
}

// uses are the names in variables.<name>.
func uses(e ast.Expr) (names []string) {
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.SelectKind {
			return
		}
		if s := e.AsSelect(); s.Operand().Kind() == ast.IdentKind && s.Operand().AsIdent() == "variables" {
			names = append(names, s.FieldName())
		}
	}))
	return names
}

// frame is the evaluation of one object: each variable at most once.
type frame struct {
	programs                           []*program // by slot
	object, oldObject, params, request any
	slots                              []slot
	// stack holds the variables of comprehensions, those of the running program from base on.
	stack []any
	base  int
}

// slot is what a variable was.
type slot struct {
	done  bool
	value any
	err   error
}

// value evaluates a variable, or returns what it was.
func (f *frame) value(at int) (any, error) {
	if s := &f.slots[at]; s.done {
		return s.value, s.err
	}
	p := f.programs[at]
	v, sure := f.run(p)
	var err error
	if !sure {
		if v, err = f.exactly(p); err != nil {
			err = fmt.Errorf("variable %s: %w", p.name, err)
		}
	}
	f.slots[at] = slot{true, v, err}
	return v, err
}

// run evaluates the plan of a program.
func (f *frame) run(p *program) (v any, sure bool) {
	if p.ready() != nil || p.plan == nil {
		return nil, false
	}
	base, size := f.base, len(f.stack)
	f.base = size
	for range p.stack {
		f.stack = append(f.stack, nil)
	}
	defer func() {
		f.base, f.stack = base, f.stack[:size]
		if recover() != nil { // as cel-go does: a fault in a library must not end the process
			v, sure = nil, false
		}
	}()
	return p.plan(f)
}

// exactly evaluates a program with cel-go.
func (f *frame) exactly(p *program) (any, error) {
	if err := p.ready(); err != nil {
		return nil, err
	}
	program, err := p.exact()
	if err != nil {
		return nil, err
	}
	out, _, err := program.Eval(activation{f, p})
	if err != nil {
		return nil, err
	}
	v, ok := plain(out)
	if !ok {
		return nil, errors.New("the result holds an error")
	}
	return v, nil
}

// activation is a frame as cel-go asks it, for one program.
type activation struct {
	*frame
	program *program
}

var _ cel.Activation = activation{}

// Parent is none: a frame answers for itself.
func (a activation) Parent() cel.Activation { return nil }

// ResolveName answers object, oldObject, params, request and variables.
func (a activation) ResolveName(name string) (any, bool) {
	switch name {
	case "object":
		return a.object, true
	case "oldObject":
		return a.oldObject, true
	case "params":
		return a.params, true
	case "request":
		return a.request, true
	case "variables":
		return variables{types.NewStringInterfaceMap(types.DefaultTypeAdapter, nil), a}, true
	}
	return nil, false
}

// variables is the map that rules read as variables.<name>: each is evaluated when it is asked for.
type variables struct {
	traits.Mapper
	activation
}

// Find evaluates a variable.
func (v variables) Find(key ref.Val) (ref.Val, bool) {
	name, _ := key.Value().(string)
	at, ok := v.program.names[name]
	if !ok {
		return nil, false
	}
	value, err := v.value(at)
	if err != nil {
		return types.WrapErr(err), true
	}
	return val(value), true
}
