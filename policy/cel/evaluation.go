package cel

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

const truth = types.True

// evaluation is the activation of one object: it answers names and evaluates each variable at most once.
type evaluation struct {
	object            map[string]any
	oldObject, params any
	request           map[string]any
	names             map[string]*variable
	cache             []ref.Val
}

var _ cel.Activation = (*evaluation)(nil)

// ResolveName answers object, oldObject, params, request and variables.<name>.
func (e *evaluation) ResolveName(name string) (any, bool) {
	switch name {
	case "object":
		return e.object, true
	case "oldObject":
		return e.oldObject, true
	case "params":
		return e.params, true
	case "request":
		return e.request, true
	}
	short, ok := strings.CutPrefix(name, "variables.")
	if !ok {
		return nil, false
	}
	v, ok := e.names[short]
	if !ok {
		return nil, false
	}
	value, err := e.value(v)
	if err != nil {
		return types.WrapErr(fmt.Errorf("variable %s: %w", short, err)), true
	}
	return value, true
}

// Parent is none: an evaluation answers for itself.
func (e *evaluation) Parent() cel.Activation { return nil }

// value evaluates a variable, or returns what it was.
func (e *evaluation) value(v *variable) (ref.Val, error) {
	if known := e.cache[v.slot]; known != nil {
		if failed, ok := known.(*types.Err); ok {
			return nil, failed
		}
		return known, nil
	}
	value, _, err := v.program.Eval(e)
	if err != nil {
		failed := &types.Err{}
		if !errors.As(err, &failed) {
			failed = types.WrapErr(err).(*types.Err)
		}
		e.cache[v.slot] = failed
		return nil, err
	}
	e.cache[v.slot] = value
	return value, nil
}
