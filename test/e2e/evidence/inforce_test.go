package evidence

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// judged is the control whose action is changed.
const judged = "RF-IM-01"

// postures are those of the file sink.
func (w *world) postures() (all []record.Record, bodies []record.PostureBody) {
	w.t.Helper()
	for _, r := range w.archived() {
		if r.Kind == "posture.v1" {
			var b record.PostureBody
			if err := json.Unmarshal(r.Body, &b); err != nil {
				w.t.Fatal(err)
			}
			all, bodies = append(all, r), append(bodies, b)
		}
	}
	return all, bodies
}

// awaitPosture waits until the latest posture has all policies in place, and the control at an action in all namespaces of the
// sample bank, and gives its time.
func (w *world) awaitPosture(after int, action finding.Action) (at time.Time, n int) {
	w.t.Helper()
	w.await("a posture with "+judged+" at "+string(action), func() bool {
		all, bodies := w.postures()
		if n = len(all); n <= after {
			return false
		}
		b := bodies[n-1]
		at = all[n-1].Time
		guarded := false
		for _, table := range b.Tables {
			names, err := record.Unfold(table.Namespaces)
			if err != nil {
				w.t.Fatal(err)
			}
			guarded = guarded || slices.Contains(names, "payments-prod")
			if b.ActionIn(table, judged) != action {
				return false
			}
		}
		return guarded && b.Generation > 0 && len(b.Unguarded) == 0 && !slices.ContainsFunc(b.Bundles, func(p record.PostureBundle) bool { return p.What != "" })
	})
	return at, n
}

// ask runs `ringfence evidence ask` on the ledger of the control plane.
func (w *world) ask(code int, args ...string) string {
	w.t.Helper()
	out, err := exec.Command(w.program, append([]string{"evidence", "ask", "--ledger", w.path("evidence")}, args...)...).CombinedOutput()
	var ended *exec.ExitError
	got := 0
	if errors.As(err, &ended) {
		got = ended.ExitCode()
	}
	if got != code {
		w.t.Errorf("ask %v: exit code %d, want %d\n%s", args, got, code, out)
	}
	return string(out)
}

// during is the question whether the control was in force in a time.
func (w *world) during(code int, since, until time.Time, more ...string) string {
	w.t.Helper()
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	return w.ask(code, append([]string{"in-force", judged, "--since", stamp(since), "--until", stamp(until)}, more...)...)
}

// patch changes the Platform or the Tenant.
func (w *world) patch(o client.Object, text string) {
	w.t.Helper()
	if err := w.admin.Patch(w.t.Context(), o, client.RawPatch(types.MergePatchType, []byte(text))); err != nil {
		w.t.Fatal(err)
	}
}

// TestInForce: a control that the Platform weakens for a while was in force before, was not meanwhile, and whether it was while the
// control plane was dead is unknown. What was changed stands in the ledger, and nobody's name does.
func TestInForce(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.onboard()
	platform := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}}

	first, n := w.awaitPosture(0, finding.Deny)
	time.Sleep(7 * time.Second) // a posture may be five seconds late, and what it finds weaker casts doubt on so much before it
	before := first.Add(time.Second)
	w.patch(platform, `{"spec":{"controls":{"`+judged+`":{"action":"Warn"}}}}`)
	_, n = w.awaitPosture(n, finding.Warn)
	time.Sleep(time.Second)
	warned := time.Now()
	w.patch(platform, `{"spec":{"controls":{"`+judged+`":null}}}`)
	back, n := w.awaitPosture(n, finding.Deny)
	w.patch(&v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "payments"}}, `{"spec":{"owner":"admin@bank.example"},"metadata":{"annotations":{"a":"b"}}}`)
	w.patch(platform, `{"metadata":{"annotations":{"bank.example/ticket":"CHG1"}}}`)
	w.await("the last change", func() bool { return w.tells("change.v1", `"kind":"Platform"`, `"unchanged":true`) })

	if got := w.during(0, first, before); !strings.Contains(got, ": yes\n") || !strings.Contains(got, "policies: ringfence-") {
		t.Error(got)
	}
	if got := w.during(1, first, warned); !strings.Contains(got, ": no\n") || !strings.Contains(got, "Warn in ") || !strings.Contains(got, "payments-") {
		t.Error(got)
	}
	w.during(1, warned.Add(-time.Millisecond), warned, "--tenant", "payments")
	w.during(1, warned.Add(-time.Millisecond), warned, "--namespace", "payments-prod")
	w.during(0, first, before, "--tenant", "payments", "-o", "json")
	if got := w.during(3, first, before, "--tenant", "nobody"); !strings.Contains(got, "no such namespace") {
		t.Error(got)
	}
	if got := w.during(3, first.Add(-time.Hour), before.Add(-30*time.Minute)); !strings.Contains(got, "nothing is known") && !strings.Contains(got, "no posture is known before") {
		t.Error(got)
	}
	got := w.ask(0, "changed")
	for _, want := range []string{"UPDATE Platform platform by hmac-sha256:", "/spec/controls/" + judged + "/action: Warn came", "/spec/controls/" + judged + "/action: Warn went",
		"/spec/actions/" + judged + ": Deny became Warn", "/spec/owner: hmac-sha256:", "changed nothing in spec are not listed"} {
		if !strings.Contains(got, want) {
			t.Errorf("ask changed says\n%s\nwant %s", got, want)
		}
	}
	if strings.Contains(got, "admin@") {
		t.Error("ask changed names a person")
	}

	w.kill()
	time.Sleep(time.Second)
	w.start()
	again, _ := w.awaitPosture(n, finding.Deny)
	if got := w.during(3, back, again); !strings.Contains(got, ": unknown\n") || !strings.Contains(got, "the control plane was down, or not seen to run") {
		t.Error(got)
	}
	w.during(0, first, before) // what was known stays known
	quiet, _ := w.postures()
	time.Sleep(5 * time.Second)
	if after, _ := w.postures(); len(after) != len(quiet) {
		t.Errorf("%d postures were recorded while nothing changed", len(after)-len(quiet))
	}
	w.kept()

	bundle := filepath.Join(w.dir, "bundle.zip")
	if out, err := exec.Command(w.program, "evidence", "export", "--ledger", w.path("evidence"), "-o", bundle).CombinedOutput(); err != nil {
		t.Fatalf("export: %v\n%s", err, out)
	}
	if python, err := exec.LookPath("python3"); err == nil {
		if out, err := exec.Command(python, "../../../docs/verify.py", bundle).CombinedOutput(); err != nil {
			t.Errorf("verify.py: %v\n%s", err, out)
		}
	}
}
