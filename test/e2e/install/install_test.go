package install

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/install/setup"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

const namespace = "payments-dev"

// bed is a cluster on which Ringfence is installed.
type bed struct {
	admin client.Client
	dir   string // in the place of / in the pods
	log   *words
	runs  map[string]*process // by Deployment
	token string              // of the account of kubeconfigOf
	// values is the file of values, and version which Ringfence is in the image that they name.
	values, version string
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

// words keep what the processes say.
type words struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements io.Writer.
func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

// String is all so far.
func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// kubeconfig is one with a token of Ringfence's account, and nothing else.
func (b *bed) kubeconfig(t *testing.T) string { return b.kubeconfigOf(t, setup.Account) }

// kubeconfigOf is one with a token of an account in Ringfence's namespace, which it keeps in b.token.
func (b *bed) kubeconfigOf(t *testing.T, name string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: name}}
	if err := b.admin.SubResource("token").Create(t.Context(), sa, request); err != nil {
		t.Fatal(err)
	}
	b.token = request.Status.Token
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
func (b *bed) start(t *testing.T, deployment, kubeconfig string) {
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
	version := b.version
	p := &process{log: b.log, make: func() *exec.Cmd {
		cmd := command(version, append(args, "--kubeconfig", kubeconfig)...)
		cmd.Stdout, cmd.Stderr = b.log, b.log
		return cmd
	}, ended: make(chan error, 1), stopped: make(chan struct{})}
	b.runs[deployment] = p
	t.Cleanup(func() { _ = p.stop(os.Kill) })
	go p.run()
}

// command is a command of a version of Ringfence. This program ends where its standard input does.
func command(version string, args ...string) *exec.Cmd {
	if version == earlier {
		return exec.Command(os.Getenv(envEarlier), args...)
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), envServe+"="+version)
	return cmd
}

// process is the one of a Deployment's pod. It is started again where it ends before it is told to, as a kubelet does: a leader that
// loses its lease ends.
type process struct {
	log     *words
	make    func() *exec.Cmd
	ended   chan error    // how the last ended
	stopped chan struct{} // closed when it is told to end

	mu  sync.Mutex // guards cmd
	cmd *exec.Cmd
}

func (p *process) run() {
	for {
		err := p.start()
		if err == nil {
			err = p.cmd.Wait()
		}
		select {
		case <-p.stopped:
			p.ended <- err
			return
		case <-time.After(time.Second):
			fmt.Fprintf(p.log, "level=WARN it ended by itself, %v, and is started again\n", err)
		}
	}
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stopped:
		return errors.New("told to end before it began")
	default:
	}
	p.cmd = p.make()
	if _, err := p.cmd.StdinPipe(); err != nil { // closed when this process ends, however it does
		return err
	}
	return p.cmd.Start()
}

// stop ends it, and says how it ended.
func (p *process) stop(how os.Signal) error {
	p.mu.Lock()
	select {
	case <-p.stopped:
		p.mu.Unlock()
		return nil
	default:
	}
	close(p.stopped)
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.cmd.Process.Signal(how) // gone already is as good
	}
	p.mu.Unlock()
	return <-p.ended
}

// stop ends processes, as a kubelet does whose pods are deleted.
func (b *bed) stop(t *testing.T, deployments ...string) {
	t.Helper()
	var all sync.WaitGroup
	for _, d := range deployments {
		all.Go(func() {
			if err := b.runs[d].stop(os.Interrupt); err != nil {
				t.Logf("Ringfence ended: %v", err)
			}
		})
	}
	all.Wait()
}

