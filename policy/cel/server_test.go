package cel_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authentication/user"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/policy/cel"
	"ringfence.dev/ringfence/policy/vap"
)

// native is a group's Deny bundle as the API server evaluates it.
type native struct {
	validator validating.Validator
	controls  []string // by validation
}

// natives are the bundles of a catalogue by group, without the condition that ends what passes every rule: each rule is
// asked about every object.
func natives(tb testing.TB, cat *control.Catalogue) map[string]native {
	tb.Helper()
	all := map[string]native{}
	policies := map[string]*admissionv1.ValidatingAdmissionPolicy{}
	for _, b := range bundle.Build(cat, nil) {
		policies[b.Policy.Name] = b.Policy
	}
	for _, g := range cat.Groups() {
		p := policies[bundle.Name(g.Name, finding.Deny)]
		if p == nil {
			continue
		}
		p.Spec.MatchConditions = slices.DeleteFunc(p.Spec.MatchConditions, func(c admissionv1.MatchCondition) bool { return c.Name == "something-is-wrong" })
		v, err := vap.Validator(p, version.MajorMinor(1, 30))
		if err != nil {
			tb.Fatal(err)
		}
		n := native{validator: v}
		for _, c := range cat.Controls {
			if g.Holds(c) {
				n.controls = append(n.controls, c.ID)
			}
		}
		all[g.Name] = n
	}
	return all
}

// attributes are a request as admission sees it.
func attributes(in policy.Input) *admission.VersionedAttributes {
	object := &unstructured.Unstructured{Object: in.Object}
	kind := object.GroupVersionKind()
	operation := admission.Create
	var old runtime.Object
	if in.OldObject != nil {
		operation, old = admission.Update, &unstructured.Unstructured{Object: in.OldObject}
	}
	record := admission.NewAttributesRecord(object, old, kind, in.Namespace, object.GetName(),
		schema.GroupVersionResource{Group: kind.Group, Version: kind.Version, Resource: strings.ToLower(kind.Kind) + "s"},
		"", operation, &metav1.CreateOptions{}, false, &user.DefaultInfo{Name: in.Username})
	v := &admission.VersionedAttributes{Attributes: record, VersionedKind: kind, VersionedObject: admission.NewLazyObject(object)}
	if old != nil {
		v.VersionedOldObject = admission.NewLazyObject(old)
	}
	return v
}

// judge asks the server's validator with a cost budget of the server's own size.
func (n native) judge(in policy.Input) []validating.PolicyDecision {
	const budget = 10_000_000 // k8s.io/apiserver pkg/apis/cel RuntimeCELCostBudget
	params := &unstructured.Unstructured{Object: in.Guard.Params()}
	return n.validator.Validate(context.Background(), schema.GroupVersionResource{}, attributes(in), params, nil, budget, nil).Decisions
}

// catalogueAndGuard are the catalogue, and the Guard that its cases are judged with.
func catalogueAndGuard(t *testing.T) (*control.Catalogue, *policy.Guard) {
	t.Helper()
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := policy.NewGuard(casefile.Guard())
	if err != nil {
		t.Fatal(err)
	}
	return cat, guard
}

// TestServer judges every case, and many that are like one but broken somewhere, with the Engine and with the API server's
// own validator over the bundles: both must say the same of each control.
func TestServer(t *testing.T) {
	cat, guard := catalogueAndGuard(t)
	sets, err := cel.Compile(cat)
	if err != nil {
		t.Fatal(err)
	}
	engine, servers := policy.New(sets...), natives(t, cat)
	judged := 0
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range cat.Controls {
		cases, err := casefile.Read(os.DirFS("../../controls"), c.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range cases {
			in := policy.Input{Object: one.Object.Value, Guard: guard, Namespace: "payments-dev", Operation: "CREATE"}
			if one.Update() {
				in.Operation, in.OldObject = "UPDATE", one.Old.Value
			}
			compareWithServer(t, one.File, cat, engine, servers, in)
			judged++
			if len(fmt.Sprint(in.Object)) > 10_000 {
				continue // the largest cases take the server seconds each
			}
			for i := range 5 {
				broken := in
				broken.Object = mutate(random, runtime.DeepCopyJSON(in.Object)).(map[string]any)
				if broken.Object["kind"] != in.Object["kind"] || broken.Object["apiVersion"] != in.Object["apiVersion"] {
					continue
				}
				if i%2 == 1 {
					broken.Operation, broken.OldObject = "UPDATE", in.Object
				}
				compareWithServer(t, fmt.Sprintf("%s, broken %d", one.File, i), cat, engine, servers, broken)
				judged++
			}
		}
	}
	t.Logf("%d objects", judged)
}

func compareWithServer(t *testing.T, name string, cat *control.Catalogue, engine *policy.Engine, servers map[string]native, in policy.Input) {
	t.Helper()
	subject := finding.Subject{APIVersion: in.Object["apiVersion"].(string), Kind: in.Object["kind"].(string)}
	ours := map[string]string{}
	for _, f := range engine.Judge(in, subject) {
		ours[f.Control] = string(f.Outcome)
	}
	theirs := map[string]string{}
	for _, g := range cat.Groups() {
		if !slices.ContainsFunc(g.Kinds, func(k control.Kind) bool {
			group, _, grouped := strings.Cut(subject.APIVersion, "/")
			return k.Kind == subject.Kind && (k.APIGroup == group && grouped || k.APIGroup == "" && !grouped)
		}) || servers[g.Name].validator == nil {
			continue
		}
		for i, d := range servers[g.Name].judge(in) {
			id := servers[g.Name].controls[i]
			outcome := map[validating.PolicyDecisionEvaluation]string{
				validating.EvalAdmit: "Pass", validating.EvalDeny: "Fail", validating.EvalError: "Errored"}[d.Evaluation]
			if theirs[id] == "" || outcome != "Pass" {
				theirs[id] = outcome
			}
		}
	}
	for id, want := range theirs {
		if ours[id] == "" && want == "Pass" { // a control that does not judge the kind passes in the bundle
			continue
		}
		if ours[id] != want {
			t.Errorf("%s: %s: the Engine says %q, the API server %q\n%v\nold: %v", name, id, ours[id], want, in.Object, in.OldObject)
		}
	}
}

// mutate breaks one value somewhere below v: it is gone, null, of another type, or doubled.
func mutate(r *rand.Rand, v any) any {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return "text"
		}
		var keys []string
		for key := range v {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		key := keys[r.IntN(len(keys))]
		if key != "spec" && key != "template" && r.IntN(4) == 0 {
			delete(v, key)
			return v
		}
		v[key] = mutate(r, v[key])
		return v
	case []any:
		if len(v) == 0 {
			return int64(7)
		}
		i := r.IntN(len(v))
		if r.IntN(4) == 0 {
			return append(v, runtime.DeepCopyJSONValue(v[i]))
		}
		v[i] = mutate(r, v[i])
		return v
	}
	return []any{nil, true, false, int64(0), int64(-1), 1.5, "", "0", "text", []any{}, []any{"a"}, map[string]any{}, map[string]any{"a": int64(1)}}[r.IntN(13)]
}
