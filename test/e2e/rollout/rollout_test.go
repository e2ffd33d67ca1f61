package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/rollout"
	"ringfence.dev/ringfence/server"
)

// TestJourney takes a control from Warn to Deny and back while what fails it runs, and what runs comes back.
func TestJourney(t *testing.T) {
	admin := masters(t)
	run(t, server.Config{})
	onboard(t, admin)
	engineers(t, admin)
	for _, o := range []client.Object{
		deployment("alpha-dev", "api", true, 2), deployment("alpha-dev", "web", false, 1), deployment("beta-dev", "web", false, 1),
		cronJob("gamma-prod", "nightly"), statefulSet("delta-dev", "db"), deployment("omega-prod", "web", false, 1),
	} {
		create(t, admin, o)
	}
	ringfencetest.Eventually(t, "pods", func() error { return count(t, admin, "alpha-dev", "api", 2) })
	ringfencetest.Eventually(t, "pods", func() error { return count(t, admin, "delta-dev", "db", 1) })
	t.Run("preflight", func(t *testing.T) { preflight(t) })
	t.Run("requests", func(t *testing.T) { requests(t) })
	t.Run("promote", func(t *testing.T) { promote(t, admin) })
	t.Run("rollback", func(t *testing.T) { rollback(t, admin) })
}

// count is nil where so many pods of an app are there.
func count(t *testing.T, admin client.Client, namespace, app string, want int) error {
	var list corev1.PodList
	if err := admin.List(t.Context(), &list, client.InNamespace(namespace), client.MatchingLabels{"app": app}); err != nil {
		return err
	}
	list.Items = slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	if len(list.Items) != want {
		return fmt.Errorf("found %d pods of %s, want %d", len(list.Items), app, want)
	}
	return nil
}

// ask is a preflight as JSON.
func ask(t *testing.T, code int, args ...string) rollout.Report {
	t.Helper()
	got := control(t, append([]string{"preflight", "-o", "json"}, args...)...)
	var r rollout.Report
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || got.code != code {
		t.Fatalf("preflight %v: %v, exit code %d, want %d: %s%s", args, err, got.code, code, got.stdout, got.stderr)
	}
	return r
}

// broken are the breaks of a report, a line each.
func broken(r rollout.Report) (all []string) {
	for _, b := range r.Breaks {
		all = append(all, fmt.Sprintf("%s %s %s/%s %s %d", b.Tenant, b.Subject.Kind, b.Subject.Namespace, b.Subject.Name, b.When, b.Pods))
	}
	slices.Sort(all)
	return all
}

func preflight(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "none")
	r := ask(t, 1, promoted, "--dir", nowhere)
	want := []string{"alpha Deployment alpha-dev/api restart 2", "delta StatefulSet delta-dev/db restart 1", "gamma CronJob gamma-prod/nightly restart 0"}
	if got := broken(r); !slices.Equal(got, want) {
		t.Errorf("everywhere: %q, want %q", got, want)
	}
	if r.Requests.Observed || r.Breaks[0].Owner != "alpha-team@bank.example" {
		t.Errorf("%+v", r)
	}
	for _, test := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"--ring", "early"}, 1, want[:1]},
		{[]string{"--production"}, 1, want[2:]},
		{[]string{"--tenant", "delta"}, 1, want[1:2]},
		{[]string{"--tenant", "beta"}, 0, nil},
		{[]string{"--action", "Warn"}, 0, nil},
		{[]string{"--tenant", "beta", "--require-requests"}, 3, nil},
	} {
		if got := broken(ask(t, test.code, append(test.args, promoted, "--dir", nowhere)...)); !slices.Equal(got, test.want) {
			t.Errorf("%v: %q, want %q", test.args, got, test.want)
		}
	}
	text := control(t, "preflight", promoted, "--dir", nowhere)
	for _, want := range []string{"3 run now and would be refused", "alpha (alpha-team@bank.example)", "requests not observed: "} {
		if !strings.Contains(text.stdout, want) {
			t.Errorf("the text lacks %q: %s", want, text.stdout)
		}
	}
	if got := control(t, "preflight", promoted, "--ring", "nobody"); got.code != 2 || !strings.Contains(got.stderr, "the rings are: early") {
		t.Errorf("a ring of nobody: %+v", got)
	}
	table := control(t, "preflight", "--all", "--dir", nowhere)
	line := table.stdout[max(0, strings.Index(table.stdout, promoted)):]
	if line, _, _ = strings.Cut(line, "\n"); table.code == 0 || !strings.Contains(line, " 3 ") || !strings.Contains(line, "unknown") {
		t.Errorf("--all: %d %s\n%s", table.code, line, table.stdout)
	}
}

