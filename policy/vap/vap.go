// Package vap judges objects with anybody's ValidatingAdmissionPolicies, as an API server would that has them installed.
//
// Matching, parameters, CEL, cost limits and messages are the API server's own code (k8s.io/apiserver). It reads no files
// and asks no cluster: what an API server would look up (parameters, namespaces, custom kinds) comes in a Config. It does
// not fill in the defaults of Kubernetes' own kinds, and knows neither who asks nor what they may do. The command line
// calls it; the catalogue is judged by policy/cel.
package vap

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/client-go/informers"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
)

// Config is what an API server would have stored. Fill it with Add.
type Config struct {
	// Now is the clock that stamps objects as they are created; nil is time.Now.
	Now func() time.Time

	policies []*admissionv1.ValidatingAdmissionPolicy
	bindings []*admissionv1.ValidatingAdmissionPolicyBinding
	objects  []map[string]any
}

// Add adds a policy, a binding, or any other object: parameters of any kind, Namespaces and CustomResourceDefinitions are
// used. What an API server would refuse is not added; the faults say why. The object must not be changed afterwards.
func (c *Config) Add(object map[string]any) (faults []Fault) {
	u := unstructured.Unstructured{Object: object}
	switch group, kind := u.GroupVersionKind().Group, u.GetKind(); {
	case group == admissionv1.GroupName && kind == "ValidatingAdmissionPolicy":
		p, faults := readPolicy(object)
		if len(faults) > 0 {
			return faults
		}
		c.policies = append(c.policies, p)
	case group == admissionv1.GroupName && kind == "ValidatingAdmissionPolicyBinding":
		b, faults := readBinding(object)
		if len(faults) > 0 {
			return faults
		}
		c.bindings = append(c.bindings, b)
	case strings.HasSuffix(group, "kyverno.io") || strings.HasSuffix(kind, "Policy") && strings.Contains(group, "admission"):
		return []Fault{{"/kind", "found " + kind + " of " + group + "; want ValidatingAdmissionPolicy, its bindings and its parameters"}}
	default:
		c.objects = append(c.objects, object)
	}
	return nil
}

// Policies is how many policies were added.
func (c *Config) Policies() int { return len(c.policies) }

// Unbound names the policies that have no binding: they are judged as if they were bound with Deny everywhere.
func (c *Config) Unbound() (names []string) {
	for _, p := range c.policies {
		if !slices.ContainsFunc(c.bindings, func(b *admissionv1.ValidatingAdmissionPolicyBinding) bool { return b.Spec.PolicyName == p.Name }) {
			names = append(names, p.Name)
		}
	}
	return names
}

// Astray names the bindings whose policy was not added, each with that policy.
func (c *Config) Astray() (pairs []struct{ Binding, Policy string }) {
	for _, b := range c.bindings {
		if !slices.ContainsFunc(c.policies, func(p *admissionv1.ValidatingAdmissionPolicy) bool { return p.Name == b.Spec.PolicyName }) {
			pairs = append(pairs, struct{ Binding, Policy string }{b.Name, b.Spec.PolicyName})
		}
	}
	return pairs
}

// Engine judges objects with the policies of a Config. It is immutable and safe for many goroutines.
type Engine struct {
	hooks      []hook
	matcher    generic.PolicyMatcher
	kinds      *kinds
	namespaces namespaces
	now        func() time.Time
}

// hook is one policy, ready.
type hook struct {
	policy    *admissionv1.ValidatingAdmissionPolicy
	bindings  []*admissionv1.ValidatingAdmissionPolicyBinding
	validator validating.Validator
	params    informers.GenericInformer
	scope     meta.RESTScope
	// readsNamespace says that an expression reads namespaceObject.
	readsNamespace bool
}

// New compiles the policies for the newest server that this build knows.
func New(c *Config) (*Engine, error) {
	e := &Engine{kinds: newKinds(c.objects), namespaces: readNamespaces(c.objects), now: c.Now}
	if e.now == nil {
		e.now = time.Now
	}
	e.matcher = generic.NewPolicyMatcher(matching.NewMatcher(e.namespaces, nil))
	for _, p := range c.policies {
		v, err := Validator(p, environment.DefaultCompatibilityVersion())
		if err != nil {
			return nil, fmt.Errorf("compile policy %s: %w", p.Name, err)
		}
		h := hook{policy: p, validator: v, readsNamespace: namespaceObject.MatchString(expressions(p))}
		if k := p.Spec.ParamKind; k != nil {
			kind := schema.FromAPIVersionAndKind(k.APIVersion, k.Kind)
			h.scope, h.params = meta.RESTScopeNamespace, parameters(kind, c.objects)
			if e.kinds.clusterScoped(kind) {
				h.scope = meta.RESTScopeRoot
			}
		}
		for _, b := range c.bindings {
			if b.Spec.PolicyName == p.Name {
				h.bindings = append(h.bindings, b)
			}
		}
		if len(h.bindings) == 0 {
			h.bindings = []*admissionv1.ValidatingAdmissionPolicyBinding{everywhere(p.Name)}
		}
		e.hooks = append(e.hooks, h)
	}
	return e, nil
}

// unbound is the name of the binding that stands in for those of a policy that has none.
const unbound = "(none)"

func everywhere(name string) *admissionv1.ValidatingAdmissionPolicyBinding {
	return &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: unbound},
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}
}

// ClusterScoped reports whether objects of a kind lie in no namespace.
func (e *Engine) ClusterScoped(apiVersion, kind string) bool {
	return e.kinds.clusterScoped(schema.FromAPIVersionAndKind(apiVersion, kind))
}

