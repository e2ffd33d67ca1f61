package tenant

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
)

var waiverBorn = time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)

// newWaiver is an approved waiver of RF-WL-15 for Deployment api in payments-dev, changed by edit.
func newWaiver(name string, edit func(*v1alpha1.Waiver)) v1alpha1.Waiver {
	w := v1alpha1.Waiver{
		ObjectMeta: metav1.ObjectMeta{Namespace: "payments-dev", Name: name, CreationTimestamp: metav1.NewTime(waiverBorn)},
		Spec: v1alpha1.WaiverSpec{
			Control: "RF-WL-15", Subjects: []v1alpha1.WaiverSubject{{Kind: "Deployment", Name: "api"}},
			Ticket: "T-1", Owner: "carol@bank.example", Requester: "oidc:dave", Expires: "2027-01-31",
		},
		Status: v1alpha1.WaiverStatus{Approval: &v1alpha1.WaiverApproval{Approver: "oidc:erin", ApprovedAt: metav1.NewTime(waiverBorn)}},
	}
	if edit != nil {
		edit(&w)
	}
	return w
}

func TestCompileWaivers(t *testing.T) {
	one := func(name, expires string) map[string]v1alpha1.SubjectWaivers {
		return map[string]v1alpha1.SubjectWaivers{"Deployment.apps/api": {"RF-WL-15": {Name: name, Expires: expires, Ticket: "T-1", Approver: "oidc:erin"}}}
	}
	for name, tc := range map[string]struct {
		platform func(*v1alpha1.Platform)
		waivers  []v1alpha1.Waiver
		want     map[string]v1alpha1.SubjectWaivers
	}{
		"approved":            {nil, []v1alpha1.Waiver{newWaiver("w", nil)}, one("w", "2027-02-01T00:00:00Z")},
		"of a custom kind":    {nil, []v1alpha1.Waiver{newWaiver("w", func(w *v1alpha1.Waiver) { w.Spec.Subjects[0].APIGroup = "apps" })}, one("w", "2027-02-01T00:00:00Z")},
		"not approved":        {nil, []v1alpha1.Waiver{newWaiver("w", func(w *v1alpha1.Waiver) { w.Status.Approval = nil })}, nil},
		"approved by nobody":  {nil, []v1alpha1.Waiver{newWaiver("w", func(w *v1alpha1.Waiver) { w.Status.Approval.Approver = "" })}, nil},
		"by the requester":    {nil, []v1alpha1.Waiver{newWaiver("w", func(w *v1alpha1.Waiver) { w.Status.Approval.Approver = "oidc:dave" })}, nil},
		"by the owner":        {nil, []v1alpha1.Waiver{newWaiver("w", func(w *v1alpha1.Waiver) { w.Status.Approval.Approver = "oidc:Carol@bank.example" })}, nil},
		"of another place":    {nil, []v1alpha1.Waiver{newWaiver("w", func(w *v1alpha1.Waiver) { w.Namespace = "payments-prod" })}, nil},
		"being deleted":       {nil, []v1alpha1.Waiver{newWaiver("w", func(w *v1alpha1.Waiver) { w.DeletionTimestamp = &w.CreationTimestamp })}, nil},
		"for too long":        {nil, []v1alpha1.Waiver{newWaiver("w", func(w *v1alpha1.Waiver) { w.Spec.Expires = "2027-03-01T09:00:01Z" })}, nil},
		"as long as can be":   {nil, []v1alpha1.Waiver{newWaiver("w", func(w *v1alpha1.Waiver) { w.Spec.Expires = "2027-03-01T10:00:00+01:00" })}, one("w", "2027-03-01T09:00:00Z")},
		"too long, in a file": {nil, []v1alpha1.Waiver{newWaiver("w", func(w *v1alpha1.Waiver) { w.CreationTimestamp = metav1.Time{}; w.Spec.Expires = "2027-03-02" })}, nil},
		"without an end":      {nil, []v1alpha1.Waiver{newWaiver("w", func(w *v1alpha1.Waiver) { w.Spec.Expires = "" })}, nil},
		"two":                 {nil, []v1alpha1.Waiver{newWaiver("a", nil), newWaiver("b", func(w *v1alpha1.Waiver) { w.Spec.Expires = "2027-02-02" })}, one("b", "2027-02-03T00:00:00Z")},
		"unwaivable": {func(p *v1alpha1.Platform) {
			p.Spec.Controls = map[string]v1alpha1.ControlRollout{"RF-WL-15": {Unwaivable: true}}
		}, []v1alpha1.Waiver{newWaiver("w", nil)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := Compile(controls, newPlatform(tc.platform), newTenant(nil), tc.waivers, "payments-dev").Spec
			if diff := cmp.Diff(tc.want, got.Waivers); diff != "" {
				t.Errorf("Waivers (-want +got):\n%s", diff)
			}
			if name == "unwaivable" && !cmp.Equal(got.Unwaivable, []string{"RF-WL-15"}) {
				t.Errorf("Unwaivable = %v", got.Unwaivable)
			}
		})
	}
	if got := Compile(controls, newPlatform(nil), nil, []v1alpha1.Waiver{newWaiver("w", nil)}, "payments-dev").Spec.Waivers; got != nil {
		t.Errorf("a namespace that is no tenant's has waivers: %v", got)
	}
}

func TestDropExpiredWaivers(t *testing.T) {
	spec := Compile(controls, newPlatform(nil), newTenant(nil), []v1alpha1.Waiver{newWaiver("w", nil)}, "payments-dev").Spec
	end := time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)
	if next := DropExpired(&spec, end.Add(-1)); !next.Equal(end) || len(spec.Waivers) != 1 {
		t.Errorf("a moment before its end: next %v, waivers %v", next, spec.Waivers)
	}
	if next := DropExpired(&spec, end); !next.IsZero() || len(spec.Waivers) != 0 {
		t.Errorf("at its end: next %v, waivers %v", next, spec.Waivers)
	}
}
