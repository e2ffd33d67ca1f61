package rollout

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// TestLarge measures observe over a fifth of RINGFENCE_ROLLOUT_OBJECTS, and preflight over all of them and 100,000 recorded requests. It asserts
// that all were judged and counted, and prints what that took. Without the variable it is left out.
func TestLarge(t *testing.T) {
	if cluster == nil || os.Getenv("RINGFENCE_ROLLOUT_OBJECTS") == "" {
		t.Skip("RINGFENCE_ROLLOUT_OBJECTS says over how many objects, such as 50000")
	}
	b := &bank{T: t, workloads: size(t, "RINGFENCE_ROLLOUT_OBJECTS", 1), teams: 50, began: time.Now()}
	var err error
	if b.Cluster, err = clustertest.Start("--no-scheduler", "--no-controller-manager"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	b.admin = ringfencetest.Client(t, b.Config)
	b.each("make namespaces", b.teams, func(i int) error {
		return client.IgnoreAlreadyExists(b.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("team%02d-dev", i)}}))
	})
	made, fifth := 0, b.workloads/5
	upTo := func(n int) {
		from := made
		b.each("make objects", n-from, func(i int) error {
			o := b.workload(b.teams*2*(from+i) + (from+i)%b.teams) // each in a namespace of development
			o.SetName(fmt.Sprintf("app%06d", from+i))
			if d, ok := o.(*appsv1.Deployment); ok {
				d.Spec.Template.Spec.HostPID = i%3 == 0
			}
			return client.IgnoreAlreadyExists(b.admin.Create(t.Context(), o))
		})
		made = n
		b.tells(fmt.Sprintf("%d objects are there", n))
	}
	dir := serves(t, 100_000)
	upTo(fifth)
	out := b.measures("observe", "--propose", filepath.Join(dir, "platform.yaml"))
	if !strings.Contains(out, "objects in") {
		t.Errorf("observe: %s", out)
	}
	upTo(b.workloads)
	out = b.measures("control", "preflight", promoted, "--platform", filepath.Join(dir, "platform.yaml"), "--dir", dir)
	if !strings.Contains(out, "\n100000 recorded requests since ") {
		t.Errorf("preflight: %.2000s", out)
	}
}

// measures runs a command in a process of its own and prints what it took.
func (b *bank) measures(args ...string) string {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self, append(args, "--kubeconfig", b.Kubeconfig)...)
	cmd.Env = append(os.Environ(), envCommand+"=1")
	began := time.Now()
	out, err := cmd.Output()
	if _, ended := err.(*exec.ExitError); err != nil && !ended { // what it found is its exit code
		b.Fatal(err)
	}
	head, _, _ := strings.Cut(string(out), "\n")
	b.Logf("%s: %.1f s, %.1f s of processor, at most %d MiB, on %d cores: %s", strings.Join(args[:2], " "), time.Since(began).Seconds(),
		(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss>>10, runtime.NumCPU(), head)
	return string(out)
}

// serves answers for a control plane that has recorded n requests of the last 30 days, at the folder that it returns.
func serves(t *testing.T, n int) string {
	t.Helper()
	dir, memory := answers(t, n)
	for i := range n {
		memory.Add([]finding.Finding{{Control: promoted, Outcome: finding.Fail, Action: finding.Warn,
			Subject:  finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: fmt.Sprintf("team%02d-dev", i%50), Name: fmt.Sprintf("app%04d-5d4f8b7c9d-x2x4z", i%2000)},
			Observed: &finding.Observed{Time: time.Now().Add(-time.Duration(n-i) * 29 * 24 * time.Hour / time.Duration(n)), User: "system:serviceaccount:kube-system:replicaset-controller", Operation: "CREATE"}}})
	}
	return dir
}