// newBed installs a version of Ringfence with `ringfence install --apply` and more values than every version knows, and runs what it installed.
func newBed(t *testing.T, version, values string) *bed {
	if cluster == nil {
		t.Skip("no cluster to test on")
	}
	dir, err := os.MkdirTemp("", "rf") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &bed{admin: ringfencetest.Client(t, cluster.Config), dir: dir, log: &words{}, runs: map[string]*process{}, version: version}
	b.values = write(t, filepath.Join(dir, "values.yaml"), `image: {repository: registry.bank.example/ringfence, digest: "sha256:`+strings.Repeat("1", 64)+`"}
audit: {source: self-managed, tlsSecret: ringfence-doors, tokenSecret: ringfence-audit}
`+values)
	cert := httptest.NewTLSServer(nil) // for its certificate
	defer cert.Close()
	key, err := privateKey(cert)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "etc/ringfence/doors/tls.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate().Raw})))
	write(t, filepath.Join(dir, "etc/ringfence/doors/tls.key"), key)
	write(t, filepath.Join(dir, "etc/ringfence/audit/tokens"), auditToken+"\n")

	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Ringfence says\n%s", b.complaints())
		}
	})
	done := b.install()
	ringfencetest.Eventually(t, "the account", func() error {
		select {
		case e := <-done: // too early: it waits for what is started below
			t.Fatalf("install --apply: %v %s", e.err, e.out)
		default:
		}
		return b.admin.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "ringfence"}, &corev1.ServiceAccount{})
	})
	kubeconfig := b.kubeconfig(t)
	b.start(t, "ringfence-reviews", kubeconfig) // before the one that makes the kinds: it waits
	b.start(t, "ringfence", kubeconfig)
	if e := <-done; e.err != nil || !strings.Contains(e.out, "Nothing is refused before there is a Platform") {
		t.Fatalf("install --apply: %v %s", e.err, e.out)
	}
	return b
}

// installed is what `ringfence install --apply` printed, and why it failed.
type installed struct {
	out string
	err error
}

// install begins `ringfence install --apply` of the version.
func (b *bed) install() <-chan installed {
	done := make(chan installed, 1)
	go func() {
		out, err := b.run("install", "--kubeconfig", cluster.Kubeconfig, "-f", b.values, "--apply")
		done <- installed{out, err}
	}()
	return done
}

// TestInstall: what is installed guards a tenant, records a refusal, and puts back what is taken away, with the rights of its account.
func TestInstall(t *testing.T) {
	b := newBed(t, first, "reports: {openReports: true, policyReports: true}\n")
	t.Cleanup(func() {
		if t.Failed() {
			sufficient(t)
		}
	})
	b.guards(t)
	t.Log("it refuses and records")
	b.puts(t)
	t.Log("it puts back")
	b.ends(t)
	t.Log("elevation, quarantine and tenant ended")
	b.reports(t)
	t.Log("it kept policy reports and removed them")
	ringfencetest.Eventually(t, "the canary to prove the rules", func() error { return ringfencetest.InForce(t.Context(), b.admin, "Proven") })
	sufficient(t)
	minimal(t, b.admin)
	b.planned(t, 0)
	b.upgrades(t)
	b.verifies(t)
	sufficient(t)
	b.removes(t)
}

// guards waits until a tenant is guarded and a refusal recorded.
func (b *bed) guards(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	for _, file := range []string{"platform.yaml", "tenant.yaml"} {
		ringfencetest.Eventually(t, file, func() error { return cluster.Install(ctx, "../../../samples/"+file) })
	}
	ringfencetest.Eventually(t, "the rules to be in force", func() error { return ringfencetest.InForce(ctx, b.admin) })
	bad := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shell"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "nginx"}}}}
	ringfencetest.Eventually(t, "a refusal", func() error {
		return ringfencetest.RefusedBy(b.admin.Create(ctx, bad.DeepCopy()), "RF-IM-01")
	})
	b.records(t, "shell")
}

// records waits until `ringfence findings` of the version tells of a refused object.
func (b *bed) records(t *testing.T, name string) {
	t.Helper()
	ringfencetest.Eventually(t, "the refusal of "+name+" in the store", func() error {
		out, err := b.run("findings", "--dir", filepath.Join(b.dir, "run/ringfence"))
		if err == nil && !strings.Contains(out, name) {
			err = fmt.Errorf("findings lack %s: %s", name, out)
		}
		return err
	})
}

// run runs a command of the version to its end. The error has what it printed.
func (b *bed) run(args ...string) (stdout string, err error) {
	var out, prose bytes.Buffer
	cmd := command(b.version, args...)
	cmd.Stdout, cmd.Stderr = &out, &prose
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	defer stdin.Close()
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("ringfence %s: %w %s %s", args[0], err, &out, &prose)
	}
	return out.String(), nil
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

