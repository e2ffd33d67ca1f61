package rollout

import (
	"fmt"
	"slices"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	catalogue "ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/canary"
	"ringfence.dev/ringfence/policy/cel"
	"ringfence.dev/ringfence/server"
	"ringfence.dev/ringfence/tenant"
)

// bird is a canary of the tests' own, which goes on where Ringfence is stopped.
type bird struct {
	cfg    canary.Config
	places []canary.Place
}

// newBird has one tenant's namespace, production, one that is nobody's, and what lies in none.
func newBird(t *testing.T, admin client.Client) bird {
	t.Helper()
	cat, err := catalogue.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	sets, err := cel.Lazy(cat)
	if err != nil {
		t.Fatal(err)
	}
	cases, err := casefile.Created(cat, controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	var all []canary.Case
	for id, of := range cases {
		for _, o := range of {
			all = append(all, canary.Case{Control: id, Fails: len(o.Want) > 0, Object: o.Object.Value, APIVersion: o.Object.APIVersion(), Kind: o.Object.Kind()})
		}
	}
	planner := canary.NewPlanner(cat, all, policy.New(sets...))
	mapper := admin.RESTMapper()
	b := bird{cfg: canary.Config{Planner: planner, Client: admin, Now: time.Now, Serves: func(k catalogue.Kind) bool {
		_, err := mapper.RESTMapping(schema.GroupKind{Group: k.APIGroup, Kind: k.Kind})
		return err == nil
	}}}
	var tenants v1alpha1.TenantList
	if err := admin.List(t.Context(), &tenants); err != nil {
		t.Fatal(err)
	}
	p := platform(t, admin)
	for _, name := range []string{"alpha-dev", "alpha-prod", "nobodys", v1alpha1.SystemNamespace} {
		var ns corev1.Namespace
		if err := admin.Get(t.Context(), client.ObjectKey{Name: name}, &ns); err != nil {
			t.Fatal(err)
		}
		spec := tenant.Compile(cat.Controls, p, tenant.Of(tenants.Items, name), nil, name).Spec
		b.places = append(b.places, canary.Place{Namespace: name, Spec: spec, Labels: ns.Labels})
	}
	return b
}

// sings tries, and returns the tries with an outcome.
func (b bird) sings(t *testing.T, outcome string) (all []canary.Tried) {
	t.Helper()
	r, err := canary.Do(t.Context(), b.cfg, b.places)
	if err != nil {
		t.Fatal(err)
	}
	for _, tried := range r.Tried {
		if tried.Outcome == outcome {
			all = append(all, tried)
		}
	}
	return all
}

// TestCanary: while all is in place nothing is let in and nothing good is refused; whatever an administrator takes away is noticed.
func TestCanary(t *testing.T) {
	admin := masters(t)
	stop := run(t, server.Config{CanaryEvery: 2 * time.Second, CanaryAfter: time.Second})
	onboard(t, admin)
	create(t, admin, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "nobodys"}})
	ringfencetest.Eventually(t, "the namespace to be guarded", func() error {
		return admin.Get(t.Context(), client.ObjectKey{Namespace: "nobodys", Name: v1alpha1.GuardName}, &v1alpha1.Guard{})
	})
	ringfencetest.Eventually(t, "Ringfence to try its rules", func() error { return ringfencetest.InForce(t.Context(), admin, "Proven") })
	stop()
	b := newBird(t, admin)
	r, err := canary.Do(t.Context(), b.cfg, b.places)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d held, %d not asked, %d controls proven", r.Count(canary.Held), r.Count(canary.NotAsked), len(r.Proven))
	for _, tried := range r.Tried {
		if tried.Outcome == canary.LetIn || tried.Outcome == canary.RefusedGood {
			t.Errorf("all is in place: %+v", tried)
		} else if tried.Outcome == canary.NotAsked {
			t.Logf("%+v", tried)
		}
	}
	if len(r.Proven) < 5 || !slices.Contains(r.Proven, "RF-WL-02") || !slices.ContainsFunc(r.Tried, func(x canary.Tried) bool { return x.Control == "" && x.Outcome == canary.Held }) {
		t.Errorf("proven: %q; some good must have been let in", r.Proven)
	}
	var list corev1.PodList
	if err := admin.List(t.Context(), &list, client.InNamespace("alpha-dev")); err != nil || slices.ContainsFunc(list.Items, func(p corev1.Pod) bool { return p.Name == canary.Name }) {
		t.Errorf("something was stored: %v", err)
	}
	const binding = "ringfence-workloads-deny"
	t.Run("a binding that leaves a namespace out", func(t *testing.T) {
		o := &admissionv1.ValidatingAdmissionPolicyBinding{}
		get(t, admin, client.ObjectKey{Name: binding}, o)
		before := o.DeepCopy()
		e := &o.Spec.MatchResources.NamespaceSelector.MatchExpressions[0]
		e.Values = append(e.Values, "alpha-prod")
		b.at("alpha-prod").noticed(t, admin, before, o, func(canary.Tried) bool { return true })
	})
	t.Run("a policy that judges nothing", func(t *testing.T) {
		o := &admissionv1.ValidatingAdmissionPolicy{}
		get(t, admin, client.ObjectKey{Name: binding}, o)
		before := o.DeepCopy()
		o.Spec.MatchConditions = append(o.Spec.MatchConditions, admissionv1.MatchCondition{Name: "never", Expression: "false"})
		b.at("nobodys").noticed(t, admin, before, o, func(canary.Tried) bool { return true })
	})
	t.Run("a Guard with a weaker action", func(t *testing.T) {
		o := &v1alpha1.Guard{}
		get(t, admin, client.ObjectKey{Namespace: "alpha-dev", Name: v1alpha1.GuardName}, o)
		before := o.DeepCopy()
		o.Spec.Actions["RF-WL-02"] = v1alpha1.Warn
		b.at("alpha-dev").noticed(t, admin, before, o, func(x canary.Tried) bool { return x.Control == "RF-WL-02" })
	})
	t.Run("no binding", func(t *testing.T) {
		o := &admissionv1.ValidatingAdmissionPolicyBinding{}
		get(t, admin, client.ObjectKey{Name: binding}, o)
		if err := admin.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		ringfencetest.Eventually(t, "it to be noticed", func() error {
			if len(b.at("alpha-dev").sings(t, canary.LetIn)) == 0 {
				return fmt.Errorf("nothing was let in")
			}
			return nil
		})
		run(t, server.Config{CanaryEvery: time.Second, CanaryAfter: time.Second})
		ringfencetest.Eventually(t, "Ringfence to put it back", func() error {
			if left := b.sings(t, canary.LetIn); len(left) > 0 {
				return fmt.Errorf("%+v", left[0])
			}
			return nil
		})
	})
}

