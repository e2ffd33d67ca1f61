package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
)

// BenchmarkCheckCluster is whole `ringfence check --cluster` processes over 10,000 generated workloads that a real API
// server holds, in ten namespaces and without controllers, beside `kubectl get` of the same
// workloads in the same run. Time is CPU time, of user and system, of the program; the API server's is not in it.
func BenchmarkCheckCluster(b *testing.B) {
	const n = 10_000
	bin := binary(b)
	kubectl := filepath.Join(filepath.Dir(bin), "kubectl")
	if _, err := os.Stat(kubectl); err != nil {
		b.Skip("bin/kubectl is not built; run: make build")
	}
	cluster, err := clustertest.Start("--nodes", "0", "--no-scheduler", "--no-controller-manager")
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
	fill(b, c, n)
	platform := filepath.Join(b.TempDir(), "platform.yaml")
	write(b, platform, []byte(checkPlatform))
	var check, get []time.Duration
	var wall, getWall time.Duration
	var rss, getRSS int64
	for b.Loop() {
		start := time.Now()
		used, most := process(b, bin, "check", "--cluster", "--kubeconfig", cluster.Kubeconfig, "--platform", platform, "-o", "json")
		wall, check, rss = time.Since(start), append(check, used), max(rss, most)
		start = time.Now()
		used, most = process(b, kubectl, "--kubeconfig", cluster.Kubeconfig, "get", "deployments,statefulsets,daemonsets", "-A", "-o", "yaml")
		getWall, get, getRSS = time.Since(start), append(get, used), max(getRSS, most)
	}
	b.ReportMetric(median(check).Seconds()*1e6/n, "cpu-µs/object")
	b.ReportMetric(median(get).Seconds()*1e6/n, "kubectl-µs/object")
	b.ReportMetric(median(check).Seconds()/median(get).Seconds(), "x-kubectl")
	b.ReportMetric(wall.Seconds(), "wall-s")
	b.ReportMetric(getWall.Seconds(), "kubectl-wall-s")
	b.ReportMetric(float64(rss)/1024, "peak-MB")
	b.ReportMetric(float64(getRSS)/1024, "kubectl-peak-MB")
	b.ReportMetric(0, "ns/op")
}

// fill makes n workloads of no replicas in ten namespaces.
func fill(b *testing.B, c client.Client, n int) {
	for i := range 10 {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("team-%d", i)}}
		if err := c.Create(b.Context(), namespace); err != nil {
			b.Fatal(err)
		}
	}
	var pool errgroup.Group
	pool.SetLimit(8)
	for i, doc := range workloads(n) {
		pool.Go(func() error {
			u := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(doc, &u.Object); err != nil {
				return err
			}
			u.SetNamespace(fmt.Sprintf("team-%d", i%10))
			if u.GetKind() != "DaemonSet" {
				if err := unstructured.SetNestedField(u.Object, int64(0), "spec", "replicas"); err != nil {
					return err
				}
			}
			labels := map[string]any{"app": fmt.Sprintf("service-%05d", i), "app.kubernetes.io/part-of": "payments"}
			if err := unstructured.SetNestedMap(u.Object, labels, "spec", "template", "metadata", "labels"); err != nil {
				return err
			}
			return c.Create(b.Context(), u)
		})
	}
	if err := pool.Wait(); err != nil {
		b.Fatal(err)
	}
}
