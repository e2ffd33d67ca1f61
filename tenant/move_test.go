package tenant

import (
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// TestPlanMoves: an approved move takes rights away first and changes hands then, and nothing is ever deleted for it: neither before the
// other tenant asks for the namespace, nor by either tenant afterwards.
func TestPlanMoves(t *testing.T) {
	p, w := newPlatform(nil), world{}
	from, to := newTenant(nil), tenantNamed("cards", func(t *v1alpha1.Tenant) { t.Spec.Environments = nil })
	settle(t, w, p, from)
	m := v1alpha1.Move{Environment: "prod", Namespace: "payments-prod", To: "cards", As: "ledger", Ticket: "CHG1", Requester: "oidc:anna"}
	left, right, err := Moved(from, &to, m)
	if err != nil || len(left.Spec.Environments) != 1 || len(right.Spec.Environments) != 1 || !right.Spec.Environments[0].Production {
		t.Fatalf("%v: left %+v, right %+v", err, left.Spec.Environments, right.Spec.Environments)
	}
	plan := func(o *v1alpha1.Tenant, all ...v1alpha1.Tenant) (done []string, last EnvironmentPlan) {
		in := w.input(p, o)
		in.Tenants = all
		plans := Plan(in)
		for _, one := range plans {
			done = append(done, w.do(one.Changes)...)
		}
		if len(plans) > 0 {
			last = plans[len(plans)-1]
		}
		return done, last
	}

	left.Spec.Move = &m
	if m.Approver = m.Requester; moving(left, "payments-prod") != nil {
		t.Error("one person asked and approved, and it counts")
	}
	m.Approver = "oidc:ben"
	done, last := plan(left, *left, to) // which does not ask for it yet
	if len(done) == 0 || slices.ContainsFunc(done, func(c string) bool { return !strings.HasPrefix(c, "delete RoleBinding payments-prod/") }) {
		t.Errorf("before anybody asks for it: %v, want rights to go and nothing else", done)
	}
	if last.Reason != ReasonMoving || !strings.Contains(last.Status.Message, "namespace: payments-prod") {
		t.Errorf("status %+v of %s, want Moving and what to do", last.Status, last.Reason)
	}
	if done, _ := plan(left, *left, to); len(done) != 0 {
		t.Errorf("again: %v, want nothing", done)
	}

	done, _ = plan(left, *left, *right)
	if ns := w["payments-prod"].Namespace; len(done) != 1 || ns.Labels[v1alpha1.LabelTenant] != "cards" || ns.Labels[v1alpha1.LabelEnvironment] != "ledger" {
		t.Errorf("%v: labels %v, want those of cards", done, ns.Labels)
	}
	for range 3 {
		plan(right, *left, *right)
	}
	l := w["payments-prod"]
	if l.Guard.Spec.Tenant != "cards" || !l.Guard.Spec.Production || len(l.Bindings) != 3 || l.Namespace.Annotations[AnnotationCreatedBy] != "" {
		t.Errorf("Guard of %s, %d bindings, annotations %v", l.Guard.Spec.Tenant, len(l.Bindings), l.Namespace.Annotations)
	}
	if done, _ := plan(left, *left, *right); len(done) != 0 {
		t.Errorf("the old tenant still does %v", done)
	}
	for range 5 {
		plan(&to, *left, to) // cards gives it up, empty as it is
	}
	if l, there := w["payments-prod"]; !there || l.Namespace.Labels[v1alpha1.LabelTenant] != "" {
		t.Errorf("given up: there %t, labels %v; want it handed back", there, l.Namespace.Labels)
	}
	if done, _ := plan(left, *left, to); len(done) != 0 {
		t.Errorf("handed back, and the first tenant does %v", done)
	}
}
