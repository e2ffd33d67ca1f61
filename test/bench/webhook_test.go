package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/install"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/server"
)

// clients make requests at once, and turn is how many each makes before the next side has its turn.
const clients, turn = 16, 25

// sides are the namespaces in turn, named for what judges there.
func sides() []string { return []string{"none", "nothing", "webhook", "native", "both"} }

// BenchmarkWebhook is dry-run CREATEs of a compliant Pod by 16 clients, in turn in namespaces that nobody judges, that a webhook
// judges which does nothing, Ringfence's webhook with the whole catalogue, its native policies as the control plane installs
// them, and both. CPU is that of each process, read from the kernel.
func BenchmarkWebhook(b *testing.B) {
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
	putDown(b, cluster, c)
	nothing, ours := startDoor(b, "nothing"), startDoor(b, cluster.Kubeconfig)
	register(b, c, nothing, "nothing", "none", "webhook", "native", "both")
	register(b, c, ours, "ours", "none", "nothing", "native")
	awaitSides(b, c)
	processes := map[string]int{"apiserver": apiServer(b, cluster), "etcd": component(b, cluster, "etcd"), "nothing": nothing.pid, "ringfence": ours.pid, "load": os.Getpid()}
	quiet(b, processes["apiserver"])
	from := sixteen(b, cluster)
	cost, took := map[string]time.Duration{}, map[string]time.Duration{}
	rest, requests := sides(), -clients*turn // the first round warms up
	for b.Loop() {
		for range rounds {
			for _, side := range rest {
				before, began := map[string]time.Duration{}, time.Now()
				for name, pid := range processes {
					before[name] = cpu(b, pid)
				}
				takeTurn(b, from, side)
				if requests < 0 {
					continue
				}
				took[side] += time.Since(began)
				for name, pid := range processes {
					cost[side+" "+name] += cpu(b, pid) - before[name]
				}
			}
			rest = append(rest[1:], rest[0]) // so that no side always follows the same one
			requests += clients * turn
		}
	}
	tellSides(b, cost, took, requests)
}

// tellSides prints a row for each side and reports the ratios that the design has bars for.
func tellSides(b *testing.B, cost, took map[string]time.Duration, requests int) {
	text := fmt.Sprintf("%d requests a side\n%-8s %8s %8s   CPU ms a request: API server, etcd, do-nothing webhook, Ringfence, the load\n", requests, "", "req/s", "ratio")
	rate := func(side string) float64 { return float64(requests) / took[side].Seconds() }
	each := func(side, name string) float64 { return cost[side+" "+name].Seconds() * 1000 / float64(requests) }
	for _, side := range sides() {
		text += fmt.Sprintf("%-8s %8.0f %8.2f", side, rate(side), rate(side)/rate("nothing"))
		for _, name := range []string{"apiserver", "etcd", "nothing", "ringfence", "load"} {
			text += fmt.Sprintf(" %8.2f", each(side, name))
		}
		text += "\n"
	}
	b.Log(text)
	b.ReportMetric(rate("webhook")/rate("nothing"), "webhook/nothing-throughput")
	b.ReportMetric(rate("both")/rate("nothing"), "both/nothing-throughput")
	b.ReportMetric(each("native", "apiserver")/each("none", "apiserver"), "native/none-apiserver-cpu")
	b.ReportMetric(rate("nothing"), "nothing-req/s")
	b.ReportMetric(rate("webhook"), "webhook-req/s")
	b.ReportMetric(0, "ns/op")
}

// putDown has the control plane install its policies in a cluster with a namespace for each side, and ends it: what it installed
// stays. The namespace of the webhook alone is exempt from the policies, and is given the Guard of the native one.
func putDown(b *testing.B, cluster *clustertest.Cluster, c client.Client) {
	ctx := b.Context()
	if err := errors.Join(install.CRDs(ctx, c, v1alpha1.CRDs()), install.Namespace(ctx, c)); err != nil {
		b.Fatal(err)
	}
	for _, side := range sides() {
		if err := c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: side}}); err != nil {
			b.Fatal(err)
		}
	}
	for _, side := range sides() {
		if err := c.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "api", Namespace: side}}); err != nil {
			b.Fatal(err)
		}
	}
	platform := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{
		Registries: []v1alpha1.Registry{"registry.bank.example"}, ExemptNamespaces: []v1alpha1.NamespaceName{"none", "nothing", "webhook"}}}
	if err := c.Create(ctx, platform); err != nil {
		b.Fatal(err)
	}
	srv, err := server.New(server.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- srv.Run(running, rest.CopyConfig(cluster.Config)) }()
	guard := &v1alpha1.Guard{}
	err = wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(platform), platform)
		if err != nil || !meta.IsStatusConditionTrue(platform.Status.Conditions, bundle.ConditionEnforced) {
			return false, client.IgnoreNotFound(err)
		}
		err = c.Get(ctx, client.ObjectKey{Namespace: "native", Name: v1alpha1.GuardName}, guard)
		return err == nil, client.IgnoreNotFound(err)
	})
	stop()
	if err := errors.Join(err, <-done); err != nil {
		b.Fatal("install the policies: ", err)
	}
	if err := c.Create(ctx, &v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Namespace: "webhook", Name: v1alpha1.GuardName}, Spec: guard.Spec}); err != nil {
		b.Fatal(err)
	}
}

// register has the API server ask a webhook about what the whole catalogue judges, but not in some namespaces.
func register(b *testing.B, c client.Client, d door, name string, not ...string) {
	whole, err := control.Load(controls.FS)
	if err != nil {
		b.Fatal(err)
	}
	cat, err := admission.Select(whole, admission.All, true)
	if err != nil {
		b.Fatal(err)
	}
	registration := admission.Registration(cat, not, d.at(), d.CA)
	registration.Name = "bench-" + name
	if err := c.Create(b.Context(), registration); err != nil {
		b.Fatal(err)
	}
}

// awaitSides waits until every side refuses a bad Pod in its own words, or lets it in, and lets the right one in without a warning.
func awaitSides(b *testing.B, c client.Client) {
	for side, words := range map[string]string{"none": "", "nothing": "", "webhook": admission.WebhookSuffix + `" denied the request: RF-IM-01`, "native": "denied request: RF-IM-01", "both": "denied request: RF-IM-01"} {
		bad, last := pod(side), error(nil)
		bad.Spec.Containers[0].Image = "nginx"
		err := wait.PollUntilContextTimeout(b.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			last = c.Create(ctx, bad.DeepCopy(), client.DryRunAll)
			if words == "" && last != nil || words != "" && (last == nil || !strings.Contains(last.Error(), words)) {
				return false, nil
			}
			last = c.Create(ctx, pod(side), client.DryRunAll)
			return last == nil, nil
		})
		if err != nil {
			b.Fatalf("namespace %s does not come to judge as it must: %v", side, last)
		}
	}
}

// sixteen are clients with a connection each.
func sixteen(b *testing.B, cluster *clustertest.Cluster) (all []client.Client) {
	for range clients {
		config := rest.CopyConfig(cluster.Config)
		config.Dial = (&net.Dialer{}).DialContext // one of its own: connections are shared by those with the same
		c, err := kube.NewClient(config)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// takeTurn makes the requests of one turn.
func takeTurn(b *testing.B, from []client.Client, side string) {
	var group errgroup.Group
	for _, c := range from {
		group.Go(func() error {
			for range turn {
				if err := c.Create(b.Context(), pod(side), client.DryRunAll); err != nil {
					return fmt.Errorf("namespace %s: %w", side, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}
