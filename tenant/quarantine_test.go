package tenant

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPlanLeavesQuarantinesOut: what leaves quarantined pods out of the baseline stays, and nothing else that was added does.
func TestPlanLeavesQuarantinesOut(t *testing.T) {
	o, w := newTenant(nil), world{}
	settle(t, w, newPlatform(nil), o)
	quarantine := metav1.LabelSelectorRequirement{Key: "quarantine.ringfence.dev/q", Operator: metav1.LabelSelectorOpDoesNotExist}
	for what, tc := range map[string]struct {
		add  []metav1.LabelSelectorRequirement
		kept int
	}{
		"a quarantine":               {[]metav1.LabelSelectorRequirement{quarantine}, 1},
		"pods of a quarantine alone": {[]metav1.LabelSelectorRequirement{{Key: quarantine.Key, Operator: metav1.LabelSelectorOpExists}}, 0},
		"another label":              {[]metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpDoesNotExist}}, 0},
		"both":                       {[]metav1.LabelSelectorRequirement{quarantine, {Key: "app", Operator: metav1.LabelSelectorOpDoesNotExist}}, 1},
	} {
		l := w["payments-dev"]
		l.Policy = l.Policy.DeepCopy()
		l.Policy.Spec.PodSelector.MatchExpressions = tc.add
		w["payments-dev"] = l
		done := settle(t, w, newPlatform(nil), o)
		if got := len(w["payments-dev"].Policy.Spec.PodSelector.MatchExpressions); got != tc.kept || (len(done) == 0) != (tc.kept == len(tc.add)) {
			t.Errorf("%s: %d conditions are left, want %d; changes: %v", what, got, tc.kept, done)
		}
	}
}