// unused are rights that this test does not bring about, each with the reason for which Ringfence has it all the same. A verb of * is all.
var unused = map[string]string{
	"ringfence.dev tenants get":                                      "people of tenants are given it, and nobody can give what he has not",
	"admissionregistration.k8s.io validatingwebhookconfigurations *": "the webhook judges nothing by default: test/e2e/admission",
	"admissionregistration.k8s.io mutatingwebhookconfigurations *":   "this server fills in by itself: TestOlder",
	" configmaps get":    "replicas share authorities where a webhook is registered: TestOlder",
	" configmaps update": "likewise",
	"admissionregistration.k8s.io validatingadmissionpolicies get":          "where the cache is behind: policy/bundle",
	"admissionregistration.k8s.io validatingadmissionpolicies delete":       "a release with fewer groups: policy/bundle",
	"admissionregistration.k8s.io validatingadmissionpolicybindings get":    "where the cache is behind",
	"admissionregistration.k8s.io validatingadmissionpolicybindings delete": "a release with fewer groups",
	"admissionregistration.k8s.io mutatingadmissionpolicies get":            "where the cache is behind",
	"admissionregistration.k8s.io mutatingadmissionpolicies delete":         "where the webhook takes over",
	"admissionregistration.k8s.io mutatingadmissionpolicybindings get":      "where the cache is behind",
	"admissionregistration.k8s.io mutatingadmissionpolicybindings delete":   "where the webhook takes over",
	"rbac.authorization.k8s.io clusterroles escalate":                       "no verb of a request: a role that holds more than Ringfence came back",
	"rbac.authorization.k8s.io clusterroles bind":                           "no verb of a request: teams got their roles",
	" pods/eviction create":                                "after --debug-time: test/e2e/guardrails",
	"ringfence.dev guards delete":                          "an environment that is handed back: test/e2e/tenancy",
	"ringfence.dev guards get":                             "where the cache is behind: tenant.create",
	" resourcequotas get":                                  "likewise",
	" resourcequotas delete":                               "a quota that a tenant gives up: test/e2e/tenancy",
	" limitranges get":                                     "as quotas",
	" limitranges update":                                  "as quotas",
	" limitranges delete":                                  "as quotas",
	"rbac.authorization.k8s.io rolebindings get":           "where the cache is behind",
	"rbac.authorization.k8s.io clusterrolebindings get":    "where the cache is behind",
	"rbac.authorization.k8s.io clusterrolebindings update": "groups of a tenant that change: test/e2e/tenancy",
	" pods get":             "the quarantine of a single pod: test/e2e/quarantine",
	"apps statefulsets get": "a quarantine of this kind",
	"apps daemonsets get":   "a quarantine of this kind",
	"apps replicasets get":  "a quarantine of this kind",
	"batch jobs get":        "a quarantine of this kind",
	"batch cronjobs get":    "a quarantine of this kind",
	" events patch":         "where the same process leads again",
}

// minimal: every right was used but those of unused, those of kinds that this server does not have, and dry runs of what only warns here.
func minimal(t *testing.T, admin client.Client) {
	t.Helper()
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	rights, err := setup.Rights(cat)
	if err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "every right to be used", func() error { // events come some seconds later
		return errors.Join(superfluous(rights, admin)...)
	})
}

// superfluous are the rights that were not used so far.
func superfluous(rights []setup.Right, admin client.Client) (faults []error) {
	used := usedIn(events.all())
	for _, r := range rights {
		for _, resource := range r.Resources {
			if _, err := admin.RESTMapper().KindsFor(schema.GroupVersionResource{Group: r.Group, Resource: strings.Split(resource, "/")[0]}); err != nil || strings.Contains(r.Why, "dry runs") {
				continue
			}
			of := r.Group + " " + resource + " "
			for _, verb := range r.Verbs {
				listed := verb == "list" && used[of+"watch"] // this server sends lists as the beginning of a watch
				if !used[of+verb] && !listed && unused[of+verb] == "" && unused[of+"*"] == "" {
					faults = append(faults, fmt.Errorf("not used: %s, which is for: %s", of+verb, r.Why))
				}
			}
		}
	}
	return faults
}

// usedIn are the rights that requests used: group, resource and verb.
func usedIn(all []event) map[string]bool {
	used := map[string]bool{}
	for _, e := range all {
		if e.ObjectRef == nil {
			continue
		}
		resource := e.ObjectRef.Resource
		if e.ObjectRef.Subresource != "" {
			resource += "/" + e.ObjectRef.Subresource
		}
		used[strings.Join([]string{e.ObjectRef.APIGroup, resource, e.Verb}, " ")] = true
	}
	return used
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
