package rollout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/rollout"
	"ringfence.dev/ringfence/server"
)

// TestDue: the Platform's own rules promote for a ring that was clean for a day, by the clock of the command; not for one where something was tried
// and taken away again, not where there is production, and not again what was undone. What is known comes from a real audit log and the real scan.
func TestDue(t *testing.T) {
	admin := masters(t)
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	run(t, server.Config{Socket: local.SocketPath(dir), Evidence: filepath.Join(dir, "evidence"), AuditFile: auditFile})
	onboard(t, admin)
	member(t, admin, "messy", v1alpha1.Environment{Name: "dev"})
	member(t, admin, "grave", v1alpha1.Environment{Name: "prod", Production: true})
	member(t, admin, "lab", v1alpha1.Environment{Name: "dev"})
	create(t, admin, deployment("lab-dev", "web", false, 1))
	due := func(ahead time.Duration) ran {
		t.Helper()
		got := at(t, func() time.Time { return time.Now().Add(ahead) }, cluster.Kubeconfig, "control", "promote", "--due", "--dir", dir)
		if got.code != 0 {
			t.Fatalf("--due: %+v", got)
		}
		return got
	}
	rings := func() map[string]v1alpha1.Action { return platform(t, admin).Spec.Controls[promoted].Rings }
	if got := due(0); !strings.Contains(got.stderr, "no spec.promotion") {
		t.Errorf("by default: %+v", got)
	}
	rules := `{"spec":{"promotion":{"cleanDays":1,"rings":["messy","grave","lab"],"controls":["` + promoted + `"]}}}`
	if err := admin.Patch(t.Context(), platform(t, admin), client.RawPatch(types.MergePatchType, []byte(rules))); err != nil {
		t.Fatal(err)
	}
	waive(t, admin, "messy-dev", "let")
	for _, name := range []string{"let", "tried"} {
		bad := cronJob("messy-dev", name)
		create(t, admin, bad)
		if err := admin.Delete(t.Context(), bad); err != nil {
			t.Fatal(err)
		}
	}
	ringfencetest.Eventually(t, "what was tried to be recorded, and after it what a waiver let in", func() error {
		var r rollout.Report
		got := control(t, "preflight", promoted, "--ring", "messy", "--dir", dir, "-o", "json")
		if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || r.Requests.Times != 1 || len(r.Requests.Groups) != 1 || r.Requests.Groups[0].Name != "tried" {
			return fmt.Errorf("%v: %+v", err, got)
		}
		return nil
	})
	var told, prose bytes.Buffer
	cli.Main(t.Context(), []string{"findings", "--dir", dir, "--namespace", "messy-dev"}, cli.Env{Stdout: &told, Stderr: &prose, Now: time.Now})
	for name, ends := range map[string]bool{"let": true, "tried": false} {
		line := regexp.MustCompile(`(?m)warned   messy-dev/CronJob/` + name + ` .*: ` + promoted + ` .*$`).FindString(told.String())
		if line == "" || strings.HasSuffix(line, "; waived by let") != ends {
			t.Errorf("of %s ringfence findings shows %q among\n%s%s", name, line, told.String(), prose.String())
		}
	}
	if got := due(0); got.stdout != "" || strings.Count(got.stderr, "not due: ") != 3 || !strings.Contains(got.stderr, "requests were not observed from") || len(rings()) > 0 {
		t.Errorf("on the first day: %+v, rings %v", got, rings())
	}
	const day = 25 * time.Hour
	var got ran
	ringfencetest.Eventually(t, "the ring lab to be promoted", func() error {
		if got = due(day); rings()["lab"] != v1alpha1.Deny {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	c := platform(t, admin).Spec.Controls[promoted]
	if len(c.Rings) != 1 || len(c.Steps) != 1 || c.Steps[0].Place != "ring/lab" || c.Steps[0].CleanDays != 1 || c.Steps[0].GraceUntil == "" || c.Steps[0].Insisted != nil {
		t.Errorf("the Platform notes %+v", c)
	}
	for _, want := range []string{promoted + " ring lab: Deny, after 1 day", promoted + " ring grave: clean for 1 day; the ring has production: a person promotes it: ringfence control promote " + promoted} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("the output lacks %q: %+v", want, got)
		}
	}
	if !strings.Contains(got.stderr, "ring messy: none of 1 control is due, such as "+promoted+": not due: 0 objects and ") {
		t.Errorf("what was tried: %+v", got)
	}
	ringfencetest.Eventually(t, "what is new to be refused", func() error {
		return ringfencetest.RefusedBy(admin.Create(t.Context(), deployment("lab-dev", "new", true, 0), client.DryRunAll), promoted)
	})
	if err := admin.Create(t.Context(), deployment("messy-dev", "new", true, 0), client.DryRunAll); err != nil {
		t.Errorf("outside of the ring: %v", err)
	}
	back := at(t, func() time.Time { return time.Now().Add(day) }, cluster.Kubeconfig, "control", "rollback", promoted)
	if back.code != 0 || len(rings()) > 0 {
		t.Fatalf("to undo it: %+v, rings %v", back, rings())
	}
	if got := due(day); len(rings()) > 0 || !strings.Contains(got.stderr, "was undone at") {
		t.Errorf("after it was undone: %+v, rings %v", got, rings())
	}
	if err := admin.Patch(t.Context(), platform(t, admin), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"promotion":null,"controls":null}}`))); err != nil {
		t.Fatal(err)
	}
}

// waive has a CronJob let in although it fails what is promoted: one person asks and another approves.
func waive(t *testing.T, admin client.Client, namespace, name string) {
	t.Helper()
	engineers(t, admin)
	got := ringfenceAs(t, jane, "waiver", "request", promoted, "cj/"+name, "-n", namespace, "--name", name, "--reason", "the vendor moves on Friday", "--ticket", "CHG-4711",
		"--expires", time.Now().Add(72*time.Hour).Format(time.DateOnly))
	if got.code == 0 {
		got = ringfenceAs(t, joan, "waiver", "approve", name, "-n", namespace)
	}
	if got.code != 0 {
		t.Fatalf("to waive %s: %+v", name, got)
	}
	warns(t, namespace, name, "; waived by "+name+" until ")
}

// warns waits until the API server itself warns of a CronJob: it takes up each policy, and each Guard, when it comes to it.
func warns(t *testing.T, namespace, name, words string) {
	t.Helper()
	var warned said
	config := rest.CopyConfig(cluster.Config)
	config.WarningHandler = rest.NewWarningWriter(&warned, rest.WarningWriterOptions{})
	c := ringfencetest.Client(t, config)
	ringfencetest.Eventually(t, "the API server to warn of "+name+": "+words, func() error {
		if err := c.Create(t.Context(), cronJob(namespace, name), client.DryRunAll); err != nil || !strings.Contains(warned.String(), words) {
			return fmt.Errorf("it warns of %s, %v", &warned, err)
		}
		return nil
	})
}

// member makes a tenant of one environment, alone in the ring of its name, and waits until it is there.
func member(t *testing.T, admin client.Client, name string, env v1alpha1.Environment) {
	t.Helper()
	create(t, admin, &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.TenantSpec{Owner: name + "-team@bank.example", Ring: name,
		Groups: v1alpha1.TenantGroups{Admin: name + "-admins", ReadOnly: name + "-readers"}, Environments: []v1alpha1.Environment{env}}})
	ringfencetest.Eventually(t, "the Guard of "+name, func() error {
		return admin.Get(t.Context(), client.ObjectKey{Namespace: name + "-" + env.Name, Name: v1alpha1.GuardName}, &v1alpha1.Guard{})
	})
}
