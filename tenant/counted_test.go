package tenant

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
)

// TestCounted: the status counts what is open in the tenant's own namespaces, says what the counts lack, and stays as it is where nothing is another.
func TestCounted(t *testing.T) {
	noon := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	old := &v1alpha1.FindingCounts{Critical: 9, Counted: metav1.NewTime(noon.Add(-time.Hour))}
	full := Scanned{Started: noon.Add(-time.Hour), Whole: true, Namespaces: map[string]Stock{
		"shop-dev":  {Open: map[finding.Severity]int{finding.Critical: 1, finding.High: 2}, Waived: 3},
		"shop-prod": {Open: map[finding.Severity]int{finding.High: 10, finding.Medium: 20, finding.Low: 30}, Waived: 4},
		"theirs":    {Open: map[finding.Severity]int{finding.Critical: 100}, Unjudged: true, Waiting: noon.Add(-time.Hour)},
		"other-dev": {Open: map[finding.Severity]int{finding.Critical: 100}},
	}}
	with := func(namespace string, change func(*Stock)) Scanned {
		s := full
		s.Namespaces = map[string]Stock{}
		for name, stock := range full.Namespaces {
			if name == namespace {
				change(&stock)
			}
			s.Namespaces[name] = stock
		}
		return s
	}
	counts := &v1alpha1.FindingCounts{Critical: 1, High: 12, Medium: 20, Low: 30, Waived: 7, Counted: metav1.NewTime(noon)}
	unread := full
	unread.Unread = []string{"a", "b", "c", "d", "e", "f"}
	for name, test := range map[string]struct {
		scanned Scanned
		want    *v1alpha1.FindingCounts
		reason  string // "" for no condition
	}{
		"all is seen":                {full, counts, ReasonSeen},
		"no scan":                    {Scanned{Off: true}, nil, ReasonNotScanned},
		"a scan that began now":      {Scanned{Started: noon.Add(-58 * time.Second)}, old, ""},
		"a scan that takes long":     {Scanned{Started: noon.Add(-time.Minute)}, old, ReasonNotJudged},
		"a kind cannot be read":      {unread, counts, ReasonNotRead},
		"a namespace has no rule":    {with("shop-dev", func(s *Stock) { s.Unjudged = true }), counts, ReasonNotGuarded},
		"something changed now":      {with("shop-dev", func(s *Stock) { s.Waiting = noon.Add(-time.Second) }), old, ""},
		"something changed long ago": {with("shop-dev", func(s *Stock) { s.Waiting = noon.Add(-time.Minute) }), counts, ReasonBehind},
	} {
		t.Run(name, func(t *testing.T) {
			tenant := &v1alpha1.Tenant{Status: v1alpha1.TenantStatus{Findings: old, Environments: []v1alpha1.EnvironmentStatus{
				{Namespace: "shop-dev", Phase: v1alpha1.EnvironmentActive}, {Namespace: "shop-prod", Phase: v1alpha1.EnvironmentCordoned},
				{Namespace: "theirs", Phase: v1alpha1.EnvironmentRefused}}}}
			got := counted(tenant, test.scanned, time.Minute, noon)
			if diff := cmp.Diff(test.want, got.Findings); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			c := apimeta.FindStatusCondition(got.Conditions, ConditionScanned)
			if (c == nil) != (test.reason == "") || c != nil && (c.Reason != test.reason || (c.Status == metav1.ConditionTrue) != (test.reason == ReasonSeen)) {
				t.Errorf("condition %+v, want the reason %q", c, test.reason)
			}
			tenant.Status = got
			if diff := cmp.Diff(got, counted(tenant, test.scanned, time.Minute, noon.Add(time.Second))); diff != "" {
				t.Errorf("a second later, with nothing another (-was +is):\n%s", diff)
			}
		})
	}
	tenant := &v1alpha1.Tenant{}
	if got := counted(tenant, unread, time.Minute, noon).Conditions[0].Message; got != "Ringfence cannot list or watch a, b, c, d, e and 1 more, and knows nothing of them; fix: give it the right; its log says more" {
		t.Errorf("the message is %q", got)
	}
}
