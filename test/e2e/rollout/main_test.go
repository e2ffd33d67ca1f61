// Package rollout takes a control from Warn to Deny on a real API server on which teams run what fails it: preflight, promotion, grace
// and rollback. It shows also that rules which no longer refuse are noticed.
package rollout

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
)

// promoted is the control that is rolled out: capabilities, of which the profile mvp warns.
const promoted = "RF-WL-08"

var cluster *clustertest.Cluster

// envCommand in the environment makes this program the command line of Ringfence.
const envCommand = "RINGFENCE_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(envCommand) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		os.Exit(cli.Main(ctx, os.Args[1:], cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now}))
	}
	os.Exit(clustertest.MainAudited(m.Run, func(c *clustertest.Cluster, log string) { cluster, auditFile = c, log }))
}

// auditFile is where the API server writes its audit log.
var auditFile string

func masters(t *testing.T) client.Client {
	t.Helper()
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	return ringfencetest.Client(t, cluster.Config)
}

// run starts Ringfence; what it returns stops it.
func run(t *testing.T, cfg server.Config) (stop func()) {
	t.Helper()
	_, stop = ringfencetest.Start(t, cluster.Config, cfg, slog.LevelWarn)
	return stop
}

// onboard makes the Platform and five tenants, of which the first two are in the ring early, and waits until the rules are in force.
func onboard(t *testing.T, admin client.Client) {
	t.Helper()
	create(t, admin, &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{Registries: []v1alpha1.Registry{"registry.bank.example"}}})
	for _, name := range []string{"alpha", "beta", "gamma", "delta", "omega"} {
		tenant := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.TenantSpec{
			Owner: name + "-team@bank.example", Groups: v1alpha1.TenantGroups{Admin: name + "-admins", ReadOnly: name + "-readers"},
			Environments: []v1alpha1.Environment{{Name: "dev"}, {Name: "prod", Production: true}},
		}}
		if name == "alpha" || name == "beta" {
			tenant.Spec.Ring = "early"
		}
		create(t, admin, tenant)
	}
	ringfencetest.Eventually(t, "the rules to be in force", func() error { return ringfencetest.InForce(t.Context(), admin) })
	for _, ns := range []string{"alpha-dev", "omega-prod"} {
		ringfencetest.Eventually(t, "a bad pod to be refused in "+ns, func() error {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: ns}, Spec: template(false)}
			p.Spec.HostPID = true
			return ringfencetest.RefusedBy(admin.Create(t.Context(), p, client.DryRunAll), "RF-WL-02")
		})
	}
}

func create(t *testing.T, admin client.Client, o client.Object) {
	t.Helper()
	ringfencetest.Eventually(t, "create "+o.GetName(), func() error { return client.IgnoreAlreadyExists(admin.Create(t.Context(), o)) })
}

// template is a pod that is right but for a capability, if wanted.
func template(bad bool) corev1.PodSpec {
	spec := ringfencetest.PodSpec("registry.bank.example/payments/api:1")
	if bad {
		spec.Containers[0].SecurityContext.Capabilities.Add = []corev1.Capability{"NET_ADMIN"}
	}
	return spec
}

func pods(name string, bad bool) (*metav1.LabelSelector, corev1.PodTemplateSpec) {
	app := map[string]string{"app": name}
	return &metav1.LabelSelector{MatchLabels: app}, corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: app}, Spec: template(bad)}
}

func deployment(namespace, name string, bad bool, replicas int32) *appsv1.Deployment {
	selector, pod := pods(name, bad)
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: selector, Template: pod}}
}

func statefulSet(namespace, name string) *appsv1.StatefulSet {
	one := int32(1)
	selector, pod := pods(name, true)
	return &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: appsv1.StatefulSetSpec{Replicas: &one, Selector: selector, Template: pod}}
}

func cronJob(namespace, name string) *batchv1.CronJob {
	_, pod := pods(name, true)
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: batchv1.CronJobSpec{Schedule: "0 0 1 1 *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: pod}}}}
}

// ran is what a command said.
type ran struct {
	code           int
	stdout, stderr string
}

// control runs `ringfence control` as the administrator.
func control(t *testing.T, args ...string) ran {
	t.Helper()
	return ringfence(t, cluster.Kubeconfig, append([]string{"control"}, args...)...)
}

func ringfence(t *testing.T, kubeconfig string, args ...string) ran {
	t.Helper()
	return at(t, time.Now, kubeconfig, args...)
}

// at runs a command by a clock.
func at(t *testing.T, now func() time.Time, kubeconfig string, args ...string) ran {
	t.Helper()
	var out, prose bytes.Buffer
	code := cli.Main(t.Context(), append(args, "--kubeconfig", kubeconfig), cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: now})
	return ran{code, out.String(), prose.String()}
}

// Two engineers of the platform, of whom the identity provider says who is behind the account, and one who has two accounts.
var (
	jane = ringfencetest.Person{Name: "oidc:jane@bank.example", Groups: []string{"oidc:platform-team"}, Object: "1"}
	june = ringfencetest.Person{Name: "oidc:june@bank.example", Groups: []string{"oidc:platform-team"}, Object: "1"}
	joan = ringfencetest.Person{Name: "oidc:joan@bank.example", Groups: []string{"oidc:platform-team"}, Object: "2"}
)

// engineers gives the platform team the rights of an administrator.
func engineers(t *testing.T, admin client.Client) {
	t.Helper()
	create(t, admin, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "platform-team"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "oidc:platform-team"}}})
}

// controlAs runs `ringfence control` as a person.
func controlAs(t *testing.T, p ringfencetest.Person, args ...string) ran {
	t.Helper()
	return ringfenceAs(t, p, append([]string{"control"}, args...)...)
}

func ringfenceAs(t *testing.T, p ringfencetest.Person, args ...string) ran {
	t.Helper()
	config, err := clientcmd.LoadFromFile(cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range config.AuthInfos {
		who.Impersonate, who.ImpersonateGroups, who.ImpersonateUserExtra = p.Name, append([]string{"system:authenticated"}, p.Groups...), p.Extra()
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return ringfence(t, file, args...)
}

// insists has Jane insist and Joan approve.
func insists(t *testing.T, args ...string) {
	t.Helper()
	if got := controlAs(t, jane, append([]string{"promote", promoted, "--to", "Deny", "--insist"}, args...)...); got.code != 0 || !strings.Contains(got.stdout, "until another person approves") {
		t.Fatalf("to insist: %+v", got)
	}
	if got := controlAs(t, joan, "promote", promoted, "--approve"); got.code != 0 || !strings.Contains(got.stderr, "in force in") {
		t.Fatalf("to approve: %+v", got)
	}
}
