package rollout_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/rollout"
)

// question is all by which it is decided whether a control is due.
type question struct {
	platform *v1alpha1.Platform
	ring     rollout.Ring
	actions  map[string]finding.Action // of the control, by namespace
	report   rollout.Report
	stood    rollout.Stood
}

// ago is an instant before noon.
func ago(d time.Duration) v1alpha1.Instant {
	return v1alpha1.Instant(noon.Add(-d).Format(time.RFC3339))
}

// due is a question of which every part says that the control is due: seven days were clean.
func due() *question {
	const week = 7 * 24 * time.Hour
	since := noon.Add(-week)
	q := &question{platform: &v1alpha1.Platform{}, actions: map[string]finding.Action{"lab-dev": finding.Warn, "shop-dev": finding.Warn},
		ring:  rollout.Ring{Name: "early", Namespaces: []string{"lab-dev", "shop-dev"}},
		stood: rollout.Stood{Whole: true, Failed: []finding.Subject{{Kind: "Pod", Namespace: "elsewhere", Name: "x"}}}}
	q.ring.Action = func(ns, _ string) finding.Action { return q.actions[ns] }
	q.platform.Spec.Promotion = &v1alpha1.PromotionRules{CleanDays: 7, Rings: []string{"early"}, Controls: []string{id}}
	q.platform.Spec.Suspensions = []v1alpha1.Suspension{{Expires: string(ago(time.Hour)), Ticket: "INC-1"}}
	q.platform.Spec.Controls = map[string]v1alpha1.ControlRollout{
		id:         {Undone: ago(week), Steps: []v1alpha1.RolloutStep{{Place: "action", From: v1alpha1.Audit, To: v1alpha1.Warn, At: ago(week)}}},
		"RF-WL-01": {Undone: ago(time.Hour), Steps: []v1alpha1.RolloutStep{{Place: "ring/early", To: v1alpha1.Deny, At: ago(24 * time.Hour)}, {Place: "ring/late", To: v1alpha1.Deny, At: ago(time.Hour)}}},
	}
	q.report = rollout.New(rollout.Config{}).Report(rollout.Seen{Action: "Deny", Rules: []rollout.Rule{{ID: id}}, Requests: rollout.Requests{Observed: true, Asked: since, Since: &since}})
	return q
}

// control changes what the Platform says of one.
func (q *question) control(id string, change func(c *v1alpha1.ControlRollout)) {
	c := q.platform.Spec.Controls[id]
	change(&c)
	q.platform.Spec.Controls[id] = c
}

