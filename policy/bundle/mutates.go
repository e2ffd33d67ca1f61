package bundle

import (
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/google/cel-go/cel"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
)

// The condition Mutated of a Platform says which door fills in metadata of the namespace and defaults of pods.
//
//	True   NativePolicies  nothing to do: the API server does, also while Ringfence is down
//	False  NotServed       nothing is filled in; upgrade the cluster to Kubernetes 1.36, or state the fields in manifests
const (
	ConditionMutated = "Mutated"

	reasonNativePolicies = "NativePolicies"
	reasonNotServed      = "NotServed"
)

func mutated(native bool, generation int64) metav1.Condition {
	c := metav1.Condition{
		Type: ConditionMutated, Status: metav1.ConditionTrue, Reason: reasonNativePolicies, ObservedGeneration: generation,
		Message: "the API server fills in metadata of the namespace and defaults of pods, with MutatingAdmissionPolicies",
	}
	if !native {
		c.Status, c.Reason = metav1.ConditionFalse, reasonNotServed
		c.Message = "this server does not serve MutatingAdmissionPolicy v1, which Kubernetes has since 1.36: no door fills in metadata or defaults, and what lacks them is judged as it is written"
	}
	return c
}

// mutates reports whether the server can fill in what is absent.
func (r *Reconciler) mutates() (bool, error) {
	if r.Serves == nil {
		return true, nil
	}
	return r.Serves(mutationKind)
}

// mutations are the objects that fill in what is absent, and those that judge it.
func mutations(cat *control.Catalogue, exempt []v1alpha1.NamespaceName, mutates bool) (all []client.Object) {
	var names []string
	for _, ns := range exempt {
		names = append(names, string(ns))
	}
	for _, o := range append(Copied(cat, names, mutates), Defaulted(names, mutates)...) {
		all = append(all, withDefaults(o))
	}
	return all
}

// CompileMutation is Compile for a MutatingAdmissionPolicy, as the oldest server that has the kind would.
func CompileMutation(p *admissionv1.MutatingAdmissionPolicy) error {
	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(oldestMutating))
	if err != nil {
		return fmt.Errorf("compile mutation %s: %w", p.Name, err)
	}
	var faults []error
	check := func(where string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("compile mutation %s: %s: %w", p.Name, where, err))
		}
	}
	result := func(r plugincel.CompilationResult) error {
		if r.Error == nil {
			return nil
		}
		return r.Error
	}
	with := plugincel.OptionalVariableDeclarations{HasParams: p.Spec.ParamKind != nil, HasAuthorizer: true}
	for _, v := range p.Spec.Variables {
		check("variable "+v.Name, result(compiler.CompileAndStoreVariable(
			expression{v.Name, v.Expression, []*cel.Type{cel.AnyType, cel.DynType}}, with, environment.NewExpressions)))
	}
	for _, m := range p.Spec.MatchConditions {
		check("match condition "+m.Name, result(compiler.CompileCELExpression(
			expression{"", m.Expression, []*cel.Type{cel.BoolType}}, with, environment.NewExpressions)))
	}
	with.HasPatchTypes = true
	for i, m := range p.Spec.Mutations {
		evaluator := compiler.CompileMutatingEvaluator(&patch.JSONPatchCondition{Expression: m.JSONPatch.Expression}, with, environment.NewExpressions)
		check(fmt.Sprintf("mutation %d", i), errors.Join(evaluator.CompilationErrors()...))
	}
	return errors.Join(faults...)
}
