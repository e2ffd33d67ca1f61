package bundle

import (
	"errors"
	"fmt"

	"github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/version"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// oldestServer is the oldest Kubernetes that is supported.
var oldestServer = version.MajorMinor(1, 30)

// oldestMutating is the oldest Kubernetes that serves MutatingAdmissionPolicy as v1.
var oldestMutating = version.MajorMinor(1, 36)

// expression is a CEL expression as the API server's compiler takes it.
type expression struct {
	name, text string
	types      []*cel.Type
}

// GetName is the variable's name.
func (e expression) GetName() string { return e.name }

// GetExpression is the CEL text.
func (e expression) GetExpression() string { return e.text }

// ReturnTypes are the types that the expression may have.
func (e expression) ReturnTypes() []*cel.Type { return e.types }

// Compile compiles every expression of a policy with the API server's own compiler, as a server of Kubernetes 1.30 would.
// The error names each expression that does not compile. A policy is never installed before it has passed.
func Compile(p *admissionv1.ValidatingAdmissionPolicy) error {
	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(oldestServer))
	if err != nil {
		return fmt.Errorf("compile policy %s: %w", p.Name, err)
	}
	var faults []error
	check := func(where string, r plugincel.CompilationResult) {
		if r.Error != nil {
			faults = append(faults, fmt.Errorf("compile policy %s: %s: %w", p.Name, where, r.Error))
		}
	}
	with := plugincel.OptionalVariableDeclarations{HasParams: p.Spec.ParamKind != nil, HasAuthorizer: true}
	for _, m := range p.Spec.MatchConditions {
		check("match condition "+m.Name, compiler.CompileCELExpression(
			expression{"", m.Expression, []*cel.Type{cel.BoolType}}, with, environment.NewExpressions))
	}
	for _, v := range p.Spec.Variables {
		check("variable "+v.Name, compiler.CompileAndStoreVariable(
			expression{v.Name, v.Expression, []*cel.Type{cel.AnyType, cel.DynType}}, with, environment.NewExpressions))
	}
	for i, v := range p.Spec.Validations {
		check(fmt.Sprintf("validation %d", i), compiler.CompileCELExpression(
			expression{"", v.Expression, []*cel.Type{cel.BoolType}}, with, environment.NewExpressions))
		if v.MessageExpression != "" {
			check(fmt.Sprintf("message of validation %d", i), compiler.CompileCELExpression(
				expression{"", v.MessageExpression, []*cel.Type{cel.StringType}}, with, environment.NewExpressions))
		}
	}
	for _, a := range p.Spec.AuditAnnotations {
		check("audit annotation "+a.Key, compiler.CompileCELExpression(
			expression{"", a.ValueExpression, []*cel.Type{cel.StringType}}, with, environment.NewExpressions))
	}
	return errors.Join(faults...)
}
