package tenancy

import (
	"errors"
	"fmt"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
)

// These tests change the Platform, which is everybody's, and put it back.

func editPlatform(t *testing.T, change func(*v1alpha1.Platform)) {
	t.Helper()
	eventually(t, func() error {
		p := get(t, "", v1alpha1.PlatformName, &v1alpha1.Platform{})
		change(p)
		return admin.Update(t.Context(), p)
	})
}

func TestNetworkModelChanges(t *testing.T) {
	onboard(t, "model", nil)
	t.Cleanup(func() {
		p := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}}
		if err := admin.Patch(cleanupContext(t), p, merge(`{"spec":{"network":{"model":"kubernetes"}}}`)); err != nil {
			t.Error(err)
		}
	})
	editPlatform(t, func(p *v1alpha1.Platform) { p.Spec.Network.Model = v1alpha1.NetworkCilium })
	eventually(t, func() error {
		return reasonIs(t, "model", tenant.ReasonNetworkModelMissing)
	})
	get(t, "model-dev", "ringfence-baseline", &networkingv1.NetworkPolicy{}) // the old one stays until the new one can be

	if err := cluster.Install(t.Context(), "../../../tenant/crds/ciliumnetworkpolicies.yaml"); err != nil {
		t.Fatal(err)
	}
	if err := cluster.AwaitCRD(t.Context(), "ciliumnetworkpolicies.cilium.io"); err != nil {
		t.Fatal(err)
	}
	exactly := func(want, unwanted client.Object) func() error {
		return func() error {
			if err := admin.Get(t.Context(), baselineKey, want); err != nil {
				return err
			}
			if err := admin.Get(t.Context(), baselineKey, unwanted); !apierrors.IsNotFound(err) {
				return fmt.Errorf("the baseline of the other model: %v", err)
			}
			return reasonIs(t, "model", tenant.ReasonActive)
		}
	}
	t.Logf("cilium's baseline alone after %v", eventually(t, exactly(cnp(), &networkingv1.NetworkPolicy{})))
	ciliumRights(t)
	editPlatform(t, func(p *v1alpha1.Platform) { p.Spec.Network.Model = v1alpha1.NetworkKubernetes })
	eventually(t, exactly(&networkingv1.NetworkPolicy{}, cnp()))
}

// baselineKey is the baseline of the test, of either model.
var baselineKey = client.ObjectKey{Namespace: "model-dev", Name: "ringfence-baseline"}

func cnp() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("cilium.io/v2")
	u.SetKind("CiliumNetworkPolicy")
	return u
}

