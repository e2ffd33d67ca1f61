// Package evidence runs `ringfence serve` on a real API server and follows a refusal, a change and a gap through the ledger to
// the sinks. It kills the control plane in the middle: what was taken is there after, once and in order.
package evidence

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

// envProgram names the program to test; without it that of the bin folder is.
const envProgram = "RINGFENCE_BIN"

const token = "the-token-of-the-API-server"

// auditPolicy is the one that docs/audit.md shows.
const auditPolicy = "../../../docs/audit-policy.yaml"

// world is a cluster whose audit events go to a control plane, and that control plane's sinks.
type world struct {
	t       *testing.T
	dir     string
	doors   string
	program string
	cluster *clustertest.Cluster
	admin   client.Client
	mallory client.Client
	soar    *receiver
	books   string // the folder for evidence
	cmd     *exec.Cmd
	log     *bytes.Buffer
}

// receiver is a webhook that the bank runs.
type receiver struct {
	mu  sync.Mutex // guards ids
	ids []string
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var body struct{ Events []struct{ ID string } }
	text, err := io.ReadAll(request.Body)
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range body.Events {
		r.ids = append(r.ids, e.ID)
	}
}

// got is what came, each once.
func (r *receiver) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return once(r.ids)
}

// once leaves out what came before.
func once(ids []string) (out []string) {
	seen := map[string]bool{}
	for _, id := range ids {
		if !seen[id] {
			out = append(out, id)
		}
		seen[id] = true
	}
	return out
}

// newWorld starts the cluster; it is told where the control plane will listen.
func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Getenv(clustertest.EnvKubeconfig) != "" {
		t.Skip("skipped: the API server of a cluster that exists sends its audit events elsewhere")
	}
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, program: os.Getenv(envProgram), books: "evidence", soar: &receiver{}, log: &bytes.Buffer{}}
	if w.program == "" {
		w.program = filepath.Join(root, "bin", "ringfence")
	}
	if _, err := os.Stat(w.program); err != nil {
		t.Skip("skipped: ringfence is not built; fix: make build")
	}
	if w.dir, err = os.MkdirTemp("", "rf"); err != nil { // short enough for a socket
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(w.dir) })
	w.settings()
	policy, err := filepath.Abs(auditPolicy)
	if err != nil {
		t.Fatal(err)
	}
	w.cluster, err = clustertest.Start("--audit-policy", policy, "--apiserver-arg=--audit-webhook-config-file="+w.path("audit.kubeconfig"),
		"--apiserver-arg=--audit-webhook-batch-max-wait=200ms", "--apiserver-arg=--audit-webhook-initial-backoff=2s",
		"--apiserver-arg=--audit-log-path="+w.path("audit.log"))
	if errors.Is(err, clustertest.ErrUnavailable) {
		t.Skip("skipped: " + err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cluster.Stop)
	w.admin = w.as(nil)
	w.mallory = w.as(&rest.ImpersonationConfig{UserName: "mallory@bank.example", Groups: []string{"oidc:payments-admins", "system:authenticated"}})
	return w
}

// as is a client that asks in a name.
func (w *world) as(who *rest.ImpersonationConfig) client.Client {
	w.t.Helper()
	config := rest.CopyConfig(w.cluster.Config)
	if who != nil {
		config.Impersonate = *who
	}
	c, err := kube.NewClient(config)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name string, text []byte) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), text, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// settings writes the files of the control plane, and of the API server's webhook.
