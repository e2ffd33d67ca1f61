// Package bench measures what Ringfence costs a real API server. Each benchmark measures its baseline in the same run, in
// turn with what it measures, and prints the ratio; none is a timed test.
package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/install"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/policy/bundle"
)

// block is how many requests are made before the other side has its turn, and rounds how often each has it; CPU is counted
// in ticks of 10 ms.
const (
	block  = 250
	rounds = 8
)

// BenchmarkNativeBundles is the API server's CPU for a dry-run CREATE of a compliant Pod, in a namespace that is exempt
// and in one that the bundles guard.
func BenchmarkNativeBundles(b *testing.B) {
	cluster, err := clustertest.Start("--nodes", "0", "--no-scheduler")
	if errors.Is(err, clustertest.ErrUnavailable) {
		b.Skip(err)
	} else if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(cluster.Stop)
	c, err := kube.NewClient(cluster.Config)
	if err != nil {
		b.Fatal(err)
	}
	prepare(b, c)
	pid := apiServer(b, cluster)
	quiet(b, pid)
	cost := map[string]time.Duration{}
	requests := -block // the first round warms up
	for b.Loop() {
		for range rounds {
			for _, namespace := range []string{"exempt", "guarded"} {
				before := cpu(b, pid)
				for range block {
					if err := c.Create(b.Context(), pod(namespace), client.DryRunAll); err != nil {
						b.Fatal(err)
					}
				}
				if requests >= 0 {
					cost[namespace] += cpu(b, pid) - before
				}
			}
			requests += block
		}
	}
	per := func(ns string) float64 { return cost[ns].Seconds() * 1000 / float64(requests) }
	b.ReportMetric(per("exempt"), "none-cpu-ms/req")
	b.ReportMetric(per("guarded"), "bundles-cpu-ms/req")
	b.ReportMetric(per("guarded")/per("exempt"), "ratio")
	b.ReportMetric(0, "ns/op")
}

// quiet waits until the API server has compiled what it was given: a second in which it takes less than a tenth of a processor.
func quiet(b *testing.B, pid int) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		before := cpu(b, pid)
		time.Sleep(time.Second)
		if cpu(b, pid)-before < 100*time.Millisecond {
			return
		}
	}
	b.Fatal("the API server is still busy a minute after the bundles were installed")
}

// prepare installs the bundles and two namespaces, of which they exempt one.
func prepare(b *testing.B, c client.Client) {
	ctx := b.Context()
	cat, err := control.Load(controls.FS)
	if err != nil {
		b.Fatal(err)
	}
	if err := install.CRDs(ctx, c, v1alpha1.CRDs()); err != nil {
		b.Fatal(err)
	}
	for _, ns := range []string{"exempt", "guarded"} {
		if err := c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); err != nil {
			b.Fatal(err)
		}
	}
	for _, ns := range []string{"exempt", "guarded"} {
		if err := c.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "api", Namespace: ns}}); err != nil {
			b.Fatal(err)
		}
	}
	guard := &v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.GuardName, Namespace: "guarded"},
		Spec: v1alpha1.GuardSpec{Registries: []v1alpha1.Registry{"registry.bank.example"}}}
	if err := c.Create(ctx, guard); err != nil {
		b.Fatal(err)
	}
	for _, one := range bundle.Build(cat, []string{"exempt"}) {
		if err := errors.Join(c.Create(ctx, one.Policy), c.Create(ctx, one.Binding)); err != nil {
			b.Fatal(err)
		}
	}
	bad := pod("guarded")
	bad.Spec.Containers[0].Image = "nginx"
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		err := c.Create(ctx, bad.DeepCopy(), client.DryRunAll)
		return err != nil && strings.Contains(err.Error(), "RF-IM-01"), nil
	})
	if err != nil {
		b.Fatal("the bundles did not come into force: ", err)
	}
}

// pod satisfies every control of the catalogue.
func pod(namespace string) *corev1.Pod {
	amount := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceEphemeralStorage: resource.MustParse("1Gi"),
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "api-", Namespace: namespace}, Spec: corev1.PodSpec{
		ServiceAccountName: "api", AutomountServiceAccountToken: new(false),
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{Name: "api", Image: "registry.bank.example/payments/api@sha256:" + strings.Repeat("0", 64),
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
			Resources: corev1.ResourceRequirements{Requests: amount, Limits: amount}}},
	}}
}

// apiServer is the process of the cluster's API server.
func apiServer(b *testing.B, c *clustertest.Cluster) int { return component(b, c, "kube-apiserver") }

// component is a process of the cluster. Each works in the folder etcd of its directory.
func component(b *testing.B, c *clustertest.Cluster, name string) int {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lines {
		text, _ := os.ReadFile(file)
		at, _ := os.Readlink(filepath.Join(filepath.Dir(file), "cwd"))
		args := bytes.Split(text, []byte{0})
		if len(args) > 1 && string(args[1]) == name && filepath.Dir(at) == filepath.Dir(c.Kubeconfig) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			return pid
		}
	}
	b.Skipf("skipped: %s is not a process of this machine", name)
	return 0
}

// cpu is the CPU time that a process has used (proc(5): utime and stime, in ticks of 10 ms).
func cpu(b *testing.B, pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
