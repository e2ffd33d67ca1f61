// Package load shows Ringfence on a real API server under load: that it starts with much to know, that it holds a steady load
// without an error and without growing, and which faults it stands meanwhile. Nothing is let in that must not be.
//
// `make soak` runs the steady load for half an hour.
package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/install"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/server"
)

const (
	// envServe holds settings as JSON: the test program is then Ringfence, a process of its own that can be killed.
	envServe = "RINGFENCE_LOAD_SERVE"
	// home is the namespace of the tenant under load.
	home = "payments-dev"
)

// The cluster, its file of audit events, and where the webhook listens.
var (
	cluster *clustertest.Cluster
	events  string
	address string
)

func TestMain(m *testing.M) {
	if text := os.Getenv(envServe); text != "" {
		os.Exit(serve(text))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv(clustertest.EnvKubeconfig) != "" {
		fmt.Fprintln(os.Stderr, "load: skipped: the API server of a cluster that exists may not reach this process, and is not ours to kill")
		return 0
	}
	dir, err := os.MkdirTemp("", "rfload")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	events = filepath.Join(dir, "audit.log")
	rules, err := filepath.Abs("../../../docs/audit-policy.yaml")
	free, listenErr := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(err, listenErr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	address = free.Addr().String()
	free.Close()
	return clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c }, "--nodes", "0", "--no-scheduler",
		"--audit-policy", rules, "--apiserver-arg=--audit-log-path="+events, "--apiserver-arg=--audit-log-maxsize=200", "--apiserver-arg=--audit-log-maxbackup=10")
}

// TestLoad is all of it on one cluster, in this order: what is made first is made before there are policies.
func TestLoad(t *testing.T) {
	t.Run("steady", holdsLoad)
	t.Run("killed", killed)
	t.Run("certificate expired", expired)
	t.Run("disk slow", diskSlow)
	t.Run("clock set", clockSet)
	t.Run("API server killed", serverKilled)
}

// settings are those of a Ringfence that is a process of its own.
type settings struct {
	Kubeconfig, Evidence, Socket, AuditAddress, AuditFile string
	Webhook                                               server.WebhookConfig
}

// serve is Ringfence until it is told to end, or the test that started it is gone.
func serve(text string) int {
	var s settings
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	err := json.Unmarshal([]byte(text), &s)
	var config *rest.Config
	if err == nil {
		config, err = kube.Config(s.Kubeconfig)
	}
	var srv *server.Server
	if err == nil {
		srv, err = server.New(server.Config{Evidence: s.Evidence, Socket: s.Socket, AuditAddress: s.AuditAddress, AuditFile: s.AuditFile, Webhook: s.Webhook},
			slog.New(slog.NewTextHandler(os.Stderr, nil)))
	}
	if err == nil {
		fmt.Println(srv.AuditURL())
		err = srv.Run(ctx, config)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ringfence ended:", err)
		return 1
	}
	return 0
}

// administrator is a client that waits for nothing but the answer.
func administrator(t *testing.T) client.Client {
	t.Helper()
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	return as(t, rest.ImpersonationConfig{})
}

// as is a client of somebody else.
func as(t *testing.T, who rest.ImpersonationConfig) client.Client {
	t.Helper()
	config := rest.CopyConfig(cluster.Config)
	config.WarningHandler, config.Impersonate, config.Timeout = rest.NoWarnings{}, who, 20*time.Second
	c, err := kube.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// furnish makes the bank and its tenant, where a test before has not.
func furnish(t *testing.T, c client.Client) {
	t.Helper()
	if err := errors.Join(install.CRDs(t.Context(), c, v1alpha1.CRDs()), install.Namespace(t.Context(), c)); err != nil {
		t.Fatal(err)
	}
	for _, o := range []client.Object{
		&v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{Registries: []v1alpha1.Registry{"registry.bank.example"}}},
		newTenant("payments", v1alpha1.Environment{Name: "dev"}),
	} {
		ringfencetest.Eventually(t, "create "+o.GetName(), func() error { return client.IgnoreAlreadyExists(c.Create(t.Context(), o)) })
	}
}

func newTenant(name string, environments ...v1alpha1.Environment) *v1alpha1.Tenant {
	return &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.TenantSpec{
		Owner: name + "-team@bank.example", Groups: v1alpha1.TenantGroups{Admin: name + "-admins", ReadOnly: name + "-readers"}, Environments: environments,
	}}
}

// inForce waits until both doors are in force: native policies and the webhook. It leaves a right pod's account behind.
func inForce(t *testing.T, c client.Client) {
	t.Helper()
	ringfencetest.Eventually(t, "the policies and the webhook", func() error {
		var p v1alpha1.Platform
		if err := c.Get(t.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(p.Status.Conditions, bundle.ConditionEnforced) {
			return fmt.Errorf("conditions: %v", p.Status.Conditions)
		}
		return c.Get(t.Context(), client.ObjectKey{Name: admission.RegistrationName}, registration())
	})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "api"}, AutomountServiceAccountToken: new(false)}
	ringfencetest.Eventually(t, "an account", func() error { return client.IgnoreAlreadyExists(c.Create(t.Context(), account.DeepCopy())) })
	for _, r := range requests() {
		ringfencetest.Eventually(t, r.name, func() error { return r.judge(c.Create(t.Context(), r.object(), client.DryRunAll)) })
	}
}

// background runs f until the function that it returns is called, which waits for its end.
func background(t *testing.T, f func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return stop
}
