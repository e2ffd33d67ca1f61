package policy

import (
	"testing"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
)

// TestDebt: what Kubernetes' own controllers create is a debt to the second, and nothing else is.
func TestDebt(t *testing.T) {
	guard, err := NewGuard(v1alpha1.GuardSpec{Debts: map[string]v1alpha1.Instant{"RF-WL-08": "2026-11-21T12:00:00Z"}})
	if err != nil {
		t.Fatal(err)
	}
	controller := control.WorkloadControllers()[1]
	before := time.Date(2026, 11, 21, 11, 59, 59, 0, time.UTC)
	pod, deployment := control.Kind{Kind: "Pod", Resource: "pods"}, control.Kind{APIGroup: "apps", Kind: "ReplicaSet", Resource: "replicasets", Template: true}
	for name, test := range map[string]struct {
		user, operation, id string
		kind                control.Kind
		now                 time.Time
		want                bool
	}{
		"a pod":           {controller, "CREATE", "RF-WL-08", pod, before, true},
		"a ReplicaSet":    {controller, "CREATE", "RF-WL-08", deployment, before, true},
		"at the end":      {controller, "CREATE", "RF-WL-08", pod, before.Add(time.Second), false},
		"without a clock": {controller, "CREATE", "RF-WL-08", pod, time.Time{}, false},
		"an update":       {controller, "UPDATE", "RF-WL-08", pod, before, false},
		"another control": {controller, "CREATE", "RF-WL-07", pod, before, false},
		"a person":        {"oidc:dave", "CREATE", "RF-WL-08", pod, before, false},
		"a Secret":        {controller, "CREATE", "RF-WL-08", control.Kind{Kind: "Secret", Resource: "secrets"}, before, false},
	} {
		got := debt(Input{Guard: guard, Username: test.user, Operation: test.operation, Now: test.now}, test.kind, test.id)
		if (got != nil) != test.want || got != nil && (got.Name != DebtName || got.Expires != "2026-11-21T12:00:00Z") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
