// Package tenancy tests, on a real API server, what happens to namespaces when tenants come, change and go, and who may
// do what in them. Ringfence runs here under its own ServiceAccount with the rights it asks for and no others.
package tenancy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/tenant"
)

// The cluster and what stands in it, made once by TestMain.
var (
	cluster *clustertest.Cluster
	scheme  = runtime.NewScheme()
	admin   client.WithWatch // system:masters
	writes  atomic.Int64     // requests of Ringfence that write
	written sync.Map         // the same, as text
	notices sync.Map         // namespace to text
)

const ringfenceUser = "system:serviceaccount:ringfence-system:ringfence"

var controls = []control.Control{
	{ID: "RF-WL-01", Default: finding.Warn, Profiles: map[string]finding.Action{"mvp": finding.Deny}},
	{ID: "RF-WL-15", Default: finding.Warn, Profiles: map[string]finding.Action{"mvp": finding.Warn}},
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctrl.SetLogger(logr.Discard())
	var err error
	cluster, err = clustertest.Start()
	if errors.Is(err, clustertest.ErrUnavailable) {
		fmt.Fprintf(os.Stderr, "tenancy: skipped: %v\n", err)
		return 0
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "tenancy: %v\n", err)
		return 1
	}
	defer cluster.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	done, err := prepare(ctx)
	if err != nil {
		cancel()
		fmt.Fprintf(os.Stderr, "tenancy: %v\n", err)
		return 1
	}
	code := m.Run()
	cancel()
	<-done
	return code
}

// prepare installs what Ringfence needs and starts it; done is closed once it has stopped.
func prepare(ctx context.Context) (done <-chan struct{}, err error) {
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	if admin, err = client.NewWithWatch(cluster.Config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	if err := cluster.InstallCRDs(ctx); err != nil {
		return nil, err
	}
	objects, err := tenant.Protection()
	if err != nil {
		return nil, err
	}
	objects = append(objects,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SystemNamespace}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "ringfence"}, Rules: tenant.ServiceAccountRules()},
		bindCluster("ringfence", rbacv1.Subject{Kind: "ServiceAccount", Namespace: v1alpha1.SystemNamespace, Name: "ringfence"}),
		bindCluster("cluster-admin", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "oidc:platform"}),
		&v1alpha1.Platform{
			ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName},
			Spec: v1alpha1.PlatformSpec{
				Registries: []v1alpha1.Registry{"registry.bank.example"},
				Network:    v1alpha1.NetworkRules{Proxy: &v1alpha1.Proxy{CIDR: "10.9.9.0/24", Ports: []v1alpha1.Port{3128}}},
			},
		})
	for _, o := range objects {
		if err := admin.Create(ctx, o); err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
		}
	}
	if err := cluster.Install(ctx, "testdata/reads-guard.yaml"); err != nil {
		return nil, err
	}
	return start(ctx)
}

func bindCluster(role string, to rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "test-" + role},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{to},
	}
}

// start runs the reconcilers as Ringfence's ServiceAccount.
func start(ctx context.Context) (<-chan struct{}, error) {
	config := rest.CopyConfig(cluster.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: ringfenceUser}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counter{next} })
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  scheme,
		Metrics: metricsserver.Options{BindAddress: "0"},
		Cache:   cache.Options{ByObject: tenant.CacheByObject()},
	})
	if err != nil {
		return nil, err
	}
	var log io.Writer = io.Discard
	if os.Getenv("RINGFENCE_TEST_LOG") != "" {
		log = os.Stderr
		ctrl.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(log, nil)))
	}
	r, err := tenant.New(tenant.Config{
		Controls: controls,
		Now:      time.Now,
		Log:      slog.New(slog.NewTextHandler(log, nil)),
		Report:   func(n tenant.Notice) { notices.Store(n.Namespace, n.Text) },
		Poll:     300 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	if err := r.SetupWithManager(mgr); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := mgr.Start(ctx); err != nil {
			fmt.Fprintf(os.Stderr, "tenancy: the manager ended: %v\n", err)
		}
	}()
	return done, nil
}

// counter counts the requests that write.
type counter struct{ next http.RoundTripper }

func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		written.Store(writes.Add(1), r.Method+" "+r.URL.Path)
	}
	return c.next.RoundTrip(r)
}

// as is a client of a user in groups.
func as(t *testing.T, groups ...string) client.Client {
	t.Helper()
	return impersonating(t, "oidc:someone", groups...)
}

// impersonating is a client of a user by name, in groups.
func impersonating(t *testing.T, user string, groups ...string) client.Client {
	t.Helper()
	config := rest.CopyConfig(cluster.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// eventually waits until check gives nil, and returns how long that took: seconds, and more on a machine that has much else to do.
func eventually(t *testing.T, check func() error) time.Duration {
	t.Helper()
	return await(t, 2*time.Minute, 20*time.Millisecond, check)
}

// newTenant is a tenant with environments dev and prod, groups <name>-admin and <name>-ro, and a quota.
func newTenant(name string, change func(*v1alpha1.Tenant)) *v1alpha1.Tenant {
	t := &v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.TenantSpec{
			Owner:        name + "@bank.example",
			Groups:       v1alpha1.TenantGroups{Admin: name + "-admin", ReadOnly: name + "-ro"},
			Environments: []v1alpha1.Environment{{Name: "dev"}, {Name: "prod", Production: true}},
		},
	}
	if change != nil {
		change(t)
	}
	return t
}

// onboard creates a tenant and waits until it is ready.
func onboard(t *testing.T, name string, change func(*v1alpha1.Tenant)) *v1alpha1.Tenant {
	t.Helper()
	o := newTenant(name, change)
	if err := admin.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	ready(t, name)
	return o
}

func ready(t *testing.T, name string) time.Duration {
	t.Helper()
	return awaitReason(t, name, tenant.ReasonActive)
}

// awaitReason waits until the Ready condition speaks of the present generation with this reason.
func awaitReason(t *testing.T, name, reason string) time.Duration {
	t.Helper()
	return eventually(t, func() error {
		var o v1alpha1.Tenant
		if err := admin.Get(t.Context(), client.ObjectKey{Name: name}, &o); err != nil {
			return err
		}
		c := apimeta.FindStatusCondition(o.Status.Conditions, tenant.ConditionReady)
		if c == nil || c.Reason != reason || c.ObservedGeneration != o.Generation {
			return fmt.Errorf("tenant %s at generation %d has condition %+v, want reason %s", name, o.Generation, c, reason)
		}
		return nil
	})
}

// edit changes a tenant's spec.
func edit(t *testing.T, name string, change func(*v1alpha1.Tenant)) {
	t.Helper()
	eventually(t, func() error {
		var o v1alpha1.Tenant
		if err := admin.Get(t.Context(), client.ObjectKey{Name: name}, &o); err != nil {
			return err
		}
		change(&o)
		return admin.Update(t.Context(), &o)
	})
}

// get reads an object as the administrator.
func get[T client.Object](t *testing.T, namespace, name string, o T) T {
	t.Helper()
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
		t.Fatalf("get %T %s/%s: %v", o, namespace, name, err)
	}
	return o
}

// pod is a pod that runs on simulated nodes.
func pod(namespace, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.bank.example/app:1"}}},
	}
}

// cleanupContext is a context for the end of a test, when the test's own is cancelled.
func cleanupContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
