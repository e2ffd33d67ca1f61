package rollout_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/rollout"
)

const id = "RF-WL-08"

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// merged is what a JSON merge patch (RFC 7386) makes of a value.
func merged(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			delete(t, k)
		} else {
			t[k] = merged(t[k], v)
		}
	}
	return t
}

// patched is a Platform after a patch, as the API server makes it.
func patched(t *testing.T, p *v1alpha1.Platform, patch []byte) *v1alpha1.Platform {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var target, change any
	if err := errors.Join(json.Unmarshal(text, &target), json.Unmarshal(patch, &change)); err != nil {
		t.Fatal(err)
	}
	if text, err = json.Marshal(merged(target, change)); err != nil {
		t.Fatal(err)
	}
	out := &v1alpha1.Platform{}
	if err := json.Unmarshal(text, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestThereAndBack: whatever is promoted where, the patch makes it, touches nothing else, and rollback gives back what was there.
func TestThereAndBack(t *testing.T) {
	for name, was := range map[string]v1alpha1.ControlRollout{
		"nothing":    {},
		"everything": {Action: v1alpha1.Audit, Production: v1alpha1.Warn, Rings: map[string]v1alpha1.Action{"early": v1alpha1.Audit, "late": v1alpha1.Warn}, Unwaivable: true},
	} {
		for _, scope := range []rollout.Scope{{}, {Production: true}, {Ring: "early"}} {
			t.Run(name+" "+scope.String(), func(t *testing.T) {
				p := &v1alpha1.Platform{}
				p.ResourceVersion = "7"
				p.Spec.Controls = map[string]v1alpha1.ControlRollout{id: was, "RF-WL-01": {Action: v1alpha1.Warn}}
				before := p.DeepCopy()
				after, err := rollout.Promote(p, rollout.Step{Control: id, Scope: scope, To: v1alpha1.Deny, Grace: time.Hour}, noon)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(before, p); d != "" {
					t.Errorf("what was given is changed: %s", d)
				}
				patch, err := rollout.Patch(p, after, id)
				if err != nil || strings.Contains(string(patch), "RF-WL-01") || !strings.Contains(string(patch), `"resourceVersion":"7"`) {
					t.Errorf("%v %s", err, patch)
				}
				stored := patched(t, p, patch)
				if d := cmp.Diff(after, stored); d != "" {
					t.Errorf("the patch makes something else: %s", d)
				}
				steps := stored.Spec.Controls[id].Steps
				if rollout.At(stored, id, scope.Place()) != v1alpha1.Deny || len(steps) != 1 || steps[0].GraceUntil != "2026-11-21T13:00:00Z" || steps[0].At != "2026-11-21T12:00:00Z" {
					t.Errorf("%+v", stored.Spec.Controls[id])
				}
				back, step, err := rollout.Rollback(stored, id, noon)
				if err != nil || step.Place != scope.Place() || rollout.ScopeOf(step.Place) != scope {
					t.Fatalf("%v %+v", err, step)
				}
				if patch, err = rollout.Patch(stored, back, id); err != nil {
					t.Fatal(err)
				}
				again := patched(t, stored, patch)
				c := again.Spec.Controls[id]
				if c.Undone != "2026-11-21T12:00:00Z" {
					t.Errorf("undone at %q", c.Undone)
				}
				if c.Undone = ""; len(c.Rings) == 0 { // an empty map is none
					c.Rings = was.Rings
				}
				again.Spec.Controls[id] = c
				if d := cmp.Diff(before.Spec, again.Spec); d != "" {
					t.Errorf("rollback leaves: %s", d)
				}
			})
		}
	}
}

// TestWaitsOn: what somebody insists on for one place is answered by a promotion there, and not by one elsewhere.
func TestWaitsOn(t *testing.T) {
	asked, err := rollout.Ask(&v1alpha1.Platform{}, rollout.Step{Control: id, Scope: rollout.Scope{Ring: "late"}, To: v1alpha1.Deny, Insisted: &v1alpha1.Insistence{Requester: "jane"}}, noon)
	if err != nil {
		t.Fatal(err)
	}
	for ring, waits := range map[string]bool{"early": true, "late": false} {
		after, err := rollout.Promote(asked, rollout.Step{Control: id, Scope: rollout.Scope{Ring: ring}, To: v1alpha1.Deny}, noon)
		if err != nil || (after.Spec.Controls[id].Asked != nil) != waits {
			t.Errorf("after a promotion of ring %s, %v, what is asked for late is %v; want it there: %t", ring, err, after.Spec.Controls[id].Asked, waits)
		}
		patch, err := rollout.Patch(asked, after, id)
		if d := cmp.Diff(after, patched(t, asked, patch)); err != nil || d != "" {
			t.Errorf("the patch makes something else: %v %s", err, d)
		}
	}
}

// TestAskedTwice: a promotion that waits is replaced by who asked for it, and by others once nobody can approve it any more.
func TestAskedTwice(t *testing.T) {
	ask := func(p *v1alpha1.Platform, who, object string, now time.Time) (*v1alpha1.Platform, error) {
		return rollout.Ask(p, rollout.Step{Control: id, To: v1alpha1.Deny, Insisted: &v1alpha1.Insistence{Requester: who, RequesterObject: object, Ticket: "CHG-1"}}, now)
	}
	first, err := ask(&v1alpha1.Platform{}, "jane", "1", noon)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		who, object string
		after       time.Duration
		want        error
	}{
		"herself":                  {"jane", "1", time.Hour, nil},
		"another":                  {"omar", "2", time.Hour, rollout.ErrAsked},
		"another of the same name": {"jane", "2", time.Hour, rollout.ErrAsked},
		"another, at the last":     {"omar", "2", rollout.AnswerWithin, rollout.ErrAsked},
		"another, once it lapsed":  {"omar", "2", rollout.AnswerWithin + time.Second, nil},
	} {
		if _, err := ask(first, tt.who, tt.object, noon.Add(tt.after)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	p := &v1alpha1.Platform{}
	if _, _, err := rollout.Rollback(p, id, noon); !errors.Is(err, rollout.ErrNothing) {
		t.Errorf("nothing to undo: %v", err)
	}
	after, err := rollout.Promote(p, rollout.Step{Control: id, To: v1alpha1.Deny}, noon)
	if err != nil || after.Spec.Controls[id].Steps[0].GraceUntil != "" {
		t.Fatal(err, after)
	}
	if _, err := rollout.Promote(after, rollout.Step{Control: id, To: v1alpha1.Deny}, noon); !errors.Is(err, rollout.ErrNothing) {
		t.Errorf("twice: %v", err)
	}
	c := after.Spec.Controls[id]
	c.Action = v1alpha1.Audit // by hand
	after.Spec.Controls[id] = c
	if _, _, err := rollout.Rollback(after, id, noon); !errors.Is(err, rollout.ErrOtherwise) {
		t.Errorf("changed by hand: %v", err)
	}
	for i := range 3 * rollout.MaxSteps {
		to := []v1alpha1.Action{v1alpha1.Deny, v1alpha1.Warn}[i%2]
		if after, err = rollout.Promote(after, rollout.Step{Control: id, To: to}, noon); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(after.Spec.Controls[id].Steps); n != rollout.MaxSteps {
		t.Errorf("%d steps", n)
	}
}

func TestScope(t *testing.T) {
	tenants := []v1alpha1.Tenant{{Spec: v1alpha1.TenantSpec{Ring: "early", Environments: []v1alpha1.Environment{{Name: "dev"}}}}}
	tenants[0].Name = "payments"
	for scope, want := range map[rollout.Scope]bool{{}: true, {Ring: "early"}: true, {Ring: "late"}: false, {Tenant: "payments"}: true, {Tenant: "shop"}: false, {Production: true}: false} {
		if err := scope.Check(tenants); (err == nil) != want {
			t.Errorf("%s: %v", scope, err)
		}
	}
}

// workload is an object with a uid and, if not "", the uid of its controller.
func workload(uid, controller string) map[string]any {
	meta := map[string]any{"uid": uid}
	if controller != "" {
		meta["ownerReferences"] = []any{map[string]any{"controller": true, "uid": controller}}
	}
	return map[string]any{"metadata": meta, "spec": map[string]any{"template": map[string]any{}}}
}

func fails(path string) []finding.Finding {
	return []finding.Finding{{Control: id, Outcome: finding.Fail, Action: finding.Deny, Path: path, Found: "x"}}
}

// TestBreaks: what controllers made is shown as what they made it of, also where it was seen first.
func TestBreaks(t *testing.T) {
	was := finding.Warn
	p := rollout.New(rollout.Config{Was: func(finding.Subject, string) finding.Action { return was },
		Owner: func(string) (string, string) { return "payments", "p@bank.example" }})
	add := func(kind, name, uid, controller, path string) {
		s := finding.Subject{Kind: kind, Namespace: "a", Name: name}
		var found []finding.Finding
		if path != "" {
			found = fails(path)
		}
		p.Add(s, workload(uid, controller), found)
	}
	const template, pod = "/spec/template/spec/containers/0", "/spec/containers/0"
	add("Pod", "api-1-a", "p1", "r1", pod)
	add("Pod", "api-1-b", "p2", "r1", pod)
	add("ReplicaSet", "api-1", "r1", "d1", template)
	add("Deployment", "api", "d1", "", template)
	add("ReplicaSet", "old-1", "r2", "d2", template) // of an older template, and nothing runs of it
	add("Deployment", "old", "d2", "", "")
	add("Deployment", "mesh", "d3", "", "") // its pods get something added
	add("ReplicaSet", "mesh-1", "r3", "d3", "")
	add("Pod", "mesh-1-a", "p3", "r3", pod)
	add("CronJob", "nightly", "c1", "", "") // its template was mended; an old pod lies about
	add("Job", "nightly-1", "j1", "c1", template)
	add("Pod", "nightly-1-a", "p4", "j1", pod)
	add("Pod", "bare", "p5", "", pod)
	add("Pod", "debugged", "p6", "", "/spec/ephemeralContainers/0/securityContext")
	add("Deployment", "label", "d4", "", "/metadata/labels")
	p.Add(finding.Subject{Kind: "Deployment", Namespace: "a", Name: "both"}, workload("d6", ""), append(fails("/metadata/labels"), fails(template)...))
	add("Pod", "loop", "l1", "l2", pod)
	add("Pod", "loop2", "l2", "l1", "")
	was = finding.Deny
	add("Deployment", "known", "d5", "", template)
	r := p.Report(rollout.Seen{Action: "Deny", Rules: []rollout.Rule{{ID: id}}})
	var got []string
	for _, b := range r.Breaks {
		got = append(got, fmt.Sprint(b.Subject.Kind, " ", b.Subject.Name, " ", b.When, " ", b.Pods, " ", b.PodsOnly))
	}
	slices.Sort(got)
	got = slices.DeleteFunc(got, func(s string) bool { return strings.Contains(s, "loop") })
	want := []string{"Deployment api restart 2 false", "Deployment both restart 0 false", "Deployment label anew 0 false", "Deployment mesh restart 1 true", "Pod bare restart 1 false"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if r.Already != 1 || r.Objects != 19 || r.Exit(false) != finding.ExitRefused {
		t.Errorf("%+v", r)
	}
	if text := r.Text(1); !strings.Contains(text, "and 2 more") && !strings.Contains(text, "and 4 more") {
		t.Error(text)
	}
}

// TestTable: of requests that are not recorded the table of many controls says that they are unknown, and never 0.
func TestTable(t *testing.T) {
	observed := rollout.Requests{Observed: true, Unknown: []rollout.Unknown{{What: "silence"}}}
	p := rollout.New(rollout.Config{Was: func(finding.Subject, string) finding.Action { return finding.Warn }, Owner: func(ns string) (string, string) { return ns, "" }})
	f := fails("/spec/containers/0")[0]
	f.Control, f.Observed = "RF-ZZ-03", &finding.Observed{Time: noon, User: "jane"}
	p.Request(f, func(finding.Subject, string) bool { return true })
	text := p.Report(rollout.Seen{Action: "Deny", Rules: []rollout.Rule{{ID: "RF-ZZ-01"}, {ID: "RF-ZZ-02", Unrecorded: 2}, {ID: "RF-ZZ-03", Unrecorded: 1}}, Requests: observed}).Table()
	for id, want := range map[string]string{"RF-ZZ-01": "0", "RF-ZZ-02": "unknown", "RF-ZZ-03": ">=1"} {
		line := text[strings.Index(text, id):]
		if line, _, _ = strings.Cut(line, "\n"); !slices.Contains(strings.Fields(line), want) {
			t.Errorf("%s: want %s requests", line, want)
		}
	}
	for _, want := range []string{"only audits", "of 1 time something is not known"} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q: %s", want, text)
		}
	}
}

// TestExit: 2 before 1 before 3 before 0.
func TestExit(t *testing.T) {
	rules := []rollout.Rule{{ID: id, Unjudged: "facts-not-supplied"}}
	clean := rollout.New(rollout.Config{})
	for name, test := range map[string]struct {
		seen   rollout.Seen
		strict bool
		want   int
	}{
		"clean":        {rollout.Seen{Rules: rules[:0]}, false, 0},
		"not observed": {rollout.Seen{}, true, 3},
		"facts":        {rollout.Seen{Rules: rules}, false, 3},
		"unread":       {rollout.Seen{Rules: rules, NotObserved: []string{"pods: 403"}}, false, 2},
	} {
		if got := clean.Report(test.seen).Exit(test.strict); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

// BenchmarkPreflight gathers 50,000 objects, a third of them bad, and 100,000 requests.
func BenchmarkPreflight(b *testing.B) {
	for b.Loop() {
		p := rollout.New(rollout.Config{Was: func(finding.Subject, string) finding.Action { return finding.Warn }, Owner: func(ns string) (string, string) { return ns, "" }})
		for i := range 50_000 {
			var found []finding.Finding
			if i%3 == 0 {
				found = fails("/spec/template/spec/containers/0")
			}
			p.Add(finding.Subject{Kind: "Deployment", Namespace: fmt.Sprint("n", i%50), Name: fmt.Sprint("d", i)}, workload(fmt.Sprint("u", i), ""), found)
		}
		f := fails("/spec/containers/0")[0]
		f.Observed = &finding.Observed{Time: noon, User: "jane"}
		for i := range 100_000 {
			f.Subject = finding.Subject{Kind: "Pod", Namespace: fmt.Sprint("n", i%50), Name: fmt.Sprintf("d%d-5d4f8b7c9d-x2x4z", i%2000)}
			p.Request(f, func(finding.Subject, string) bool { return true })
		}
		if r := p.Report(rollout.Seen{Rules: []rollout.Rule{{ID: id}}}); len(r.Breaks) != 16_667 || r.Requests.Times != 100_000 || r.Requests.Groups[0].Name != "d0" {
			b.Fatalf("%d %+v", len(r.Breaks), r.Requests.Groups[0])
		}
	}
}