// TestDue: a control is due where everything says so, and with any one thing otherwise it is not. Each line takes one condition away: without that
// condition in the code the line fails.
func TestDue(t *testing.T) {
	late := noon.Add(-7*24*time.Hour + time.Second)
	for name, test := range map[string]struct {
		change func(q *question)
		want   error
	}{
		"all is well":                   {func(*question) {}, nil},
		"every control":                 {func(q *question) { q.platform.Spec.Promotion.Controls = nil }, nil},
		"a tenant that refuses already": {func(q *question) { q.actions["lab-dev"] = finding.Deny }, nil},
		"a longer time":                 {func(q *question) { since := noon.Add(-365 * 24 * time.Hour); q.report.Requests.Since = &since }, nil},
		"off":                           {func(q *question) { q.platform.Spec.Promotion = nil }, rollout.ErrNotDue},
		"another ring":                  {func(q *question) { q.platform.Spec.Promotion.Rings = []string{"late"} }, rollout.ErrNotDue},
		"another control":               {func(q *question) { q.platform.Spec.Promotion.Controls = []string{"RF-WL-01"} }, rollout.ErrNotDue},
		"more days":                     {func(q *question) { q.platform.Spec.Promotion.CleanDays = 8 }, rollout.ErrNotDue},
		"nobody in the ring":            {func(q *question) { q.ring.Namespaces = nil }, rollout.ErrNotDue},
		"somebody insists": {func(q *question) {
			q.control(id, func(c *v1alpha1.ControlRollout) {
				c.Asked = &v1alpha1.RolloutRequest{At: ago(rollout.AnswerWithin)}
			})
		}, rollout.ErrNotDue},
		"somebody insisted, and nobody answered": {func(q *question) {
			q.control(id, func(c *v1alpha1.ControlRollout) {
				c.Asked = &v1alpha1.RolloutRequest{At: ago(rollout.AnswerWithin + time.Second)}
			})
		}, nil},
		"undone": {func(q *question) {
			q.control(id, func(c *v1alpha1.ControlRollout) { c.Undone = ago(7*24*time.Hour - time.Second) })
		}, rollout.ErrNotDue},
		"undone at no time that can be read": {func(q *question) { q.control(id, func(c *v1alpha1.ControlRollout) { c.Undone = "yesterday" }) }, rollout.ErrNotDue},
		"its action was changed": {func(q *question) {
			q.control(id, func(c *v1alpha1.ControlRollout) { c.Steps[0].At = ago(7*24*time.Hour - time.Second) })
		}, rollout.ErrNotDue},
		"the ring had one today": {func(q *question) {
			q.control("RF-WL-01", func(c *v1alpha1.ControlRollout) { c.Steps[0].At = ago(24*time.Hour - time.Second) })
		}, rollout.ErrNotDue},
		"an emergency":                     {func(q *question) { q.platform.Spec.Suspensions[0].Expires = string(ago(-time.Second)) }, rollout.ErrNotDue},
		"an emergency without an end":      {func(q *question) { q.platform.Spec.Suspensions[0].Expires = "never" }, rollout.ErrNotDue},
		"audited in one namespace":         {func(q *question) { q.actions["shop-dev"] = finding.Audit }, rollout.ErrNotDue},
		"refused everywhere":               {func(q *question) { q.actions["lab-dev"], q.actions["shop-dev"] = finding.Deny, finding.Deny }, rollout.ErrNotDue},
		"something unread":                 {func(q *question) { q.report.NotObserved = []string{"pods: 403"} }, rollout.ErrNotDue},
		"an object":                        {func(q *question) { q.report.Breaks = []rollout.Break{{Control: id}} }, rollout.ErrNotDue},
		"a request":                        {func(q *question) { q.report.Requests.Groups = []rollout.Asked{{Control: id, Times: 1}} }, rollout.ErrNotDue},
		"requests that no group holds":     {func(q *question) { q.report.Requests.Others = 1 }, rollout.ErrNotDue},
		"undecided":                        {func(q *question) { q.report.Undecided = 1 }, rollout.ErrNotDue},
		"unjudged":                         {func(q *question) { q.report.Controls[0].Unjudged = "facts-not-supplied" }, rollout.ErrNotDue},
		"requests not observed":            {func(q *question) { q.report.Requests.Observed = false }, rollout.ErrNotDue},
		"requests asked of fewer days":     {func(q *question) { q.report.Requests.Asked = late }, rollout.ErrNotDue},
		"requests seen for fewer days":     {func(q *question) { q.report.Requests.Since = &late }, rollout.ErrNotDue},
		"requests seen since nobody knows": {func(q *question) { q.report.Requests.Since = nil }, rollout.ErrNotDue},
		"a time unknown":                   {func(q *question) { q.report.Requests.Unknown = []rollout.Unknown{{Since: late, What: "silence"}} }, rollout.ErrNotDue},
		"requests not recorded":            {func(q *question) { q.report.Requests.Unrecorded = []string{"lab-dev"} }, rollout.ErrNotDue},
		"no scan":                          {func(q *question) { q.stood = rollout.Stood{} }, rollout.ErrNotDue},
		"a scan that cannot read":          {func(q *question) { q.stood.Unread = []string{"secrets"} }, rollout.ErrNotDue},
		"what failed and was mended":       {func(q *question) { q.stood.Failed[0].Namespace = "lab-dev" }, rollout.ErrNotDue},
		"production":                       {func(q *question) { q.ring.Production = true }, rollout.ErrPerson},
		"production that is not clean":     {func(q *question) { q.ring.Production, q.report.Undecided = true, 1 }, rollout.ErrNotDue},
	} {
		q := due()
		test.change(q)
		if got := rollout.Due(q.platform, id, q.ring, q.report, q.stood, noon); !errors.Is(got, test.want) || (got == nil) != (test.want == nil) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestRingOf(t *testing.T) {
	tenants := []v1alpha1.Tenant{
		{Spec: v1alpha1.TenantSpec{Ring: "early", Environments: []v1alpha1.Environment{{Name: "dev"}, {Name: "uat", Namespace: "shop-acceptance"}}}},
		{Spec: v1alpha1.TenantSpec{Ring: "late", Environments: []v1alpha1.Environment{{Name: "prod", Production: true}}}},
	}
	tenants[0].Name, tenants[1].Name = "shop", "bank"
	if r := rollout.RingOf(tenants, "early"); r.Production || !slices.Equal(r.Namespaces, []string{"shop-dev", "shop-acceptance"}) {
		t.Errorf("%+v", r)
	}
	if r := rollout.RingOf(tenants, "late"); !r.Production || !slices.Equal(r.Namespaces, []string{"bank-prod"}) {
		t.Errorf("%+v", r)
	}
}

// TestOf: what a report of many says of one control counts nothing of another.
func TestOf(t *testing.T) {
	r := rollout.Report{Controls: []rollout.Rule{{ID: id}, {ID: "RF-WL-01"}}, Breaks: []rollout.Break{{Control: "RF-WL-01"}},
		Requests: rollout.Requests{Times: 5, Groups: []rollout.Asked{{Control: "RF-WL-01", Times: 3}, {Control: id, Times: 2}}}}
	one := r.Of(id)
	if len(one.Controls) != 1 || len(one.Breaks) != 0 || one.Requests.Times != 2 || one.Broken() != 1 || len(r.Controls) != 2 || len(r.Requests.Groups) != 2 {
		t.Errorf("%+v of %+v", one, r)
	}
}
