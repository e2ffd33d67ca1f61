// Package elevate shows on a real API server who gets more rights for a while, what they are good for, and that nothing is left of them
// afterwards. Ringfence is stopped wherever it should not be needed.
package elevate

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
	"ringfence.dev/ringfence/tenant"
)

const (
	namespace = "payments-prod"
	another   = "payments-test"
	image     = "registry.bank.example/payments/api:1"
	// entryID is the control that keeps people out of running pods in production.
	entryID = "RF-WL-22"
)

var (
	cluster   *clustertest.Cluster
	auditFile string
)

func TestMain(m *testing.M) {
	os.Exit(clustertest.MainAudited(m.Run, func(c *clustertest.Cluster, log string) { cluster, auditFile = c, log }))
}

type person = ringfencetest.Person

var (
	dave    = person{Name: "oidc:dave@bank.example", Groups: []string{"oidc:payments-admins"}, Object: "oid-dave", MFA: true}  // of the team
	erin    = person{Name: "oidc:erin@bank.example", Groups: []string{"oidc:security"}, Object: "oid-erin", MFA: true}         // approves
	mallory = person{Name: "oidc:mallory@bank.example", Groups: []string{"oidc:root"}, Object: "oid-mallory", MFA: true}       // has every right that RBAC can give
	anna    = person{Name: "oidc:anna@bank.example", Groups: []string{"oidc:payments-readers"}, Object: "oid-anna", MFA: true} // looks
)

func as(t *testing.T, p person) client.Client {
	t.Helper()
	return ringfencetest.AsPerson(t, cluster.Config, p)
}

// signedIn is a person as the signed-in API knows them.
func signedIn(p person) identity.Person {
	return identity.Person{Name: p.Name, Object: p.Object, MFA: p.MFA}
}

// bed is a cluster in which the bank is in force, and Ringfence with a clock of the test's.
type bed struct {
	admin  client.Client
	srv    *server.Server
	stop   func()
	ahead  atomic.Int64 // nanoseconds
	folder string
}

func newBed(t *testing.T) *bed {
	t.Helper()
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	admin, err := kube.NewClient(cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{admin: admin, folder: t.TempDir()}
	b.run(t)
	bind := func(name, role, group string) *rbacv1.ClusterRoleBinding {
		return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: group}}}
	}
	for _, o := range []client.Object{
		&v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{
			Registries: []v1alpha1.Registry{"registry.bank.example"},
			Identity:   v1alpha1.IdentityRules{Issuer: "https://login.bank.example", MFA: "mfa"},
			Controls:   map[string]v1alpha1.ControlRollout{entryID: {Action: v1alpha1.Deny}},
		}},
		&v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "payments"}, Spec: v1alpha1.TenantSpec{
			Owner: "payments-team@bank.example", Groups: v1alpha1.TenantGroups{Admin: "payments-admins", ReadOnly: "payments-readers"},
			Environments: []v1alpha1.Environment{{Name: "prod", Production: true}, {Name: "test"}},
		}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "root"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete", "bind", "escalate"}}}},
		bind("root", "root", "oidc:root"),
		bind("elevation-approvers", tenant.RoleElevationApprover, "oidc:security"),
	} {
		ringfencetest.Eventually(t, "create "+o.GetName(), func() error { return client.IgnoreAlreadyExists(admin.Create(t.Context(), o)) })
	}
	ringfencetest.Eventually(t, "the rules to be in force", func() error { return ringfencetest.InForce(t.Context(), admin) })
	for _, ns := range []string{namespace, another} {
		ringfencetest.Eventually(t, "elevations to be guarded in "+ns, func() error {
			e := wish("probe")
			e.Namespace, e.Spec.Requester = ns, "somebody"
			return ringfencetest.Refused(as(t, dave).Create(t.Context(), e, client.DryRunAll), "in one's own name")
		})
	}
	ringfencetest.Eventually(t, "a pod and a Secret", func() error {
		for _, o := range []client.Object{pod("api"), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: namespace}, Data: map[string][]byte{"user": []byte("api")}}} {
			if err := client.IgnoreAlreadyExists(admin.Create(t.Context(), o)); err != nil {
				return err
			}
		}
		return nil
	})
	return b
}

