package bundle

import (
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
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
//	True   Webhook         Ringfence's webhook does, while it runs; keep it running, or upgrade the cluster to Kubernetes 1.36
//	False  WebhookWaits    wait, or see the log of Ringfence: the webhook is not registered, for the API server does not reach it yet
//	False  NotServed       nothing is filled in; start ringfence serve with --webhook-listen, upgrade the cluster to Kubernetes 1.36, or state the fields in manifests
const (
	ConditionMutated = "Mutated"

	reasonNativePolicies = "NativePolicies"
	reasonWebhook        = "Webhook"
	reasonWebhookWaits   = "WebhookWaits"
	reasonNotServed      = "NotServed"
)

// Door is what fills in metadata of the namespace and defaults of pods.
type Door int

// The doors. The zero value is none.
const (
	NoDoor      Door = iota
	NativeDoor       // MutatingAdmissionPolicies
	WebhookDoor      // Ringfence's webhook
	WaitingDoor      // the webhook, which is not registered yet
)

// MutationKind is the kind without which no native policy fills in. Kubernetes serves its v1 since 1.36. Earlier versions of it are
// off where nobody switched them on, and are not used.
var MutationKind = control.Kind{APIGroup: admissionv1.GroupName, Kind: "MutatingAdmissionPolicy", Version: "v1"}

func mutated(door Door, generation int64) metav1.Condition {
	c := metav1.Condition{Type: ConditionMutated, Status: metav1.ConditionTrue, ObservedGeneration: generation}
	switch door {
	case NativeDoor:
		c.Reason, c.Message = reasonNativePolicies, "the API server fills in metadata of the namespace and defaults of pods, with MutatingAdmissionPolicies"
	case WebhookDoor:
		c.Reason, c.Message = reasonWebhook, "Ringfence's webhook fills in metadata of the namespace and defaults of pods, while it runs; what lacks them is judged as it is written when it does not"
	case WaitingDoor:
		c.Status, c.Reason = metav1.ConditionFalse, reasonWebhookWaits
		c.Message = "Ringfence's webhook is to fill in metadata and defaults and is not registered yet: the API server must reach it first; see the log of Ringfence"
	default:
		c.Status, c.Reason = metav1.ConditionFalse, reasonNotServed
		c.Message = "this server does not serve MutatingAdmissionPolicy v1, which Kubernetes has since 1.36, and no webhook fills in metadata or defaults: what lacks them is judged as it is written; fix: start ringfence serve with --webhook-listen"
	}
	return c
}

// FilledByWebhook reports whether the webhook is what last was said to fill in on the cluster of a Platform.
func FilledByWebhook(p *v1alpha1.Platform) bool {
	c := meta.FindStatusCondition(p.Status.Conditions, ConditionMutated)
	return c != nil && (c.Reason == reasonWebhook || c.Reason == reasonWebhookWaits)
}

// doorChanged tells what a door needs that the one which last was said to fill in did not: it was not there, and that is no gap.
func (r *Reconciler) doorChanged(p *v1alpha1.Platform, door Door) func(client.Object) bool {
	was := NoDoor
	if c := meta.FindStatusCondition(p.Status.Conditions, ConditionMutated); FilledByWebhook(p) {
		was = WebhookDoor
	} else if c != nil && c.Reason == reasonNativePolicies {
		was = NativeDoor
	}
	needed := map[string]bool{}
	for _, o := range mutations(r.Catalogue, p.Spec.ExemptNamespaces, was) {
		needed[key(o)] = true
	}
	fresh := map[string]bool{}
	for _, o := range mutations(r.Catalogue, p.Spec.ExemptNamespaces, door) {
		fresh[key(o)] = !needed[key(o)]
	}
	return func(o client.Object) bool { return fresh[key(o)] }
}

// mutates reports whether the server has MutatingAdmissionPolicies.
func (r *Reconciler) mutates() (bool, error) {
	if r.Serves == nil {
		return true, nil
	}
	return r.Serves(MutationKind)
}

// door is what fills in.
func (r *Reconciler) door() (Door, error) {
	if r.Fills != nil {
		return r.Fills()
	}
	native, err := r.mutates()
	if native {
		return NativeDoor, err
	}
	return NoDoor, err
}

// mutations are the objects that fill in what is absent, and those that judge and tell of it.
func mutations(cat *control.Catalogue, exempt []v1alpha1.NamespaceName, door Door) (all []client.Object) {
	var names []string
	for _, ns := range exempt {
		names = append(names, string(ns))
	}
	for _, o := range append(Copied(cat, names, door), Defaulted(names, door)...) {
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
