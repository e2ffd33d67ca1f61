package guardrails

import (
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// TestSuspension: the emergency exit. What is suspended is let in, what is not is refused as ever, and it closes by itself.
func TestSuspension(t *testing.T) {
	b := newBed(t)
	ns := b.namespace(t)
	hostile := func() error { return b.admin.Create(t.Context(), privileged(pod(ns)), client.DryRunAll) }
	shared := func() error {
		p := pod(ns)
		p.Spec.HostPID = true
		return b.admin.Create(t.Context(), p, client.DryRunAll)
	}
	ringfencetest.Eventually(t, "refusals", func() error {
		if err := ringfencetest.RefusedBy(hostile(), "RF-WL-01"); err != nil {
			return err
		}
		return ringfencetest.RefusedBy(shared(), "RF-WL-02")
	})
	var platform v1alpha1.Platform
	if err := b.admin.Get(t.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, &platform); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(20 * time.Second).UTC().Truncate(time.Second)
	before := platform.DeepCopy()
	platform.Spec.Suspensions = []v1alpha1.Suspension{{Controls: []string{"RF-WL-01"}, Expires: end.Format(time.RFC3339), Ticket: "INC4711", Reason: "payments are down"}}
	if err := b.admin.Patch(t.Context(), &platform, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the gate to open", hostile)
	if err := ringfencetest.RefusedBy(shared(), "RF-WL-02"); err != nil {
		t.Errorf("what is not suspended: %v", err)
	}
	if time.Now().After(end) {
		t.Fatal("the gate opened only after its end")
	}
	ringfencetest.Eventually(t, "the gate to close by itself", func() error { return ringfencetest.RefusedBy(hostile(), "RF-WL-01") })
	if early := time.Until(end); early > 0 {
		t.Errorf("the gate closed %v before its end", early)
	}
}
