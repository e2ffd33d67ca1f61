package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
	"ringfence.dev/ringfence/tenant"
)

// definitions are those of Ringfence's kinds.
var definitions = map[string]bool{"platforms.ringfence.dev": true, "tenants.ringfence.dev": true, "waivers.ringfence.dev": true, "guards.ringfence.dev": true}

func serializer() runtime.NegotiatedSerializer { return clientscheme.Codecs.WithoutConversion() }

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// definition reads one.
func (b *bed) definition(t *testing.T, name string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	var crd apiextensionsv1.CustomResourceDefinition
	if err := b.Get(t.Context(), client.ObjectKey{Name: name}, &crd); err != nil {
		t.Fatal(err)
	}
	return &crd
}

// text is a definition's spec, to be compared.
func text(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition) string {
	t.Helper()
	all, err := json.Marshal(crd.Spec)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

// kindEdited: a kind whose schema is weakened, that is no longer served, or that is to be converted by somebody, is put back as
// it was; and one that is as it must be is not written.
func (b *bed) kindEdited(t *testing.T) {
	for _, tc := range []struct {
		name, kind string
		spoil      func(*apiextensionsv1.CustomResourceDefinitionSpec)
	}{
		{"fields that nobody checks", "platforms.ringfence.dev", func(s *apiextensionsv1.CustomResourceDefinitionSpec) {
			spec := s.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
			spec.XPreserveUnknownFields = new(true)
			s.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"] = spec
		}},
		{"rules taken away", "waivers.ringfence.dev", func(s *apiextensionsv1.CustomResourceDefinitionSpec) {
			s.Versions[0].Schema.OpenAPIV3Schema.XValidations = nil
			spec := s.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
			spec.XValidations, spec.Required = nil, nil
			s.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"] = spec
		}},
		{"no longer served", "tenants.ringfence.dev", func(s *apiextensionsv1.CustomResourceDefinitionSpec) { s.Versions[0].Served = false }},
		{"converted by somebody", "tenants.ringfence.dev", func(s *apiextensionsv1.CustomResourceDefinitionSpec) {
			s.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
				ConversionReviewVersions: []string{"v1"}, ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: new("https://evil.example/convert")}}}
		}},
	} {
		crd := b.definition(t, tc.kind)
		want := text(t, crd)
		tc.spoil(&crd.Spec)
		if text(t, crd) == want {
			t.Fatalf("%s: nothing was spoilt", tc.name)
		}
		if err := b.Update(t.Context(), crd); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		begun := time.Now()
		ringfencetest.Eventually(t, tc.name+": to be put back", func() error {
			if got := text(t, b.definition(t, tc.kind)); got != want {
				return errors.New("it is not as it was")
			}
			return nil
		})
		t.Logf("%s: put back after %v", tc.name, time.Since(begun).Round(time.Millisecond))
	}
	before := b.definition(t, "guards.ringfence.dev").ResourceVersion
	ringfencetest.Eventually(t, "the tenant to be served again", b.reason(t, tenant.ReasonActive))
	if after := b.definition(t, "guards.ringfence.dev").ResourceVersion; after != before {
		t.Error("a definition that is as it must be was written")
	}
}

// guardsDeleted: where the kind of the Guards alone is deleted, the Guards of every namespace of a tenant are let go and made again as
// they were; the tenant has two, and the second must not wait for the first.
func (b *bed) guardsDeleted(t *testing.T) {
	was := map[string]v1alpha1.Guard{"team-dev": b.guard(t, "team-dev"), "team-prod": b.guard(t, "team-prod")}
	begun := time.Now()
	if err := b.Delete(t.Context(), b.definition(t, "guards.ringfence.dev")); err != nil {
		t.Fatal(err)
	}
	for namespace, before := range was {
		ringfencetest.Eventually(t, "the Guard of "+namespace+" to be back", func() error {
			var g v1alpha1.Guard
			if err := b.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: v1alpha1.GuardName}, &g); err != nil {
				return err
			}
			if g.UID == before.UID || !equality.Semantic.DeepEqual(g.Spec.Actions, before.Spec.Actions) {
				return fmt.Errorf("deleted %v", g.DeletionTimestamp)
			}
			return nil
		})
	}
	t.Logf("the Guards are back after %v", time.Since(begun).Round(time.Millisecond))
	ringfencetest.Eventually(t, "RF-WL-01 to refuse again in its own words", func() error { return b.bad(t.Context(), "team-dev") })
	ringfencetest.Eventually(t, "a good pod to be let in", func() error { return b.good(t.Context(), "team-prod") })
	ringfencetest.Eventually(t, "the tenant to be ready", b.reason(t, tenant.ReasonActive))
}

