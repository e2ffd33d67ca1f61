package guardrails

import (
	"fmt"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/tenant"
)

// TestTenantUnderRules: what Ringfence writes for a tenant stands beside its own rules, which all deny here: pipelines are bound by name,
// people keep what shows them their namespaces, and an Ingress names no class but the tenant's.
func TestTenantUnderRules(t *testing.T) {
	b := newBed(t)
	o := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "ruled"}, Spec: v1alpha1.TenantSpec{
		Owner: "ruled@bank.example", Groups: v1alpha1.TenantGroups{Admin: "ruled-admin", ReadOnly: "ruled-ro"}, Environments: []v1alpha1.Environment{{Name: "dev"}},
		Controls:       map[string]v1alpha1.Action{"RF-ID-09": v1alpha1.Deny, "RF-ID-11": v1alpha1.Deny, "RF-NW-10": v1alpha1.Deny},
		IngressClasses: []string{"internal"}, Grants: v1alpha1.Grants{Hosts: []string{"ruled.bank.example"}},
		Pipelines: []v1alpha1.Pipeline{{Name: "ci", Environments: []string{"dev"}, OIDC: &v1alpha1.PipelineOIDC{Issuer: "https://ci.bank.example", Subject: "repo:ruled"}}},
	}}
	if err := b.admin.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the tenant to be ready", func() error {
		if err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(o.Status.Conditions, tenant.ConditionReady) {
			return fmt.Errorf("conditions: %v", o.Status.Conditions)
		}
		return nil
	})
	var bound rbacv1.RoleBinding
	if err := b.admin.Get(t.Context(), client.ObjectKey{Namespace: "ruled-dev", Name: "ringfence-pipeline-ci"}, &bound); err != nil {
		t.Fatal(err)
	}
	other := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "ruled-dev", Name: "theirs"}, RoleRef: bound.RoleRef,
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "https://ci.bank.example#repo:other"}}}
	ringfencetest.Eventually(t, "a pipeline of nobody to be refused", func() error {
		err := b.admin.Create(t.Context(), other.DeepCopy(), client.DryRunAll)
		if ringfencetest.RefusedBy(err, "RF-ID-09") == nil {
			return nil
		}
		return ringfencetest.RefusedBy(err, "RF-ID-11")
	})

	ingress := func(class string) *networkingv1.Ingress {
		prefix := networkingv1.PathTypePrefix
		return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "ruled-dev", Name: "api"}, Spec: networkingv1.IngressSpec{
			IngressClassName: &class, TLS: []networkingv1.IngressTLS{{Hosts: []string{"ruled.bank.example"}, SecretName: "tls"}},
			Rules: []networkingv1.IngressRule{{Host: "ruled.bank.example", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
				Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "api", Port: networkingv1.ServiceBackendPort{Number: 443}}}}},
			}}}},
		}}
	}
	if err := b.admin.Create(t.Context(), ingress("internal"), client.DryRunAll); err != nil {
		t.Errorf("an Ingress of the tenant's class: %v", err)
	}
	if err := ringfencetest.RefusedBy(b.admin.Create(t.Context(), ingress("public"), client.DryRunAll), "RF-NW-10"); err != nil {
		t.Error(err)
	}

	// Whoever keeps the roles of all tenants in place leaves those of one alone.
	var sight rbacv1.ClusterRole
	if err := b.admin.Get(t.Context(), client.ObjectKey{Name: tenant.SightPrefix + "ruled"}, &sight); err != nil {
		t.Fatal(err)
	}
	before := sight.UID
	if err := b.admin.Delete(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: tenant.RolePipeline}}); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the role of all pipelines to come back", func() error {
		return b.admin.Get(t.Context(), client.ObjectKey{Name: tenant.RolePipeline}, &rbacv1.ClusterRole{})
	})
	if err := b.admin.Get(t.Context(), client.ObjectKey{Name: tenant.SightPrefix + "ruled"}, &sight); err != nil || sight.UID != before {
		t.Errorf("what shows people their namespaces was removed: %v", err)
	}
	if err := b.admin.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}
