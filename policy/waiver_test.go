package policy

import (
	"testing"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// always fails one control for every object of its kind.
type always struct{ kind control.Kind }

func (a always) Match(apiVersion, kind string) (control.Kind, bool) {
	return a.kind, kind == a.kind.Kind
}

func (a always) Judge(Input) []Result {
	return []Result{{Control: &control.Control{ID: "RF-WL-01"}, Violations: []Violation{{"x", "/spec"}}}}
}

// TestWaived says which objects a waiver covers, and when.
func TestWaived(t *testing.T) {
	pod := control.Kind{Kind: "Pod", Resource: "pods"}
	deployment := control.Kind{APIGroup: "apps", Kind: "Deployment", Resource: "deployments", Template: true}
	service := control.Kind{Kind: "Service", Resource: "services"}
	role := control.Kind{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Resource: "clusterroles", ClusterScoped: true}
	const rs, jobs = "system:serviceaccount:kube-system:replicaset-controller", "system:serviceaccount:kube-system:job-controller"
	end := time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)
	before := end.Add(-time.Second)
	made := func(kind, apiVersion, name string) map[string]any {
		return map[string]any{
			"name": "made-x7f", "labels": map[string]any{"pod-template-hash": "6d4b"},
			"ownerReferences": []any{map[string]any{"apiVersion": apiVersion, "kind": kind, "name": name, "controller": true}},
		}
	}
	named := func(name string) map[string]any { return map[string]any{"name": name} }
	for name, tc := range map[string]struct {
		kind      control.Kind
		key       string
		metadata  map[string]any
		operation string
		user      string
		now       time.Time
		want      bool
	}{
		"a second before":             {deployment, "Deployment.apps/api", named("api"), "", "", before, true},
		"at its end":                  {deployment, "Deployment.apps/api", named("api"), "", "", end, false},
		"without a clock":             {deployment, "Deployment.apps/api", named("api"), "", "", time.Time{}, false},
		"of a longer name":            {deployment, "Deployment.apps/api", named("api-2"), "", "", before, false},
		"of no name":                  {deployment, "Deployment.apps/", map[string]any{"generateName": "api"}, "", "", before, false},
		"of another group":            {deployment, "Deployment.example.com/api", named("api"), "", "", before, false},
		"an update of a template":     {deployment, "Deployment.apps/api", named("api"), "UPDATE", "", before, true},
		"an update of a pod":          {pod, "Pod/api", named("api"), "UPDATE", "", before, false},
		"an update of a service":      {service, "Service/api", named("api"), "UPDATE", "", before, false},
		"a new service":               {service, "Service/api", named("api"), "CREATE", "", before, true},
		"what lies in no namespace":   {role, "ClusterRole.rbac.authorization.k8s.io/api", named("api"), "CREATE", "", before, false},
		"a pod of a Deployment":       {pod, "Deployment.apps/api", made("ReplicaSet", "apps/v1", "api-6d4b"), "CREATE", rs, before, true},
		"a pod of it, forged":         {pod, "Deployment.apps/api", made("ReplicaSet", "apps/v1", "api-6d4b"), "CREATE", "oidc:mallory", before, false},
		"a pod of a longer one":       {pod, "Deployment.apps/api", made("ReplicaSet", "apps/v1", "api-canary-6d4b"), "CREATE", rs, before, false},
		"a pod of a lone ReplicaSet":  {pod, "Deployment.apps/api", made("ReplicaSet", "apps/v1", "api-x"), "CREATE", rs, before, false},
		"a pod of a waived one":       {pod, "ReplicaSet.apps/api-x", made("ReplicaSet", "apps/v1", "api-x"), "CREATE", rs, before, true},
		"a pod of a CronJob":          {pod, "CronJob.batch/nightly", made("Job", "batch/v1", "nightly-29381740"), "CREATE", jobs, before, true},
		"a pod of a Job of that name": {pod, "CronJob.batch/nightly", made("Job", "batch/v1", "nightly-x"), "CREATE", jobs, before, false},
		"a pod of a controller":       {pod, "ReplicationController/api", made("ReplicationController", "v1", "api"), "CREATE", "system:kube-controller-manager", before, true},
	} {
		guard, err := NewGuard(v1alpha1.GuardSpec{Waivers: map[string]v1alpha1.SubjectWaivers{
			tc.key: {"RF-WL-01": {Name: "w", Expires: end.Format(time.RFC3339), Ticket: "T", Approver: "a"}, "RF-WL-02": {Name: "other"}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		in := Input{Object: map[string]any{"metadata": tc.metadata}, Operation: tc.operation, Guard: guard, Username: tc.user, Now: tc.now}
		got := New(always{tc.kind}).Judge(in, finding.Subject{Kind: tc.kind.Kind})
		if len(got) != 1 || got[0].Outcome != finding.Fail || (got[0].Waiver != nil) != tc.want || got[0].Blocks() == tc.want {
			t.Errorf("%s: %+v, want waived %v", name, got, tc.want)
		}
		if tc.want && *got[0].Waiver != (finding.Waiver{Name: "w", Expires: "2027-02-01T00:00:00Z", Ticket: "T", Approver: "a"}) {
			t.Errorf("%s: waiver %+v", name, got[0].Waiver)
		}
	}
}