// Judge is the findings of one object: for each policy and binding that match it, one for each validation that fails or
// cannot be decided, or one Pass. Policies that do not match have none. Locations are left empty.
func (e *Engine) Judge(ctx context.Context, in policy.Input, subject finding.Subject) []finding.Finding {
	if excluded(subject) {
		return nil
	}
	attributes, err := e.attributes(in)
	var out []finding.Finding
	for _, h := range e.hooks {
		if err != nil {
			out = append(out, undecided(h, subject, h.bindings[0], err.Error()))
			continue
		}
		out = append(out, e.judge(ctx, h, attributes, subject)...)
	}
	return out
}

// excluded are the kinds that the API server asks no policy about (k8s.io/apiserver rules.IsExemptAdmissionConfigurationResource
// and k8s.io/kubernetes pkg/kubeapiserver/admission/exclusion).
func excluded(s finding.Subject) bool {
	switch schema.FromAPIVersionAndKind(s.APIVersion, s.Kind).Group {
	case admissionv1.GroupName:
		return strings.HasSuffix(s.Kind, "AdmissionPolicy") || strings.HasSuffix(s.Kind, "AdmissionPolicyBinding") || strings.HasSuffix(s.Kind, "WebhookConfiguration")
	case "authentication.k8s.io":
		return s.Kind == "SelfSubjectReview" || s.Kind == "TokenReview"
	case "authorization.k8s.io":
		return strings.HasSuffix(s.Kind, "Review")
	}
	return false
}

// attributes are the request that would create, or update, the object.
func (e *Engine) attributes(in policy.Input) (admission.Attributes, error) {
	object := runtime.DeepCopyJSON(in.Object)
	u := &unstructured.Unstructured{Object: object}
	kind := u.GroupVersionKind()
	namespace := in.Namespace
	if e.kinds.clusterScoped(kind) {
		namespace = ""
	} else {
		u.SetNamespace(namespace)
	}
	if in.Operation != string(admission.Update) {
		u.SetCreationTimestamp(metav1.NewTime(e.now().UTC().Truncate(time.Second)))
	}
	typed, err := asServed(u)
	if err != nil {
		return nil, err
	}
	operation, options, old := admission.Create, runtime.Object(&metav1.CreateOptions{TypeMeta: metaVersion("CreateOptions")}), runtime.Object(nil)
	if in.OldObject != nil {
		operation, options = admission.Update, &metav1.UpdateOptions{TypeMeta: metaVersion("UpdateOptions")}
		if old, err = asServed(&unstructured.Unstructured{Object: runtime.DeepCopyJSON(in.OldObject)}); err != nil {
			return nil, err
		}
	}
	if kind.Group == "" && kind.Kind == "Namespace" {
		namespace = u.GetName() // so does the API server
	}
	return admission.NewAttributesRecord(typed, old, kind, namespace, u.GetName(), e.kinds.resource(kind), "", operation, options, false,
		&user.DefaultInfo{Name: in.Username}), nil
}

func metaVersion(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: kind}
}

// judge judges with one policy, in the steps of k8s.io/apiserver pkg/admission/plugin/policy/validating, dispatcher.go.
// Where the Namespace is not known, what asks more of it than its name is neither passed nor refused but passed over.
func (e *Engine) judge(ctx context.Context, h hook, a admission.Attributes, subject finding.Subject) (out []finding.Finding) {
	unknown, asks := e.namespaces.unknown(a), h.readsNamespace
	definition := *h.policy
	if unknown && byLabel(definition.Spec.MatchConstraints) {
		asks, definition.Spec.MatchConstraints = true, anyNamespace(definition.Spec.MatchConstraints)
	}
	matches, resource, kind, err := e.matcher.DefinitionMatches(a, e.kinds, validating.NewValidatingAdmissionPolicyAccessor(&definition))
	if err != nil {
		return []finding.Finding{misconfigured(h, subject, nil, err)}
	}
	if !matches {
		return nil
	}
	versioned, err := admission.NewVersionedAttributes(a, kind, e.kinds)
	if err != nil {
		return []finding.Finding{undecided(h, subject, h.bindings[0], "failed to convert object version: "+err.Error())}
	}
	for _, b := range h.bindings {
		binding, asks := *b, asks
		if unknown && byLabel(binding.Spec.MatchResources) {
			asks, binding.Spec.MatchResources = true, anyNamespace(binding.Spec.MatchResources)
		}
		matches, err := e.matcher.BindingMatches(a, e.kinds, validating.NewValidatingAdmissionPolicyBindingAccessor(&binding))
		if err != nil {
			out = append(out, misconfigured(h, subject, b, err))
			continue
		}
		if !matches {
			continue
		}
		if unknown && asks {
			out = append(out, skipped(h, subject, b, ReasonNamespace))
			continue
		}
		out = append(out, e.validate(ctx, h, b, versioned, resource, subject)...)
	}
	return outcomes(out)
}

// validate evaluates a policy that matches, once for each parameter of the binding.
func (e *Engine) validate(ctx context.Context, h hook, b *admissionv1.ValidatingAdmissionPolicyBinding, a *admission.VersionedAttributes,
	resource schema.GroupVersionResource, subject finding.Subject) []finding.Finding {
	params, err := generic.CollectParams(h.policy.Spec.ParamKind, h.params, h.scope, b.Spec.ParamRef, a.GetNamespace(), nil, nil)
	if err != nil {
		return []finding.Finding{misconfigured(h, subject, b, err)}
	}
	var namespace *corev1.Namespace
	if a.GetNamespace() != "" && subject.Kind != "Namespace" {
		namespace, _ = e.namespaces.Get(a.GetNamespace()) // it has one for every name
	}
	var results []validating.ValidateResult
	for _, param := range params {
		results = append(results, h.validator.Validate(ctx, resource, a, param, namespace, celconfig.RuntimeCELCostBudget, nil))
	}
	return findings(h, subject, b, results)
}
