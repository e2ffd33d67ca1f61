package vap

import (
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/version"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Validator compiles a policy as an API server of that version does when it is stored: the same compiler, libraries,
// cost limits and texts (k8s.io/apiserver pkg/admission/plugin/policy/validating, compilePolicy). The error names every
// expression that the server would refuse.
func Validator(p *admissionv1.ValidatingAdmissionPolicy, server *version.Version) (validating.Validator, error) {
	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(server))
	if err != nil {
		return nil, fmt.Errorf("CEL environment of Kubernetes %s: %w", server, err)
	}
	const mode = environment.NewExpressions
	with := plugincel.OptionalVariableDeclarations{HasParams: p.Spec.ParamKind != nil, HasAuthorizer: true}
	messages := plugincel.OptionalVariableDeclarations{HasParams: p.Spec.ParamKind != nil}
	var faults []error
	check := func(path string, of plugincel.ExpressionAccessor, with plugincel.OptionalVariableDeclarations) plugincel.ExpressionAccessor {
		if r := compiler.CompileCELExpression(of, with, mode); r.Error != nil {
			faults = append(faults, &ExpressionError{Path: path, Err: r.Error})
		}
		return of
	}
	for i, v := range p.Spec.Variables {
		r := compiler.CompileAndStoreVariable(&validating.Variable{Name: v.Name, Expression: v.Expression}, with, mode)
		if r.Error != nil {
			faults = append(faults, &ExpressionError{Path: fmt.Sprintf("/spec/variables/%d/expression", i), Err: r.Error})
		}
	}
	var conditions, annotations []plugincel.ExpressionAccessor
	for i := range p.Spec.MatchConditions {
		c := (*matchconditions.MatchCondition)(&p.Spec.MatchConditions[i])
		conditions = append(conditions, check(fmt.Sprintf("/spec/matchConditions/%d/expression", i), c, with))
	}
	validations := make([]plugincel.ExpressionAccessor, len(p.Spec.Validations))
	texts := make([]plugincel.ExpressionAccessor, len(p.Spec.Validations))
	for i, v := range p.Spec.Validations {
		path := fmt.Sprintf("/spec/validations/%d/", i)
		validations[i] = check(path+"expression", &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason}, with)
		if v.MessageExpression != "" {
			texts[i] = check(path+"messageExpression", &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}, messages)
		}
	}
	for i, a := range p.Spec.AuditAnnotations {
		path := fmt.Sprintf("/spec/auditAnnotations/%d/valueExpression", i)
		annotations = append(annotations, check(path, &validating.AuditAnnotationCondition{Key: a.Key, ValueExpression: a.ValueExpression}, with))
	}
	var matcher matchconditions.Matcher
	if len(conditions) > 0 {
		matcher = matchconditions.NewMatcher(compiler.CompileCondition(conditions, with, mode), p.Spec.FailurePolicy, "policy", "validate", p.Name)
	}
	return validating.NewValidator(
		compiler.CompileCondition(validations, with, mode), matcher,
		compiler.CompileCondition(annotations, with, mode), compiler.CompileCondition(texts, messages, mode),
		p.Spec.FailurePolicy, nil), errors.Join(faults...)
}

// ExpressionError is an expression that the API server would refuse.
type ExpressionError struct {
	// Path is the RFC 6901 pointer of the expression in its policy.
	Path string
	Err  error
}

// Error has the compiler's own words.
func (e *ExpressionError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap is what the compiler said.
func (e *ExpressionError) Unwrap() error { return e.Err }
