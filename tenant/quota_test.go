package tenant

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// amounts reads "cpu=3 pods=10".
func amounts(text string) map[string]resource.Quantity {
	out := map[string]resource.Quantity{}
	for _, field := range strings.Fields(text) {
		key, amount, _ := strings.Cut(field, "=")
		out[key] = resource.MustParse(amount)
	}
	return out
}

// divided is a tenant with a total and one environment for each own quota.
func dividing(each, total string, own ...string) *v1alpha1.Tenant {
	return newTenant(func(t *v1alpha1.Tenant) {
		t.Spec.Quota, t.Spec.TotalQuota, t.Spec.Environments = amounts(each), amounts(total), nil
		for i, quota := range own {
			t.Spec.Environments = append(t.Spec.Environments, v1alpha1.Environment{Name: fmt.Sprintf("e%d", i), Quota: amounts(quota)})
		}
	})
}

func told(hard corev1.ResourceList) string {
	var out []string
	for name, amount := range hard {
		out = append(out, string(name)+"="+amount.String())
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestShares(t *testing.T) {
	for _, tc := range []struct {
		name, each, total string
		own, want         []string
		over              string
	}{
		{"no total", "pods=5", "", []string{"", "pods=7"}, []string{"pods=5", "pods=7"}, ""},
		{"all share", "", "pods=10 requests.cpu=2", []string{"", "", ""}, []string{"pods=3 requests.cpu=666m", "pods=3 requests.cpu=666m", "pods=3 requests.cpu=666m"}, ""},
		{"stated first, the rest shared", "", "pods=120", []string{"", "pods=20", ""}, []string{"pods=50", "pods=20", "pods=50"}, ""},
		{"bytes in whole", "", "requests.memory=10Gi", []string{"", "", ""}, []string{"requests.memory=3579139413", "requests.memory=3579139413", "requests.memory=3579139413"}, ""},
		{"more stated than there is", "pods=8", "pods=10", []string{"", ""}, []string{"pods=8", "pods=2"}, "pods"},
		{"nothing left", "pods=10", "pods=10", []string{"", ""}, []string{"pods=10", "pods=0"}, "pods"},
		{"huge", "", "requests.storage=9E", []string{"", ""}, []string{"requests.storage=4500P", "requests.storage=4500P"}, ""},
		{"a tenth of a byte", "", "requests.memory=1500m", []string{"", ""}, []string{"requests.memory=0", "requests.memory=0"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := dividing(tc.each, tc.total, tc.own...)
			var got []string
			for _, hard := range shares(o) {
				got = append(got, told(hard))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("shares = %q, want %q", got, tc.want)
			}
			for key := range overdrawn(o) {
				if key != tc.over {
					t.Errorf("%s is overdrawn", key)
				}
			}
			if tc.over != "" && len(overdrawn(o)) == 0 {
				t.Errorf("%s is not seen as overdrawn", tc.over)
			}
		})
	}
}

// TestTotalIsNeverExceeded changes totals and shares back and forth and writes one ResourceQuota at a time, in every order in which
// environments can stand: after each single write, where Ringfence may be stopped for ever, the sum is at most the larger of the total and of
// what it was, and in the end every environment has its share.
func TestTotalIsNeverExceeded(t *testing.T) {
	p := newPlatform(nil)
	w := world{}
	steps := []*v1alpha1.Tenant{
		dividing("", "pods=10", "", ""),
		dividing("", "pods=10", "pods=9", ""),
		dividing("", "pods=10", "", "pods=9"),
		dividing("", "pods=4", "", ""),
		dividing("", "pods=30", "pods=1", "", ""),
		dividing("pods=8", "pods=10", "", ""),
		dividing("", "pods=10", "pods=0", "", ""),
	}
	sum := func() (n int64) {
		for _, live := range w {
			if live.Quota != nil {
				amount := live.Quota.Spec.Hard[corev1.ResourcePods]
				n += amount.Value()
			}
		}
		return n
	}
	for i, o := range steps {
		total := o.Spec.TotalQuota["pods"]
		for round := 0; ; round++ {
			wrote := false
			for _, plan := range Plan(w.input(p, o)) {
				for _, c := range plan.Changes {
					before := sum()
					w.do([]Change{c})
					if wrote = true; sum() > max(total.Value(), before) {
						t.Fatalf("step %d round %d: after %s the sum is %d, was %d, and the total %s", i, round, c, sum(), before, total.String())
					}
				}
			}
			if !wrote {
				break
			}
			if round > 5 {
				t.Fatalf("step %d: it never comes to rest", i)
			}
		}
		for j, hard := range shares(o) {
			if got := w[NamespaceOf(o, o.Spec.Environments[j])].Quota.Spec.Hard; told(got) != told(hard) && len(w) == len(o.Spec.Environments) {
				t.Errorf("step %d: environment %d has %s, want %s", i, j, told(got), told(hard))
			}
		}
	}
}

// TestTotalCountsWhatIsGivenUp: a namespace that the tenant gives up and that still runs keeps its share, and nobody else gets it.
func TestTotalCountsWhatIsGivenUp(t *testing.T) {
	o := dividing("", "pods=10", "", "")
	w := world{}
	for range 2 {
		for _, plan := range Plan(w.input(newPlatform(nil), o)) {
			w.do(plan.Changes)
		}
	}
	live := w["payments-e0"]
	live.Workloads = "pods"
	w["payments-e0"] = live
	o.Spec.Environments = o.Spec.Environments[1:]
	for range 3 {
		for _, plan := range Plan(w.input(newPlatform(nil), o)) {
			w.do(plan.Changes)
		}
	}
	if got := told(w["payments-e1"].Quota.Spec.Hard); got != "pods=5" {
		t.Errorf("while e0 runs, e1 has %s, want pods=5", got)
	}
	delete(w, "payments-e0")
	for _, plan := range Plan(w.input(newPlatform(nil), o)) {
		w.do(plan.Changes)
	}
	if got := told(w["payments-e1"].Quota.Spec.Hard); got != "pods=10" {
		t.Errorf("once e0 is gone, e1 has %s, want pods=10", got)
	}
}

func TestCordon(t *testing.T) {
	o := newTenant(func(t *v1alpha1.Tenant) {
		t.Spec.Cordon = &v1alpha1.Cordon{Reason: "review", Ticket: "INC1"}
		t.Spec.Pipelines = []v1alpha1.Pipeline{{Name: "ci", Environments: []string{"dev"}, OIDC: &v1alpha1.PipelineOIDC{Issuer: "https://ci", Subject: "s"}}}
	})
	w := world{}
	for _, plan := range Plan(w.input(newPlatform(nil), o)) {
		w.do(plan.Changes)
		if plan.Status.Phase != v1alpha1.EnvironmentCordoned || plan.Reason != ReasonCordoned || !strings.Contains(plan.Status.Message, "INC1") {
			t.Errorf("status %+v, reason %s", plan.Status, plan.Reason)
		}
	}
	dev := w["payments-dev"]
	if len(dev.Bindings) != 1 || len(dev.Bindings[RoleReadOnly].Subjects) != 2 {
		t.Errorf("bindings %v, want both groups looking and nothing else", dev.Bindings)
	}
	if got := told(dev.Quota.Spec.Hard); !strings.Contains(got, "count/deployments.apps=0") {
		t.Errorf("quota %s", got)
	}
	o.Spec.Cordon = nil
	for _, plan := range Plan(w.input(newPlatform(nil), o)) {
		w.do(plan.Changes)
	}
	if dev = w["payments-dev"]; dev.Quota != nil || dev.Bindings[pipelinePrefix+"ci"] == nil || dev.Bindings[RoleAdmin] == nil || dev.Namespace.Labels[v1alpha1.LabelCordoned] != "" {
		t.Errorf("after the cordon: quota %v, bindings %v, labels %v", dev.Quota, dev.Bindings, dev.Namespace.Labels)
	}
	if got := dev.Bindings[pipelinePrefix+"ci"].Subjects[0]; got.Kind != "User" || got.Name != "https://ci#s" {
		t.Errorf("the pipeline is bound as %+v", got)
	}
	if w["payments-prod"].Bindings[pipelinePrefix+"ci"] != nil {
		t.Error("the pipeline of dev is bound in prod")
	}
}

// TestOffboarding: nothing happens before another person approved, then rights end, and the namespaces go when the time is over and
// not a second before.
func TestOffboarding(t *testing.T) {
	p, w := newPlatform(nil), world{}
	o := newTenant(nil)
	run := func() (outcomes []outcome) {
		in := w.input(p, o)
		for _, plan := range Plan(in) {
			w.do(plan.Changes)
			outcomes = append(outcomes, outcome{plan, nil})
		}
		o.Status = statusOf(o, outcomes, in.Now)
		return outcomes
	}
	run()
	o.Spec.Offboarding = &v1alpha1.Offboarding{Reason: "sold", Ticket: "CHG1", Requester: "anna", Keep: metav1.Duration{Duration: 1000}}
	if run(); len(w["payments-dev"].Bindings) == 0 || o.Status.Offboarding != nil {
		t.Error("rights end before anybody approved")
	}
	o.Spec.Offboarding.Approver = "anna"
	if run(); len(w["payments-dev"].Bindings) == 0 {
		t.Error("rights end although the approver is the requester")
	}
	o.Spec.Offboarding.Approver = "ben"
	elevated := w["payments-dev"]
	elevated.Elevations = []v1alpha1.Elevation{{Status: v1alpha1.ElevationStatus{Phase: v1alpha1.ElevationActive}}}
	w["payments-dev"] = elevated
	if run(); len(w["payments-dev"].Bindings) != 0 || o.Status.Offboarding != nil || !strings.Contains(o.Status.Environments[0].Message, "elevation") {
		t.Errorf("somebody has an elevation: status %+v, want nobody to be told that access is removed", o.Status)
	}
	elevated = w["payments-dev"]
	elevated.Elevations[0].Status.Phase = v1alpha1.ElevationEnded
	if run(); len(w["payments-dev"].Bindings) != 0 || o.Status.Offboarding == nil || w["payments-dev"].Guard == nil {
		t.Errorf("approved: bindings %v, status %v", w["payments-dev"].Bindings, o.Status.Offboarding)
	}
	in := w.input(p, o)
	for _, tc := range []struct {
		late int
		want bool
	}{{-1, false}, {0, true}} {
		in.Now = o.Status.Offboarding.Deletes.Add(0)
		if tc.late < 0 {
			in.Now = in.Now.Add(-1)
		}
		gone := false
		for _, plan := range Plan(in) {
			for _, c := range plan.Changes {
				gone = gone || c.String() == "delete Namespace payments-dev"
			}
		}
		if gone != tc.want {
			t.Errorf("at the end %+d ns: deleted %t, want %t", tc.late, gone, tc.want)
		}
	}
}