// answers serves what a memory of n findings holds, at the folder that it returns.
func answers(t *testing.T, n int) (dir string, memory *record.Memory) {
	t.Helper()
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	memory = record.NewMemory(n)
	socket := local.SocketPath(dir)
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: record.Handler(record.FromMemory(memory, func() (time.Time, bool) { return time.Now(), true }), time.Now)}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return dir, memory
}

// requests: what a control plane has recorded is counted, by workload and who asked, without dry runs, what was refused anyway and what a waiver let in.
func requests(t *testing.T) {
	dir, memory := answers(t, 0)
	add := func(namespace, name, user string, change func(*finding.Finding)) {
		f := finding.Finding{Control: promoted, Outcome: finding.Fail, Action: finding.Warn, Subject: finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: name},
			Observed: &finding.Observed{Time: time.Now().Add(-time.Minute), User: user, Operation: "CREATE"}}
		change(&f)
		memory.Add([]finding.Finding{f})
	}
	plain := func(*finding.Finding) {}
	add("beta-dev", "batch-5d4f8b7c9d-x2x4z", "jane", plain)
	add("beta-dev", "batch-5d4f8b7c9d-b2x4z", "jane", plain)
	add("beta-dev", "batch", "joe", func(f *finding.Finding) { f.Observed.DryRun = true })
	add("beta-dev", "batch", "joe", func(f *finding.Finding) { f.Observed.Refused = true })
	add("beta-dev", "batch", "joe", func(f *finding.Finding) { f.Waiver = &finding.Waiver{Name: "by-ticket"} })
	add("gamma-dev", "job", "jim", plain) // not in the ring
	r := ask(t, 1, promoted, "--ring", "early", "--dir", dir)
	g := r.Requests.Groups
	if !r.Requests.Observed || r.Requests.Times != 2 || r.Requests.DryRuns != 1 || len(g) != 1 || g[0].Name != "batch" || g[0].By != "jane" || g[0].Tenant != "beta" || g[0].Times != 2 {
		t.Errorf("%+v", r.Requests)
	}
	if len(r.Requests.Unknown) == 0 {
		t.Error("what only memory knows is not told as unknown before")
	}
}

// made is a Pod as the replicaset controller makes it of a ReplicaSet.
func made(t *testing.T, namespace string) error {
	yes := true
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "api-x", Namespace: namespace, OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "api", UID: "1", Controller: &yes}}}, Spec: template(true)}
	controller := ringfencetest.As(t, cluster.Config, "system:serviceaccount:kube-system:replicaset-controller", "system:serviceaccounts:kube-system", "system:masters")
	return controller.Create(t.Context(), p, client.DryRunAll)
}