// startedMeanwhile: a Ringfence that starts while the kind of the Guards is being deleted, and waits for nobody but Ringfence, lets the
// Guards go and has them back.
func (b *bed) startedMeanwhile(t *testing.T) {
	before := b.guard(t, "team-prod")
	if err := b.Delete(t.Context(), b.definition(t, "guards.ringfence.dev")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // it would have gone by now
	if b.definition(t, "guards.ringfence.dev").DeletionTimestamp == nil {
		t.Fatal("the definition is not being deleted: nothing is tried here")
	}
	stop := b.ringfence(t, server.Config{})
	defer stop()
	begun := time.Now()
	ringfencetest.Eventually(t, "the Guard to be made anew", func() error {
		var g v1alpha1.Guard
		if err := b.Get(t.Context(), client.ObjectKey{Namespace: "team-prod", Name: v1alpha1.GuardName}, &g); err != nil {
			return err
		}
		if g.UID == before.UID {
			return fmt.Errorf("deleted %v", g.DeletionTimestamp)
		}
		return nil
	})
	t.Logf("the Guards are back %v after the start", time.Since(begun).Round(time.Millisecond))
	ringfencetest.Eventually(t, "a good pod to be let in", func() error { return b.good(t.Context(), "team-prod") })
	ringfencetest.Eventually(t, "the tenant to be ready", b.reason(t, tenant.ReasonActive))
}

// kindsDeleted: with every kind of Ringfence deleted, and with it every object, nothing that was refused is let in at any
// moment, and nobody loses a namespace or rights in it. The kinds and the Guards come back by themselves; the Platform and
// the tenants when the bank applies them again.
func (b *bed) kindsDeleted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	admitted, done := atomic.Int64{}, make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if errors.Is(b.bad(ctx, "team-dev"), errAdmitted) {
				admitted.Add(1)
			}
		}
	}()
	was := map[string]*apiextensionsv1.CustomResourceDefinition{}
	begun := time.Now()
	for name := range definitions {
		was[name] = b.definition(t, name)
		if err := b.Delete(t.Context(), was[name].DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}
	for name := range definitions {
		ringfencetest.Eventually(t, name+" to be back", func() error {
			var crd apiextensionsv1.CustomResourceDefinition
			if err := b.Get(t.Context(), client.ObjectKey{Name: name}, &crd); err != nil {
				return err
			}
			if crd.UID == was[name].UID || text(t, &crd) != text(t, was[name]) {
				return fmt.Errorf("deleted %v", crd.DeletionTimestamp)
			}
			return nil
		})
	}
	t.Logf("every kind is back after %v", time.Since(begun).Round(time.Millisecond))
	ringfencetest.Eventually(t, "the Guards to be back", func() error {
		var g v1alpha1.Guard
		return b.Get(t.Context(), client.ObjectKey{Namespace: "team-dev", Name: v1alpha1.GuardName}, &g)
	})
	t.Logf("the Guards are back after %v", time.Since(begun).Round(time.Millisecond))
	ringfencetest.Eventually(t, "RF-WL-01 to refuse again in its own words", func() error { return b.bad(t.Context(), "team-dev") })
	t.Logf("the API server judges with them after %v", time.Since(begun).Round(time.Millisecond))
	var ns corev1.Namespace
	var rights rbacv1.RoleBindingList
	if err := errors.Join(b.Get(t.Context(), client.ObjectKey{Name: "team-dev"}, &ns), b.List(t.Context(), &rights, client.InNamespace("team-dev"))); err != nil {
		t.Fatal(err)
	}
	if ns.DeletionTimestamp != nil || ns.Labels[v1alpha1.LabelCordoned] != "" || ns.Labels[v1alpha1.LabelTenant] != team || len(rights.Items) == 0 {
		t.Errorf("namespace %+v with %d role bindings; want it as it was", ns.ObjectMeta, len(rights.Items))
	}
	ringfencetest.Eventually(t, "the Platform to be applied again", func() error { return client.IgnoreAlreadyExists(b.Create(t.Context(), platform())) })
	ringfencetest.Eventually(t, "the tenant to be applied again", func() error { return client.IgnoreAlreadyExists(b.Create(t.Context(), newTeam())) })
	ringfencetest.Eventually(t, "the tenant to be ready", b.reason(t, tenant.ReasonActive))
	ringfencetest.Eventually(t, "the rules to be in force", b.enforced(t))
	ringfencetest.Eventually(t, "a good pod to be let in", func() error { return b.good(t.Context(), "team-dev") })
	t.Logf("all is as before after %v", time.Since(begun).Round(time.Millisecond))
	stop()
	if <-done; admitted.Load() > 0 {
		t.Errorf("%d privileged pods would have been let in meanwhile", admitted.Load())
	}
}
