package rollout

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cli"
	catalogue "ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/rollout"
	"ringfence.dev/ringfence/server"
)

// said is what a program that runs has printed.
type said struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements io.Writer.
func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// String is all that was printed.
func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// TestPromotesByItself: `ringfence serve --promote-as` promotes for a ring that was clean, without anybody asking, and not for one that was not; in the
// name of an account that may do no more than docs/rollout.md says; and not before it is the replica that leads.
func TestPromotesByItself(t *testing.T) {
	admin := masters(t)
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	stop := run(t, server.Config{})
	onboard(t, admin)
	member(t, admin, "neat", v1alpha1.Environment{Name: "dev"})
	member(t, admin, "foul", v1alpha1.Environment{Name: "dev"})
	rules := `{"spec":{"promotion":{"cleanDays":1,"rings":["foul","neat"],"controls":["` + promoted + `"]},"controls":null}}`
	if err := admin.Patch(t.Context(), platform(t, admin), client.RawPatch(types.MergePatchType, []byte(rules))); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the rules to count", func() error { // the last that this Ringfence does
		var guard v1alpha1.Guard
		if err := admin.Get(t.Context(), client.ObjectKey{Namespace: "foul-dev", Name: v1alpha1.GuardName}, &guard); err != nil || guard.Spec.Actions[promoted] != v1alpha1.Warn {
			return fmt.Errorf("%s: %v, %v", promoted, guard.Spec.Actions[promoted], err)
		}
		return nil
	})
	stop()
	lease := leadsElsewhere(t, admin)
	prose := runsServe(t, dir, "--promote-as", promoter(t, admin), "--promote-every", "300ms")
	warns(t, "foul-dev", "tried", promoted)
	bad := cronJob("foul-dev", "tried")
	create(t, admin, bad)
	if err := admin.Delete(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "what was tried to be recorded", func() error {
		var r rollout.Report
		got := control(t, "preflight", promoted, "--ring", "foul", "--dir", dir, "-o", "json")
		if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || r.Requests.Times == 0 {
			return fmt.Errorf("%v: %+v", err, got)
		}
		return nil
	})
	time.Sleep(3 * time.Second) // what must not happen can only be waited for
	if text := prose.String(); strings.Contains(text, "ring neat") || strings.Contains(text, "promote") {
		t.Errorf("before it leads, it says:\n%s", text)
	}
	if err := admin.Delete(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the ring neat to be promoted", func() error {
		if c := platform(t, admin).Spec.Controls[promoted]; c.Rings["neat"] != v1alpha1.Deny {
			return fmt.Errorf("%+v; %s", c, prose)
		}
		return nil
	})
	ringfencetest.Eventually(t, "another look after it", func() error {
		if want := "ring neat: no control is due, such as " + promoted; !strings.Contains(prose.String(), want) {
			return fmt.Errorf("not said: %s: %s", want, prose)
		}
		return nil
	})
	if c := platform(t, admin).Spec.Controls[promoted]; len(c.Rings) != 1 || len(c.Steps) != 1 || c.Steps[0].CleanDays != 1 {
		t.Errorf("the Platform notes %+v", c)
	}
	if want := "ring foul: none of 1 control is due, such as " + promoted + ": not due: 0 objects and "; !strings.Contains(prose.String(), want) {
		t.Errorf("of what was tried it does not say %q:\n%s", want, prose)
	}
	if err := admin.Patch(t.Context(), platform(t, admin), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"promotion":null,"controls":null}}`))); err != nil {
		t.Fatal(err)
	}
}

// leadsElsewhere has another replica lead for an hour.
func leadsElsewhere(t *testing.T, admin client.Client) *coordinationv1.Lease {
	t.Helper()
	holder, hour, now := "another", int32(3600), metav1.NowMicro()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "ringfence", Namespace: v1alpha1.SystemNamespace},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &hour, AcquireTime: &now, RenewTime: &now}}
	if err := admin.Create(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	return lease
}

// promoter is the kubeconfig of an account that may promote and no more.
func promoter(t *testing.T, admin client.Client) string {
	t.Helper()
	cat, err := catalogue.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	rule := func(group, resource string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
	}
	own := v1alpha1.GroupVersion.Group
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "promoter"}, Rules: []rbacv1.PolicyRule{rule(own, "platforms", "get", "list", "patch"),
		rule(own, "tenants", "list"), rule(own, "waivers", "list"), rule(own, "guards", "list")}}
	workloads, others := cat.Kinds()
	for _, k := range append(workloads, others...) {
		role.Rules = append(role.Rules, rule(k.APIGroup, k.Resource, "list"))
	}
	const user = "oidc:promoter@bank.example"
	create(t, admin, role)
	create(t, admin, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role.Name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}}})
	config, err := clientcmd.LoadFromFile(cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range config.AuthInfos {
		who.Impersonate, who.ImpersonateGroups = user, []string{"system:authenticated"}
	}
	file := filepath.Join(t.TempDir(), "promoter.kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// runsServe runs `ringfence serve` until the test ends, by a clock that is a day ahead, and returns what it says.
func runsServe(t *testing.T, dir string, args ...string) *said {
	t.Helper()
	var prose said
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan int, 1)
	args = append([]string{"serve", "--kubeconfig", cluster.Kubeconfig, "--socket", local.SocketPath(dir), "--evidence", filepath.Join(dir, "evidence"),
		"--audit-file", auditFile, "--lease", "2s"}, args...)
	go func() {
		done <- cli.Main(ctx, args, cli.Env{Stdin: strings.NewReader(""), Stdout: &prose, Stderr: &prose, Now: func() time.Time { return time.Now().Add(25 * time.Hour) }})
	}()
	t.Cleanup(func() {
		stop()
		if code := <-done; code != 0 {
			t.Errorf("ringfence serve exits %d: %s", code, &prose)
		}
	})
	return &prose
}
