// Package scan shows on a real API server that what lies in it is judged as it changes and as the clock passes, that each finding is
// recorded once when it opens and once when it closes, and that a restart repeats and loses none. It prints what many objects at rest
// cost.
package scan

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/server"
	"ringfence.dev/ringfence/tenant"
)

const (
	// lone is a namespace that no tenant owns and that was there before Ringfence; team is a tenant's.
	lone, team = "lone", "payments-dev"
	// hostID is the control on host namespaces, which denies; rootID one on root filesystems and dnsID one on CiliumNetworkPolicies warn.
	hostID, rootID, dnsID = "RF-WL-02", "RF-WL-15", "RF-NW-05"
)

var cluster *clustertest.Cluster

// envServe names a kubeconfig and a folder: the test program is then Ringfence, a process of its own that can be killed.
const envServe = "RINGFENCE_SCAN_SERVE"

func TestMain(m *testing.M) {
	if kubeconfig, dir, ok := strings.Cut(os.Getenv(envServe), "\n"); ok {
		os.Exit(serve(kubeconfig, dir))
	}
	os.Exit(clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c }))
}

// bed is a cluster and a folder in which Ringfence keeps what it knows.
type bed struct {
	*testing.T
	admin client.Client
	dir   string
	stop  func()
}

func newBed(t *testing.T) *bed {
	t.Helper()
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	dir, err := os.MkdirTemp("", "rf") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &bed{T: t, admin: ringfencetest.Client(t, cluster.Config), dir: dir}
}

// settings are those of a Ringfence in a folder.
func settings(dir string) server.Config {
	return server.Config{Socket: local.SocketPath(dir), Evidence: dir + "/evidence"}
}

// run starts Ringfence.
func (b *bed) run() {
	b.Helper()
	_, b.stop = ringfencetest.Start(b.T, cluster.Config, settings(b.dir), slog.LevelWarn)
}

// serve is Ringfence until its standard input ends, with whoever started it.
func serve(kubeconfig, dir string) int {
	ctx, stop := context.WithCancel(context.Background())
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	config, err := kube.Config(kubeconfig)
	var srv *server.Server
	if err == nil {
		srv, err = server.New(settings(dir), slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	}
	if err == nil {
		err = srv.Run(ctx, config)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// apart runs Ringfence as a process of its own; what it returns kills it.
func (b *bed) apart() (kill func()) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), envServe+"="+cluster.Kubeconfig+"\n"+b.dir), b.Output()
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		_ = in.Close()
	})
	b.Cleanup(kill)
	return kill
}

func (b *bed) http() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", local.SocketPath(b.dir))
	}}}
}

// found are the findings of a control in a state, by kind and name; nil while the scan or the store has not got so far.
func (b *bed) found(state, control string) (map[string][]finding.Finding, error) {
	answer, err := record.Fetch(b.Context(), b.http(), "http://ringfence", record.Query{Source: record.SourceScan, State: state, Filter: record.Filter{Control: control}})
	switch {
	case err != nil:
		return nil, err
	case answer.Scan == nil || answer.Scan.Whole == nil || answer.Scan.Waiting > 0 || answer.Behind > 0:
		return nil, fmt.Errorf("not judged: %+v, %d behind", answer.Scan, answer.Behind)
	case len(answer.Scan.Unread) > 0:
		return nil, fmt.Errorf("not read: %v", answer.Scan.Unread)
	}
	out := map[string][]finding.Finding{}
	for _, f := range answer.Findings {
		name := f.Subject.Kind + "/" + f.Subject.Name
		out[name] = append(out[name], f)
	}
	return out, nil
}

// eventually waits until findings are as is says.
func (b *bed) eventually(what, state, control string, is func(map[string][]finding.Finding) error) {
	b.Helper()
	ringfencetest.Eventually(b.T, what, func() error {
		all, err := b.found(state, control)
		if err != nil {
			return err
		}
		return is(all)
	})
}

