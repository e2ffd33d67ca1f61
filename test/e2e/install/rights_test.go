package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/install/setup"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/policy/bundle"
)

// TestUnused: a right that TestInstall does not bring about is a right all the same. Whoever takes one away fails here, or there.
func TestUnused(t *testing.T) {
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	rights, err := setup.Rights(cat)
	if err != nil {
		t.Fatal(err)
	}
	every := []string{"create", "delete", "get", "list", "update", "watch"}
	for right, why := range unused {
		part := strings.Split(right, " ")
		if !slices.ContainsFunc(rights, func(r setup.Right) bool {
			return r.Group == part[0] && slices.Contains(r.Resources, part[1]) &&
				(slices.Contains(r.Verbs, part[2]) || part[2] == "*" && slices.Equal(slices.Sorted(slices.Values(r.Verbs)), every))
		}) {
			t.Errorf("Ringfence's account has no right to %s, which it needs: %s", right, why)
		}
	}
}

// planned: the plan names the kind of everything that Ringfence made, as the events from one on say.
func (b *bed) planned(t *testing.T, since int) {
	t.Helper()
	code, out, stderr := ringfence(t, "install", "--kubeconfig", cluster.Kubeconfig, "-f", b.values, "-o", "json")
	var p setup.Plan
	if err := json.Unmarshal([]byte(out), &p); err != nil || code != 0 || len(p.Removed) > 0 {
		t.Fatalf("install -o json: exit %d %v %s; it would remove %v, want nothing", code, err, stderr, p.Removed)
	}
	kinds := map[string]bool{"Event": true}
	for _, o := range p.Kept {
		kinds[o.Kind] = true
	}
	for _, e := range events.all()[since:] {
		if e.ObjectRef == nil || e.ObjectRef.Subresource != "" || e.ResponseStatus.Code != 201 || strings.Contains(e.RequestURI, "dryRun=") || strings.HasPrefix(e.ObjectRef.APIGroup, "auth") {
			continue
		}
		made, err := b.admin.RESTMapper().KindFor(schema.GroupVersionResource{Group: e.ObjectRef.APIGroup, Resource: e.ObjectRef.Resource})
		if err != nil {
			t.Fatal(err)
		}
		if !kinds[made.Kind] {
			kinds[made.Kind] = true // once is enough
			t.Errorf("Ringfence made %s %s, a kind that the plan does not name", made.Kind, e.RequestURI)
		}
	}
}

// TestOlder: on an older server the webhook fills in, with the rights of the chart alone, and comes back where it is taken away.
func TestOlder(t *testing.T) {
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	fresh(t, clustertest.Emulated("1.34"))
	before := len(events.all())
	b := newBed(t, first, "")
	t.Cleanup(func() {
		if t.Failed() {
			sufficient(t)
		}
	})
	if _, err := b.admin.RESTMapper().KindFor(admissionv1.SchemeGroupVersion.WithResource("mutatingadmissionpolicies")); err == nil {
		t.Skip("this cluster serves MutatingAdmissionPolicy, and it cannot be taken away from it")
	}
	code, out, stderr := ringfence(t, "install", "--kubeconfig", cluster.Kubeconfig)
	if code != 0 || !strings.Contains(out, "Kubernetes 1.34") || !strings.Contains(out, "MutatingWebhookConfiguration ringfence-mutation: this server does not serve MutatingAdmissionPolicy v1") {
		t.Errorf("install: exit %d %s\n%s, want the webhook to fill in", code, stderr, out)
	}
	b.guards(t)
	p := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}}
	if err := b.admin.Patch(t.Context(), p, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"metadata":{"requiredLabels":["cost-centre"]}}}`))); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the rules to be in force, and the webhook to fill in", func() error {
		return ringfencetest.InForce(t.Context(), b.admin, bundle.ConditionMutated)
	})
	b.fillsIn(t)
	filling := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "ringfence-mutation"}}
	if err := b.admin.Delete(t.Context(), filling); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the webhook to be back", func() error {
		return b.admin.Get(t.Context(), client.ObjectKeyFromObject(filling), &admissionv1.MutatingWebhookConfiguration{})
	})
	b.fillsIn(t)
	ringfencetest.Eventually(t, "the rights that an older server needs to be used", func() error { // events come some seconds later
		used := usedIn(events.all()[before:])
		var faults []error
		for _, right := range []string{"admissionregistration.k8s.io mutatingwebhookconfigurations create", " configmaps get", " configmaps update"} {
			if !used[right] {
				faults = append(faults, fmt.Errorf("not used: %s", right))
			}
		}
		return errors.Join(faults...)
	})
	b.planned(t, before)
	sufficient(t)
}

// fillsIn waits until an object gets the label of its namespace that the Platform asks for.
func (b *bed) fillsIn(t *testing.T) {
	t.Helper()
	ringfencetest.Eventually(t, "the label of the namespace to be copied", func() error {
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "filled"}}
		if err := b.admin.Create(t.Context(), o, client.DryRunAll); err != nil {
			return err
		}
		if o.Labels["cost-centre"] == "" {
			return errors.New("it is absent")
		}
		return nil
	})
}