// ciliumRights: under the model cilium a team writes policies of that kind alone, and not the baseline, whose drift is
// put right.
func ciliumRights(t *testing.T) {
	t.Helper()
	team := as(t, "oidc:model-admin")
	if err := team.Create(t.Context(), &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "model-dev", Name: "mine"}}); !apierrors.IsForbidden(err) {
		t.Errorf("a policy of the other model: %v, want Forbidden", err)
	}
	own := cnp()
	own.SetNamespace("model-dev")
	own.SetName("mine")
	own.Object["spec"] = map[string]any{"endpointSelector": map[string]any{}, "ingress": []any{map[string]any{}}}
	if err := team.Create(t.Context(), own); err != nil {
		t.Errorf("a policy of the model: %v", err)
	}
	edited := cnp()
	edited.SetNamespace("model-dev")
	edited.SetName("ringfence-baseline")
	if err := team.Patch(t.Context(), edited, merge(`{"spec":{"egress":[{"toEntities":["all"]}]}}`)); !apierrors.IsForbidden(err) {
		t.Errorf("the team edits the baseline: %v, want Forbidden", err)
	}
	if err := admin.Patch(t.Context(), edited, merge(`{"spec":{"egress":[{"toEntities":["all"]}]}}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		u := cnp()
		if err := admin.Get(t.Context(), baselineKey, u); err != nil {
			return err
		}
		if egress, _, err := unstructured.NestedSlice(u.Object, "spec", "egress"); err != nil || len(egress) != 3 {
			return fmt.Errorf("egress %v, %v", egress, err)
		}
		return nil
	})
}

func reasonIs(t *testing.T, name, want string) error {
	o := get(t, "", name, &v1alpha1.Tenant{})
	if len(o.Status.Conditions) != 1 || o.Status.Conditions[0].Reason != want {
		return fmt.Errorf("conditions %+v, want reason %s", o.Status.Conditions, want)
	}
	return nil
}

func TestPlatformReachesEveryGuard(t *testing.T) {
	onboard(t, "reach", nil)
	audits := func(want v1alpha1.Action) func() error {
		return func() error {
			var all v1alpha1.GuardList
			if err := admin.List(t.Context(), &all); err != nil {
				return err
			}
			for _, g := range all.Items {
				if g.DeletionTimestamp == nil && g.Spec.Actions["RF-WL-15"] != want && g.Namespace != "cordon-prod" {
					return fmt.Errorf("%s: %s, want %s", g.Namespace, g.Spec.Actions["RF-WL-15"], want)
				}
			}
			return nil
		}
	}
	editPlatform(t, func(p *v1alpha1.Platform) {
		p.Spec.Controls = map[string]v1alpha1.ControlRollout{"RF-WL-15": {Action: v1alpha1.Deny}}
	})
	t.Logf("every Guard says so after %v", eventually(t, audits(v1alpha1.Deny)).Round(time.Millisecond))
	editPlatform(t, func(p *v1alpha1.Platform) { p.Spec.Controls = nil })
	eventually(t, audits(v1alpha1.Warn))
}

// TestWithoutPlatform: a Platform that is gone changes nothing that stands, and lets nothing new in.
func TestWithoutPlatform(t *testing.T) {
	onboard(t, "orphan", nil)
	p := get(t, "", v1alpha1.PlatformName, &v1alpha1.Platform{})
	before := get(t, "orphan-dev", "guard", &v1alpha1.Guard{}).ResourceVersion
	if err := admin.Delete(t.Context(), p.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.ResourceVersion, p.UID = "", ""
		if err := admin.Create(cleanupContext(t), p); err != nil {
			t.Error(err)
		}
	})
	eventually(t, func() error { return reasonIs(t, "orphan", tenant.ReasonNoPlatform) })
	if err := admin.Create(t.Context(), newTenant("unborn", nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return reasonIs(t, "unborn", tenant.ReasonNoPlatform) })
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: "unborn-dev", Name: "guard"}, &v1alpha1.Guard{}); !apierrors.IsNotFound(err) {
		t.Errorf("a namespace of a tenant without a Platform: %v, want none", err)
	}
	if after := get(t, "orphan-dev", "guard", &v1alpha1.Guard{}).ResourceVersion; after != before {
		t.Error("the Guard was rewritten when the Platform went")
	}
}

// TestPoliciesCompile: the server found no fault in the expressions of the policies that protect.
func TestPoliciesCompile(t *testing.T) {
	var all admissionregistrationv1.ValidatingAdmissionPolicyList
	eventually(t, func() error {
		if err := admin.List(t.Context(), &all, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}); err != nil {
			return err
		}
		var faults []error
		for _, p := range all.Items {
			if p.Status.ObservedGeneration != p.Generation || p.Status.TypeChecking == nil {
				faults = append(faults, fmt.Errorf("%s is not checked yet", p.Name))
				continue
			}
			for _, w := range p.Status.TypeChecking.ExpressionWarnings {
				faults = append(faults, fmt.Errorf("%s: %s: %s", p.Name, w.FieldRef, w.Warning))
			}
		}
		return errors.Join(faults...)
	})
	objects, err := tenant.Protection()
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, o := range objects {
		if _, ok := o.(*admissionregistrationv1.ValidatingAdmissionPolicy); ok {
			want++
		}
	}
	if len(all.Items) != want || want == 0 {
		t.Errorf("%d policies, want %d", len(all.Items), want)
	}
}
