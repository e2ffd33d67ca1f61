// Package faults shows on a real API server what Ringfence does when something goes wrong. Its own kinds are taken away or edited, a
// replica is killed, a Platform has a mistake, Guards are stale or too large, and clients send what they should not.
package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/server"
)

// The cluster, made once by TestMain, and the file of its audit events.
var (
	cluster *clustertest.Cluster
	events  string
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	os.Exit(clustertest.MainAudited(m.Run, func(c *clustertest.Cluster, log string) { cluster, events = c, log }, "--nodes", "0"))
}

// bed is the cluster, and a Service in front of what listens at the door's address.
type bed struct {
	client.Client // the administrator's
	config        *rest.Config
	front         *front
}

// newBed is the cluster with a Platform, and the Service of the door. What runs on it the test says.
func newBed(t *testing.T) *bed {
	t.Helper()
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	if os.Getenv(clustertest.EnvKubeconfig) != "" {
		t.Skip("skipped: the API server of a cluster that exists may not reach this process, and its audit events are not here")
	}
	b := &bed{config: cluster.Config}
	var err error
	if b.Client, err = kube.NewClient(b.config); err != nil {
		t.Fatal(err)
	}
	b.front = newFront(t)
	return b
}

// furnish makes what a running Ringfence needs from the bank, and waits until its rules are in force.
func (b *bed) furnish(t *testing.T) {
	t.Helper()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "ringfence"},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"}}
	ringfencetest.Eventually(t, "the Service of the door", func() error { return client.IgnoreAlreadyExists(b.Create(t.Context(), service.DeepCopy())) })
	ringfencetest.Eventually(t, "the Platform", func() error { return client.IgnoreAlreadyExists(b.Create(t.Context(), platform())) })
	ringfencetest.Eventually(t, "the rules to be in force", b.enforced(t))
	ringfencetest.Eventually(t, "the registration", func() error {
		return b.Get(t.Context(), client.ObjectKey{Name: admission.RegistrationName}, registered())
	})
}

func platform() *v1alpha1.Platform {
	return &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{Registries: []v1alpha1.Registry{"registry.bank.example"}}}
}

// enforced is nil where the condition Enforced holds for the Platform as it is.
func (b *bed) enforced(t *testing.T) func() error {
	return func() error {
		var p v1alpha1.Platform
		if err := b.Get(t.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.Status.Conditions, bundle.ConditionEnforced)
		if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != p.Generation {
			return fmt.Errorf("generation %d, conditions %v", p.Generation, p.Status.Conditions)
		}
		return nil
	}
}

// roadblock puts a front between Ringfence and the API server, which passes nothing on until it is told of the address api.
func (b *bed) roadblock(t *testing.T) (road *front, api string) {
	t.Helper()
	at, err := url.Parse(b.config.Host)
	if err != nil {
		t.Fatal(err)
	}
	road = newFront(t)
	b.config = rest.CopyConfig(b.config)
	b.config.Host = "https://" + road.listener.Addr().String()
	return road, at.Host
}

// ringfence runs the control plane in this process until stop is called or the test ends. Its door is behind the front.
func (b *bed) ringfence(t *testing.T, cfg server.Config) (stop func()) {
	t.Helper()
	cfg.Webhook = server.WebhookConfig{Listen: "127.0.0.1:0", Service: b.front.service(), Controls: admission.All, Settle: time.Second, Drain: 200 * time.Millisecond}
	srv, stop := ringfencetest.Start(t, b.config, cfg, slog.LevelError)
	b.front.to(srv.WebhookAddress())
	return stop
}

// namespace makes a guarded namespace that no tenant owns and waits until both doors judge in it.
func (b *bed) namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "faults-"}}
	ringfencetest.Eventually(t, "a namespace", func() error {
		fresh := ns.DeepCopy()
		err := b.Create(t.Context(), fresh)
		if err == nil {
			ns = fresh
		}
		return err
	})
	ringfencetest.Eventually(t, "a good pod to be let in", func() error { return b.good(t.Context(), ns.Name) })
	ringfencetest.Eventually(t, "a bad pod to be refused", func() error { return b.bad(t.Context(), ns.Name) })
	return ns.Name
}

// good is nil where a pod that breaks no rule would be let in. That takes a yes of both doors.
func (b *bed) good(ctx context.Context, namespace string) error {
	return b.Create(ctx, pod(namespace), client.DryRunAll)
}

// bad is nil where a privileged pod is refused, for whatever reason; errAdmitted where it would be let in.
func (b *bed) bad(ctx context.Context, namespace string) error {
	p := pod(namespace)
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
	err := b.Create(ctx, p, client.DryRunAll)
	switch {
	case err == nil:
		return errAdmitted
	case strings.Contains(err.Error(), "RF-WL-01 "):
		return nil
	}
	return fmt.Errorf("refused by another than RF-WL-01: %w", err)
}

// errAdmitted says that what must never be let in would have been.
var errAdmitted = errors.New("a privileged pod is admitted")

func pod(namespace string) *corev1.Pod {
	amount := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "api-", Namespace: namespace}, Spec: corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{
			Name: "api", Image: "registry.bank.example/payments/api:1",
			SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			Resources:       corev1.ResourceRequirements{Requests: amount("100m", "64Mi"), Limits: amount("200m", "128Mi")},
		}},
	}}
}

// front is what a Service is elsewhere: it takes connections at one address and passes them on to the one process that it was told of.
type front struct {
	listener net.Listener
	target   atomic.Pointer[string]
	// connections counts those that came.
	connections atomic.Int64
}

// asked is nil where somebody has connected.
func (f *front) asked() error {
	if f.connections.Load() == 0 {
		return errors.New("nobody has connected")
	}
	return nil
}

// newFront listens until the test ends.
func newFront(t *testing.T) *front {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.connections.Add(1)
			go f.pass(c)
		}
	}()
	return f
}

// service is the Service as --webhook-service has it.
func (f *front) service() string {
	return fmt.Sprintf("%s/ringfence:%d", v1alpha1.SystemNamespace, f.listener.Addr().(*net.TCPAddr).Port)
}

// to has new connections go to an address.
func (f *front) to(address string) { f.target.Store(&address) }

func (f *front) pass(from net.Conn) {
	defer from.Close()
	target := f.target.Load()
	if target == nil {
		return
	}
	to, err := net.Dial("tcp", *target)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
	_, _ = io.Copy(from, to)
}

// refused is nil where an error is a refusal that says text.
func refused(err error, text string) error {
	if err == nil || !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), text) {
		return fmt.Errorf("got %v; want a refusal with %q", err, text)
	}
	return nil
}