// run starts Ringfence.
func (b *bed) run(t *testing.T) {
	t.Helper()
	b.srv, b.stop = ringfencetest.Start(t, cluster.Config, server.Config{
		Now: func() time.Time { return time.Now().Add(time.Duration(b.ahead.Load())) }, Evidence: filepath.Join(b.folder, "evidence"), AuditFile: auditFile,
		Socket: filepath.Join(b.folder, "ringfence.sock"),
	}, slog.LevelWarn)
}

// later sets the clock of Ringfence ahead, and has it look at an elevation.
func (b *bed) later(t *testing.T, by time.Duration, name string) {
	t.Helper()
	b.ahead.Store(int64(by))
	touch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"test":%q}}}`, by))
	if err := b.admin.Patch(t.Context(), &v1alpha1.Elevation{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}, touch); err != nil {
		t.Fatal(err)
	}
}

// wish is an elevation as dave asks for it.
func wish(name string) *v1alpha1.Elevation {
	return &v1alpha1.Elevation{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: v1alpha1.ElevationSpec{
		Requester: dave.Name, RequesterObject: dave.Object, Reason: "payments hang", Ticket: "INC0012345", Lasts: metav1.Duration{Duration: 30 * time.Minute},
	}}
}

// approve writes an approval in a name, as somebody.
func approve(t *testing.T, by person, name, approver, object string) error {
	t.Helper()
	return writeStatus(t, by, name, `{"status":{"approval":{"approver":%q,"approverObject":%q,"approvedAt":%q}}}`, approver, object, time.Now().UTC().Format(time.RFC3339))
}

func writeStatus(t *testing.T, by person, name, format string, args ...any) error {
	t.Helper()
	e := &v1alpha1.Elevation{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	return as(t, by).SubResource("status").Patch(t.Context(), e, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, format, args...)))
}

// live is an elevation of dave's that erin has approved and Ringfence has made active.
func (b *bed) live(t *testing.T, name string) *v1alpha1.Elevation {
	t.Helper()
	if err := as(t, dave).Create(t.Context(), wish(name)); err != nil {
		t.Fatal(err)
	}
	if err := approve(t, erin, name, erin.Name, erin.Object); err != nil {
		t.Fatal(err)
	}
	return b.await(t, name, v1alpha1.ElevationActive)
}

// read is an elevation as it is.
func (b *bed) read(t *testing.T, name string) *v1alpha1.Elevation {
	t.Helper()
	e := &v1alpha1.Elevation{}
	if err := b.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, e); err != nil {
		t.Fatal(err)
	}
	return e
}

// await waits until an elevation is in a phase.
func (b *bed) await(t *testing.T, name string, phase v1alpha1.ElevationPhase) *v1alpha1.Elevation {
	t.Helper()
	e := &v1alpha1.Elevation{}
	ringfencetest.Eventually(t, name+" to be "+string(phase), func() error {
		if err := b.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, e); err != nil {
			return err
		}
		if e.Status.Phase != phase {
			return fmt.Errorf("it is %q: %+v", e.Status.Phase, e.Status)
		}
		return nil
	})
	return e
}

// token is one of dave's, once Ringfence gives it.
func (b *bed) token(t *testing.T, name string) (token string, expires time.Time) {
	t.Helper()
	ringfencetest.Eventually(t, "a token of "+name, func() (err error) {
		token, expires, err = b.srv.Token(t.Context(), signedIn(dave), namespace+"/"+name)
		return err
	})
	return token, expires
}

// with is a configuration that holds a token and nothing else.
func with(token string) *rest.Config {
	config := rest.AnonymousClientConfig(cluster.Config)
	config.BearerToken = token
	return config
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: ringfencetest.PodSpec(image)}
}