// one waits for an object to have one finding of a control in a state, and gives it.
func (b *bed) one(state, control, name string) (f finding.Finding) {
	b.Helper()
	b.eventually(name+" to be "+state, state, control, func(all map[string][]finding.Finding) error {
		if len(all[name]) != 1 {
			return fmt.Errorf("%d findings %s of %s, in %v", len(all[name]), state, name, all)
		}
		f = all[name][0]
		return nil
	})
	return f
}

// onboard puts a bank into force, with people who may approve.
func (b *bed) onboard() {
	b.Helper()
	for _, o := range []client.Object{
		&v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{Registries: []v1alpha1.Registry{"registry.bank.example"}}},
		&v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "payments"}, Spec: v1alpha1.TenantSpec{Owner: "payments-team@bank.example",
			Groups: v1alpha1.TenantGroups{Admin: "payments-admins", ReadOnly: "payments-readers"}, Environments: []v1alpha1.Environment{{Name: "dev"}}}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "waiver-approvers"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: tenant.RoleApprover},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "oidc:security"}}},
	} {
		ringfencetest.Eventually(b.T, "create "+o.GetName(), func() error { return client.IgnoreAlreadyExists(b.admin.Create(b.Context(), o)) })
	}
	ringfencetest.Eventually(b.T, "the rules to be in force", func() error { return ringfencetest.InForce(b.Context(), b.admin) })
	ringfencetest.Eventually(b.T, "a bad Deployment to be refused", func() error {
		return ringfencetest.RefusedBy(b.admin.Create(b.Context(), deployment(team, "probe", true), client.DryRunAll), hostID)
	})
}

// waive has somebody ask for a waiver of a Deployment that ends at an instant, and another approve it.
func (b *bed) waive(name string, end time.Time) {
	b.Helper()
	dave := ringfencetest.As(b.T, cluster.Config, "oidc:dave@bank.example", "oidc:payments-admins")
	erin := ringfencetest.As(b.T, cluster.Config, "oidc:erin@bank.example", "oidc:security")
	ringfencetest.Eventually(b.T, "the waiver", func() error {
		return client.IgnoreAlreadyExists(dave.Create(b.Context(), &v1alpha1.Waiver{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: team}, Spec: v1alpha1.WaiverSpec{Control: hostID,
			Subjects: []v1alpha1.WaiverSubject{{Kind: "Deployment", Name: name}}, Reason: "the vendor needs it", Ticket: "RISK-1", Owner: "frank@bank.example",
			Requester: "oidc:dave@bank.example", Expires: end.UTC().Format(time.RFC3339)}}))
	})
	approval := fmt.Appendf(nil, `{"status":{"approval":{"approver":"oidc:erin@bank.example","approvedAt":%q}}}`, time.Now().UTC().Format(time.RFC3339))
	ringfencetest.Eventually(b.T, "the approval", func() error {
		return erin.SubResource("status").Patch(b.Context(), &v1alpha1.Waiver{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: team}}, client.RawPatch(types.MergePatchType, approval))
	})
}

// command runs ringfence findings on the folder.
func (b *bed) command(want int, args ...string) (stdout, stderr string) {
	b.Helper()
	return b.ringfence(want, append([]string{"findings"}, args...)...)
}

// ringfence runs a command on the folder.
func (b *bed) ringfence(want int, args ...string) (stdout, stderr string) {
	b.Helper()
	var out, prose bytes.Buffer
	code := cli.Main(b.Context(), append(args, "--dir", b.dir), cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now})
	if code != want {
		b.Errorf("%v: exit code %d, want %d: %s", args, code, want, prose.String())
	}
	return out.String(), prose.String()
}

// deployment runs nothing, and has one fault or none of the control hostID.
func deployment(namespace, name string, hostPID bool) *appsv1.Deployment {
	app, zero, yes, no := map[string]string{"app": name}, int32(0), true, false
	amount := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: appsv1.DeploymentSpec{Replicas: &zero, Selector: &metav1.LabelSelector{MatchLabels: app},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: app}, Spec: corev1.PodSpec{HostPID: hostPID, AutomountServiceAccountToken: &no,
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{Name: "api", Image: "registry.bank.example/payments/api:1", Resources: corev1.ResourceRequirements{Requests: amount, Limits: amount},
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}}}}}}}
}