func promote(t *testing.T, admin client.Client) {
	refused := control(t, "promote", promoted, "--to", "Deny", "--ring", "early")
	if refused.code != 1 || !strings.Contains(refused.stdout, "alpha-dev/Deployment/api") || !strings.Contains(refused.stderr, "--insist") {
		t.Fatalf("%+v", refused)
	}
	if p := platform(t, admin); len(p.Spec.Controls) != 0 {
		t.Errorf("a promotion that was refused wrote %v", p.Spec.Controls)
	}
	if got := control(t, "promote", promoted, "--to", "Deny", "--ring", "early", "--insist"); got.code != 2 {
		t.Errorf("to insist without a reason: %+v", got)
	}
	twoPeople(t, admin)
	c := platform(t, admin).Spec.Controls[promoted]
	if c.Asked != nil || c.Steps[0].Insisted.Requester != jane.Name || c.Steps[0].Insisted.Approver != joan.Name || c.Steps[0].Insisted.ApproverObject != "2" {
		t.Errorf("%+v", c)
	}
	if c.Rings["early"] != v1alpha1.Deny || len(c.Steps) != 1 || c.Steps[0].Insisted == nil || c.Steps[0].Insisted.Ticket != "CHG-4711" || c.Steps[0].Insisted.Breaks != 1 || c.Steps[0].GraceUntil == "" {
		t.Errorf("%+v", c)
	}
	ringfencetest.Eventually(t, "what is new to be refused", func() error {
		return ringfencetest.RefusedBy(admin.Create(t.Context(), deployment("alpha-dev", "new", true, 0), client.DryRunAll), promoted)
	})
	if err := admin.Create(t.Context(), deployment("gamma-dev", "new", true, 0), client.DryRunAll); err != nil {
		t.Errorf("outside of the ring: %v", err)
	}
	if err := made(t, "alpha-dev"); err != nil {
		t.Errorf("what a controller makes while there is grace: %v", err)
	}
	if err := admin.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace("alpha-dev"), client.MatchingLabels{"app": "api"}, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the pods to come back", func() error { return count(t, admin, "alpha-dev", "api", 2) })
	restart := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`))
	if err := admin.Patch(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "alpha-dev", Name: "api"}}, restart); err != nil {
		t.Fatalf("a restart: %v", err)
	}
	ringfencetest.Eventually(t, "the new ReplicaSet to have a pod", func() error {
		var sets appsv1.ReplicaSetList
		if err := admin.List(t.Context(), &sets, client.InNamespace("alpha-dev"), client.MatchingLabels{"app": "api"}); err != nil || len(sets.Items) < 2 {
			return fmt.Errorf("%d ReplicaSets, %v", len(sets.Items), err)
		}
		if !slices.ContainsFunc(sets.Items, func(s appsv1.ReplicaSet) bool {
			return s.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] != "" && s.Status.Replicas > 0
		}) {
			return fmt.Errorf("%+v", sets.Items)
		}
		return nil
	})
}

func platform(t *testing.T, admin client.Client) *v1alpha1.Platform {
	t.Helper()
	p := &v1alpha1.Platform{}
	if err := admin.Get(t.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func rollback(t *testing.T, admin client.Client) {
	insists(t, "--grace", "0s", "--reason", "no grace", "--ticket", "CHG-1")
	ringfencetest.Eventually(t, "what a controller makes to be refused without grace", func() error { return ringfencetest.RefusedBy(made(t, "gamma-dev"), promoted) })
	if err := made(t, "alpha-dev"); err != nil {
		t.Errorf("the ring has its own grace: %v", err)
	}
	began := time.Now()
	got := control(t, "rollback", promoted)
	if got.code != 0 || !strings.Contains(got.stderr, "in force in") {
		t.Fatalf("%+v", got)
	}
	if err := admin.Create(t.Context(), deployment("gamma-dev", "new", true, 0), client.DryRunAll); err != nil {
		ringfencetest.Eventually(t, "the rollback at the API server", func() error {
			return admin.Create(context.Background(), deployment("gamma-dev", "new", true, 0), client.DryRunAll)
		})
	}
	t.Logf("rolled back and seen at the API server in %v: %s", time.Since(began), got.stderr)
	p := platform(t, admin)
	if c := p.Spec.Controls[promoted]; c.Action != "" || len(c.Steps) != 1 || c.Rings["early"] != v1alpha1.Deny {
		t.Errorf("%+v", c)
	}
	if got := control(t, "rollback", promoted); got.code != 0 {
		t.Errorf("%+v", got)
	}
	if got := control(t, "rollback", promoted); got.code != 1 || !strings.Contains(got.stderr, "notes no promotion") {
		t.Errorf("a third time: %+v", got)
	}
	if c := platform(t, admin).Spec.Controls[promoted]; len(c.Rings) != 0 || len(c.Steps) != 0 {
		t.Errorf("%+v", c)
	}
}
