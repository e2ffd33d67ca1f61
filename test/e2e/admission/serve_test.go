package admission

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/install"
	"ringfence.dev/ringfence/internal/otlp"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/server"
)

// registered is an empty registration, to be read into.
func registered() *admissionv1.ValidatingWebhookConfiguration {
	return &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: admission.RegistrationName}}
}

// TestServe: the control plane has the door beside its bundles; what it warns of is recorded, a registration that is taken away
// is a gap that is recorded, and it ends without cutting off what is under way.
func TestServe(t *testing.T) {
	b := newBed(t)
	if err := errors.Join(install.CRDs(t.Context(), b, v1alpha1.CRDs()), install.Namespace(t.Context(), b)); err != nil {
		t.Fatal(err)
	}
	dir, spans := t.TempDir(), newReceiver(t)
	short, err := os.MkdirTemp("", "rf") // for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	socket := filepath.Join(short, "s")
	srv, err := server.New(server.Config{Evidence: dir, Socket: socket, Traces: otlp.Config{Endpoint: spans.URL, Sample: 1}, Webhook: server.WebhookConfig{
		Listen: b.address, URL: "https://" + b.address, Controls: admission.All, Settle: time.Second, Drain: 2 * time.Second,
	}}, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		done <- srv.Run(ctx, rest.CopyConfig(b.config))
	}()
	defer func() {
		cancel()
		<-ended
	}()

	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	ask := func(path string) (int, string, error) {
		got, err := web.Get("https://" + b.address + path)
		if err != nil {
			return 0, "", err
		}
		defer got.Body.Close()
		text, err := io.ReadAll(got.Body)
		return got.StatusCode, string(text), err
	}
	ready := func() error {
		if code, text, err := ask("/readyz"); code != 200 {
			return fmt.Errorf("/readyz says %d %s %w", code, text, err)
		}
		return nil
	}
	eventually(t, "it to be ready before there is a Platform", ready)
	platform := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{Registries: []v1alpha1.Registry{"registry.bank.example"}}}
	if err := b.Create(t.Context(), platform); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the registration", func() error {
		return b.Get(t.Context(), client.ObjectKey{Name: admission.RegistrationName}, registered())
	})
	eventually(t, "it to be ready", ready)

	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ledgers"}}
	eventually(t, "a namespace", func() error { return client.IgnoreAlreadyExists(b.Create(t.Context(), namespace.DeepCopy())) })
	// A Deployment that only breaks rules which warn under the profile mvp passes both doors.
	warned := func() error {
		b.mu.Lock()
		b.warnings = nil
		b.mu.Unlock()
		if err := b.Create(t.Context(), deployment(namespace.Name)); err != nil {
			return err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		native, door := 0, 0
		for _, w := range b.warnings {
			switch {
			case strings.HasPrefix(w, "Validation failed for ValidatingAdmissionPolicy 'ringfence-") && strings.Contains(w, ": RF-"): // another tells what was filled in
				native++
			case strings.HasPrefix(w, "RF-"):
				door++
			}
		}
		if native == 0 || native != door {
			return fmt.Errorf("%d native warnings, %d of the webhook: %q", native, door, b.warnings)
		}
		return nil
	}
	eventually(t, "both doors to warn of the same", warned)
	eventually(t, "a trace from the review to the store", spans.whole)
	eventually(t, "metrics of the facts", func() error { return facts(socket) })

	if err := b.Delete(t.Context(), registered()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the registration to come back", func() error {
		return b.Get(t.Context(), client.ObjectKey{Name: admission.RegistrationName}, registered())
	})
	eventually(t, "both doors to warn again", warned)

	var served atomic.Int64
	var broken atomic.Pointer[error]
	go func() { // posts until nobody takes a connection: on one that was taken, the answer always comes
		for {
			conn, err := tls.Dial("tcp", b.address, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				return
			}
			if err := postOn(conn); err != nil {
				broken.CompareAndSwap(nil, &err)
			}
			served.Add(1)
		}
	}()
	eventually(t, "a request", func() error {
		if served.Load() == 0 {
			return errors.New("none yet")
		}
		return nil
	})
	cancel()
	eventually(t, "it to say that it is about to end", func() error {
		if code, text, err := ask("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "about to end") {
			return fmt.Errorf("%d %s %w", code, text, err)
		}
		return nil
	})
	if err := <-done; err != nil {
		t.Errorf("it ended: %v", err)
	}
	if err := broken.Load(); err != nil {
		t.Errorf("while it ended: %v", *err)
	}
	kinds := recorded(t, filepath.Join(dir, "ledger"))
	if kinds["admission-decision.v1"] == 0 || kinds["policy-gap.v1"] == 0 {
		t.Errorf("the ledger has %v; want decisions of the door and its gap", kinds)
	}
}

// postOn posts what is no review, and wants to be told so.
func postOn(conn *tls.Conn) error {
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", admission.Path); err != nil {
		return err
	}
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	if _, err := io.Copy(io.Discard, got.Body); err != nil || got.StatusCode != http.StatusBadRequest {
		return fmt.Errorf("%s, %w", got.Status, err)
	}
	return nil
}

// deployment is one that breaks no rule that denies under the profile mvp, and some that warn.
func deployment(namespace string) *appsv1.Deployment {
	yes, no, app := true, false, map[string]string{"app": "a"}
	amount := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-", Namespace: namespace}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: app},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: app}, Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: "a", Image: "registry.bank.example/payments/a:1",
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
				Resources:       corev1.ResourceRequirements{Requests: amount("100m", "64Mi"), Limits: amount("200m", "128Mi")},
			}},
		}},
	}}
}

// recorded counts what a ledger tells of the door, by kind.
func recorded(t *testing.T, dir string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "keyring"))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := ledger.ParseKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	_, err = ledger.Verify(t.Context(), ledger.Folder(dir), ring, func(e ledger.Entry) error {
		r, err := e.Record()
		if r.Kind == "admission-decision.v1" && r.Producer == "admission" && strings.Contains(string(r.Body), `"Deployment"`) ||
			r.Kind == "policy-gap.v1" && strings.Contains(string(r.Body), `"ValidatingWebhookConfiguration"`) {
			kinds[r.Kind]++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return kinds
}