func (w *world) settings() {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.doors = free.Addr().String()
	free.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "doors"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		w.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	soar := httptest.NewTLSServer(w.soar)
	w.t.Cleanup(soar.Close)
	w.write("tls.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	w.write("tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	w.write("soar.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: soar.Certificate().Raw}))
	w.write("tokens", []byte(token+"\n"))
	w.write("soar.key", []byte("a-key-of-more-than-16-characters"))
	w.write("sinks.yaml", fmt.Appendf(nil, `sinks:
  - {name: archive, type: file, path: archive.jsonl, format: record}
  - {name: soar, type: webhook, url: "%s/hook", keyFile: soar.key, format: record, tls: {caFile: soar.pem}}
`, soar.URL))
	w.write("audit.kubeconfig", fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: "https://%s/audit/webhook", certificate-authority: %s}}]
users: [{name: a, user: {token: %s}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
current-context: a
`, w.doors, w.path("tls.pem"), token))
}

// start starts the control plane.
func (w *world) start(more ...string) {
	w.t.Helper()
	w.cmd = exec.Command(w.program, append([]string{"serve", "--kubeconfig", w.cluster.Kubeconfig, "--socket", w.path("s"), "--evidence", w.path(w.books),
		"--sinks", w.path("sinks.yaml"), "--witness", "folder:" + w.path("outside"), "--listen", w.doors, "--tls-cert", w.path("tls.pem"), "--tls-key", w.path("tls.key"),
		"--audit-token-file", w.path("tokens")}, more...)...)
	w.cmd.Stderr = w.log
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.kill)
}

// kill ends it as kill -9 does.
func (w *world) kill() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

// await waits for what happens soon.
func (w *world) await(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s did not happen within 90 s; the control plane says\n%s", what, w.log)
		}
	}
}

// archived are the records that the file sink has, each once.
func (w *world) archived() (out []record.Record) {
	text, _ := os.ReadFile(w.path("archive.jsonl"))
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		var r record.Record
		if json.Unmarshal([]byte(line), &r) == nil && !seen[r.ID] {
			seen[r.ID] = true
			out = append(out, r)
		}
	}
	return out
}

// tells reports whether the file sink has a record of a kind whose body holds all texts.
func (w *world) tells(kind string, texts ...string) bool {
	return slices.ContainsFunc(w.archived(), func(r record.Record) bool {
		return r.Kind == kind && !slices.ContainsFunc(texts, func(s string) bool { return !bytes.Contains(r.Body, []byte(s)) })
	})
}

// kept are the records of the ledger, which verifies.
func (w *world) kept() (out []record.Record) {
	w.t.Helper()
	dir := filepath.Join(w.path(w.books), "ledger")
	text, err := os.ReadFile(filepath.Join(dir, "keyring"))
	if err != nil {
		w.t.Fatal(err)
	}
	ring, err := ledger.ParseKeyring(text)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := ledger.Verify(w.t.Context(), ledger.Folder(dir), ring, func(e ledger.Entry) error {
		r, err := e.Record()
		out = append(out, r)
		if bytes.Contains(e.Statement, []byte("mallory")) || bytes.Contains(e.Statement, []byte("admin@")) {
			w.t.Errorf("an entry holds a name: %s", e.Statement)
		}
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// refuse asks for a pod that is refused.
func (w *world) refuse(ctx context.Context, name string) {
	err := w.mallory.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "payments-dev", Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "nginx"}}}})
	if err == nil || !strings.Contains(err.Error(), "RF-IM-01") {
		w.t.Errorf("create pod %s: %v, want a refusal by RF-IM-01", name, err)
	}
}

// onboard installs the sample bank and waits until it is guarded.
func (w *world) onboard() {
	w.t.Helper()
	for _, file := range []string{"platform.yaml", "tenant.yaml"} {
		w.await("the install of "+file, func() bool { return w.cluster.Install(w.t.Context(), "../../../samples/"+file) == nil })
	}
	w.await("the guarding of the sample bank", func() bool {
		var p v1alpha1.Platform
		var g v1alpha1.Guard
		return w.admin.Get(w.t.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, &p) == nil && meta.IsStatusConditionTrue(p.Status.Conditions, "Enforced") &&
			w.admin.Get(w.t.Context(), client.ObjectKey{Namespace: "payments-dev", Name: v1alpha1.GuardName}, &g) == nil
	})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "payments-dev", Name: "probe"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "nginx"}}}}
	w.await("the first refusal", func() bool { // the API server takes a moment to see new policies
		err := w.mallory.Create(w.t.Context(), pod.DeepCopy(), client.DryRunAll)
		return err != nil && strings.Contains(err.Error(), "RF-IM-01")
	})
}

// TestEvidence follows what happens through the ledger to the sinks.
func TestEvidence(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.onboard()

	w.refuse(t.Context(), "shell")
	w.await("the refusal in the file sink", func() bool { return w.tells("native-refusal.v1", `"name":"shell"`, `"source":"webhook"`, "RF-IM-01") })

	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"bank.example/ticket":"CHG1"}}}`))
	if err := w.admin.Patch(t.Context(), &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}}, patch); err != nil {
		t.Fatal(err)
	}
	w.await("the change of the Platform", func() bool {
		return w.tells("change.v1", `"operation":"UPDATE"`, `"kind":"Platform"`, `"ref":"hmac-sha256:`, `"unchanged":true`)
	})

	const policy = "ringfence-workloads-deny"
	if err := w.admin.Delete(t.Context(), &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: policy}}); err != nil {
		t.Fatal(err)
	}
	w.await("the gap", func() bool { return w.tells("policy-gap.v1", policy, `"what":"missing"`) })
	w.await("who made it", func() bool { return w.tells("change.v1", `"operation":"DELETE"`, policy) })
	// The API server sees the deletion only after a moment, and the new policy once it has compiled it.
	sound := time.Now()
	w.await("a sound policy", func() bool {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "payments-dev", Name: "probe"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "nginx"}}}}
		if err := w.mallory.Create(t.Context(), pod, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "RF-IM-01") {
			sound = time.Now()
		}
		return time.Since(sound) > 8*time.Second
	})

	w.killed()

	// All that was told so far comes again, from a file now.
	w.kill()
	w.start("--audit-file", w.path("audit.log"))
	w.refuse(t.Context(), "late")
	w.await("a refusal by two doors", func() bool { return w.tells("native-refusal.v1", `"name":"late"`) })
	cursor := filepath.Join(w.path(w.books), "audit-file.cursor")
	w.await("the end of the file", func() bool {
		var at struct{ Offset int64 }
		text, _ := os.ReadFile(cursor)
		info, err := os.Stat(w.path("audit.log"))
		return err == nil && json.Unmarshal(text, &at) == nil && at.Offset == info.Size()
	})
	if text, err := os.ReadFile(w.path("audit.log")); err != nil || !bytes.Contains(text, []byte(`"name":"ringfence-heartbeat"`)) {
		t.Errorf("the audit log holds no call of the control plane: %v", err)
	}

	kept := w.kept()
	var ids []string
	for _, r := range kept {
		ids = append(ids, r.ID)
	}
	if len(once(ids)) != len(ids) {
		t.Error("the ledger holds a record twice")
	}
	next := map[string]uint64{}
	for _, r := range kept {
		if next[r.Producer]++; r.Seq != next[r.Producer] {
			t.Errorf("record %s of %s has number %d, want %d: something is lost", r.ID, r.Producer, r.Seq, next[r.Producer])
			next[r.Producer] = r.Seq
		}
	}
	w.await("all records in both sinks", func() bool { return len(w.archived()) >= len(ids) && len(w.soar.got()) >= len(ids) })
	var archived []string
	for _, r := range w.archived() {
		archived = append(archived, r.ID)
	}
	if !slices.Equal(archived[:len(ids)], ids) {
		t.Error("the file sink has not the ledger's records in the ledger's order")
	}
	if !slices.Equal(w.soar.got()[:len(ids)], ids) {
		t.Error("the webhook has not the ledger's records in the ledger's order")
	}
	if !slices.ContainsFunc(kept, func(r record.Record) bool {
		return r.Kind == "silence.v1" && bytes.Contains(r.Body, []byte(`"why":"restart"`))
	}) {
		t.Error("no record tells of the time in which the control plane was dead")
	}
	if found, _ := filepath.Glob(w.path("outside/*/*.checkpoint")); len(found) == 0 {
		t.Error("no checkpoint was published")
	}
	w.await("sinks that are behind by nothing", func() bool { // a posture may come at any moment
		out, err := exec.Command(w.program, "sinks", "status", "--socket", w.path("s")).CombinedOutput()
		return err == nil && strings.Contains(string(out), "sink archive: 0 behind") && strings.Contains(string(out), "checkpoints at folder ")
	})
	w.lost()
}

// killed kills the control plane while requests are refused, and starts it again: none of them is missing after.
func (w *world) killed() {
	const many = 80
	var workers sync.WaitGroup
	names := make(chan string, many)
	for i := range many {
		names <- fmt.Sprintf("storm-%02d", i)
	}
	close(names)
	for range 4 {
		workers.Go(func() {
			for name := range names {
				w.refuse(w.t.Context(), name)
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	w.await("some of the storm", func() bool { return w.tells("native-refusal.v1", `"name":"storm-`) })
	w.kill()
	w.start()
	workers.Wait()
	w.await("the whole storm", func() bool {
		seen := map[string]bool{}
		for _, r := range w.archived() {
			var body struct{ Subject struct{ Name string } }
			if r.Kind == "native-refusal.v1" && json.Unmarshal(r.Body, &body) == nil && strings.HasPrefix(body.Subject.Name, "storm-") {
				seen[body.Subject.Name] = true
			}
		}
		return len(seen) == many
	})
}
