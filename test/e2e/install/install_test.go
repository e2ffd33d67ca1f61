package install

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/install"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

const namespace = "payments-dev"

// bed is a cluster on which Ringfence is installed.
type bed struct {
	admin client.Client
	dir   string // in the place of / in the pods
	log   *bytes.Buffer
}

// ringfence runs a command as the administrator.
func ringfence(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, prose bytes.Buffer
	code = cli.Main(t.Context(), args, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now})
	return code, out.String(), prose.String()
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// kubeconfig is one with a token of Ringfence's account, and nothing else.
func (b *bed) kubeconfig(t *testing.T) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "ringfence"}}
	if err := b.admin.SubResource("token").Create(t.Context(), sa, request); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(b.dir, "ca.crt"), string(cluster.Config.CAData))
	return write(t, filepath.Join(b.dir, "kubeconfig"), fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: %q, certificate-authority: %s}}]
users: [{name: a, user: {token: %s}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
current-context: a
`, cluster.Config.Host, filepath.Join(b.dir, "ca.crt"), request.Status.Token))
}

// start runs the processes of a Deployment: one, with its flags. Only addresses are others, and paths lie in the folder of the test.
func (b *bed) start(t *testing.T, deployment, kubeconfig string) *exec.Cmd {
	t.Helper()
	var d appsv1.Deployment
	ringfencetest.Eventually(t, "Deployment "+deployment, func() error {
		return b.admin.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: deployment}, &d)
	})
	reviews := free(t)
	var args []string
	for _, arg := range d.Spec.Template.Spec.Containers[0].Args {
		flag, value, _ := strings.Cut(arg, "=")
		switch {
		case flag == "--webhook-listen":
			arg = flag + "=" + reviews
		case flag == "--webhook-service": // no network leads to Services here
			arg = "--webhook-url=https://" + reviews
		case flag == "--listen":
			doors := free(t)
			door := "https://" + doors + "/audit/webhook"
			defer func() { events.to.Store(&door) }()
			arg = flag + "=" + doors
		case strings.HasPrefix(value, "/"):
			arg = flag + "=" + filepath.Join(b.dir, value)
			if err := os.MkdirAll(filepath.Dir(filepath.Join(b.dir, value)), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		args = append(args, arg)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, append(args, "--kubeconfig", kubeconfig)...)
	cmd.Env, cmd.SysProcAttr = append(os.Environ(), envServe+"=1"), &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = b.log, b.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// newBed installs Ringfence with `ringfence install --apply` and runs what it installed.
func newBed(t *testing.T) *bed {
	if cluster == nil {
		t.Skip("no cluster to test on")
	}
	dir, err := os.MkdirTemp("", "rf") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &bed{admin: ringfencetest.Client(t, cluster.Config), dir: dir, log: &bytes.Buffer{}}
	values := write(t, filepath.Join(dir, "values.yaml"), `image: {repository: registry.bank.example/ringfence, digest: "sha256:`+strings.Repeat("1", 64)+`"}
audit: {source: self-managed, tlsSecret: ringfence-doors, tokenSecret: ringfence-audit}
`)
	cert := httptest.NewTLSServer(nil) // for its certificate
	defer cert.Close()
	key, err := privateKey(cert)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "etc/ringfence/doors/tls.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate().Raw})))
	write(t, filepath.Join(dir, "etc/ringfence/doors/tls.key"), key)
	write(t, filepath.Join(dir, "etc/ringfence/audit/tokens"), auditToken+"\n")

	type ended struct {
		code        int
		out, stderr string
	}
	done := make(chan ended, 1)
	go func() {
		code, out, stderr := ringfence(t, "install", "--kubeconfig", cluster.Kubeconfig, "-f", values, "--apply")
		done <- ended{code, out, stderr}
	}()
	ringfencetest.Eventually(t, "the account", func() error {
		return b.admin.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "ringfence"}, &corev1.ServiceAccount{})
	})
	kubeconfig := b.kubeconfig(t)
	b.start(t, "ringfence", kubeconfig)
	b.start(t, "ringfence-reviews", kubeconfig)
	if e := <-done; e.code != 0 || !strings.Contains(e.out, "in force") {
		t.Fatalf("install --apply: exit %d %s\n%s\nRingfence says\n%s", e.code, e.out, e.stderr, b.complaints())
	}
	return b
}

// TestInstall: what is installed guards a tenant, records a refusal, and puts back what is taken away, with the rights of its account.
func TestInstall(t *testing.T) {
	b := newBed(t)
	t.Cleanup(func() {
		if t.Failed() {
			sufficient(t)
			t.Logf("Ringfence says\n%s", b.complaints())
		}
	})
	ctx := t.Context()
	for _, file := range []string{"platform.yaml", "tenant.yaml"} {
		ringfencetest.Eventually(t, file, func() error { return cluster.Install(ctx, "../../../samples/"+file) })
	}
	ringfencetest.Eventually(t, "the rules to be in force", func() error { return ringfencetest.InForce(ctx, b.admin) })
	bad := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shell"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "nginx"}}}}
	ringfencetest.Eventually(t, "a refusal", func() error {
		return ringfencetest.RefusedBy(b.admin.Create(ctx, bad.DeepCopy()), "RF-IM-01")
	})
	ringfencetest.Eventually(t, "the refusal in the ledger", func() error {
		code, out, stderr := ringfence(t, "findings", "--dir", filepath.Join(b.dir, "run/ringfence"))
		if code != 0 || !strings.Contains(out, "RF-IM-01") || !strings.Contains(out, "shell") {
			return fmt.Errorf("exit %d %s %s", code, out, stderr)
		}
		return nil
	})
	for _, o := range []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "ringfence-tenant-admin"}},
		&admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "ringfence-workloads-deny"}},
		&corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ringfence"}},
	} {
		if err := client.IgnoreNotFound(b.admin.Delete(ctx, o)); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []client.Object{&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "ringfence-tenant-admin"}}, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "ringfence-workloads-deny"}}} {
		ringfencetest.Eventually(t, o.GetName()+" to be back", func() error { return b.admin.Get(ctx, client.ObjectKeyFromObject(o), o) })
	}
	ringfencetest.Eventually(t, "the canary to prove the rules", func() error { return ringfencetest.InForce(ctx, b.admin, "Proven") })
	sufficient(t)
	minimal(t)
}

// complaints are the lines of the log that are worth reading.
func (b *bed) complaints() (out string) {
	for line := range strings.Lines(b.log.String()) {
		if !strings.Contains(line, "level=INFO") {
			out += line
		}
	}
	return out
}

// minimal: every right was used but those that unused names.
func minimal(t *testing.T) {
	t.Helper()
	used := map[string]bool{}
	for _, e := range events.all() {
		if e.ObjectRef == nil {
			continue
		}
		resource := e.ObjectRef.Resource
		if e.ObjectRef.Subresource != "" {
			resource += "/" + e.ObjectRef.Subresource
		}
		used[strings.Join([]string{e.ObjectRef.APIGroup, resource, e.Verb}, " ")] = true
	}
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	rights, err := install.Rights(cat)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rights {
		for _, resource := range r.Resources {
			for _, verb := range r.Verbs {
				if right := strings.Join([]string{r.Group, resource, verb}, " "); !used[right] {
					t.Errorf("not used: %s, which is for: %s", right, r.Why)
				}
			}
		}
	}
}

// sufficient: nothing that Ringfence asked for was forbidden by RBAC.
func sufficient(t *testing.T) {
	t.Helper()
	var lacks []string
	for _, e := range events.all() {
		if e.Annotations["authorization.k8s.io/decision"] == "forbid" {
			lacks = append(lacks, fmt.Sprintf("%s %s", e.Verb, e.RequestURI))
		}
		if e.ResponseStatus.Code == 403 && strings.Contains(e.ResponseStatus.Message, "attempting to grant RBAC permissions") && !strings.Contains(e.RequestURI, "dryRun=") {
			lacks = append(lacks, fmt.Sprintf("%s %s: %s", e.Verb, e.RequestURI, e.ResponseStatus.Message))
		}
	}
	slices.Sort(lacks)
	for _, l := range slices.Compact(lacks) {
		t.Errorf("forbidden: %s", l)
	}
	if len(events.all()) == 0 {
		t.Error("no event of Ringfence's account was seen")
	}
}

// privateKey is the key of a server, in PEM.
func privateKey(of *httptest.Server) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(of.TLS.Certificates[0].PrivateKey)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), err
}