func get(t *testing.T, admin client.Client, key client.ObjectKey, o client.Object) {
	t.Helper()
	if err := admin.Get(t.Context(), key, o); err != nil {
		t.Fatal(err)
	}
}

// at is the same canary in one namespace alone.
func (b bird) at(namespace string) bird {
	b.places = slices.DeleteFunc(slices.Clone(b.places), func(p canary.Place) bool { return p.Namespace != namespace })
	return b
}

// noticed changes an object, waits until the canary notices, and changes it back.
func (b bird) noticed(t *testing.T, admin client.Client, before, changed client.Object, is func(canary.Tried) bool) {
	t.Helper()
	put := func(o client.Object) {
		t.Helper()
		ringfencetest.Eventually(t, "the change", func() error { // the controller manager writes to policies too
			now := o.DeepCopyObject().(client.Object)
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(o), now); err != nil {
				return err
			}
			o.SetResourceVersion(now.GetResourceVersion())
			return admin.Update(t.Context(), o)
		})
	}
	put(changed)
	ringfencetest.Eventually(t, "it to be noticed", func() error {
		in := b.sings(t, canary.LetIn)
		if !slices.ContainsFunc(in, is) {
			return fmt.Errorf("let in: %+v", in)
		}
		return nil
	})
	put(before)
	ringfencetest.Eventually(t, "it to hold again", func() error {
		if in := b.sings(t, canary.LetIn); len(in) > 0 {
			return fmt.Errorf("let in: %+v", in[0])
		}
		return nil
	})
}
