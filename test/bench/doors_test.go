package bench

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
)

// envDoor makes the test program a webhook: "nothing", which lets everything in, or the path of a kubeconfig, whose Guards
// Ringfence's own judges with. It is a process of its own so that its CPU can be told from that of the load.
const envDoor = "RINGFENCE_BENCH_DOOR"

func TestMain(m *testing.M) {
	if which := os.Getenv(envDoor); which != "" {
		if err := openDoor(which); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// door is a webhook that runs: where it is, and whom to trust for it.
type door struct {
	Address string
	CA      []byte
	pid     int
}

// startDoor runs a webhook until the benchmark ends.
func startDoor(b *testing.B, which string) (d door) {
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env, cmd.Stderr = append(os.Environ(), envDoor+"="+which), os.Stderr
	_, inErr := cmd.StdinPipe() // closed when this process ends
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, inErr); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if err := json.NewDecoder(out).Decode(&d); err != nil {
		b.Fatalf("start the webhook %s: %v", which, err)
	}
	d.pid = cmd.Process.Pid
	return d
}

// at is where the API server finds it.
func (d door) at() admission.Client { return admission.Client{URL: "https://" + d.Address} }

// openDoor serves reviews until standard input ends.
func openDoor(which string) error {
	authority, err := admission.NewAuthority(admission.AuthorityConfig{Names: []string{"127.0.0.1"}, Now: time.Now})
	if err != nil {
		return err
	}
	handler := http.Handler(http.HandlerFunc(nothing))
	if which != "nothing" {
		if handler, err = judging(context.Background(), which); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: handler, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: authority.GetCertificate}}
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		srv.Close()
	}()
	if err := json.NewEncoder(os.Stdout).Encode(door{Address: l.Addr().String(), CA: authority.Bundle()}); err != nil {
		return err
	}
	if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// nothing lets everything in, after reading no more than it must.
func nothing(w http.ResponseWriter, r *http.Request) {
	var review struct {
		Request struct {
			UID string `json:"uid"`
		} `json:"request"`
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"apiVersion":%q,"kind":"AdmissionReview","response":{"uid":%q,"allowed":true}}`, admissionv1.SchemeGroupVersion, review.Request.UID)
}

// judging is Ringfence's own, with the whole catalogue, as the control plane makes it.
func judging(ctx context.Context, kubeconfig string) (http.Handler, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	scheme, err := kube.Scheme()
	if err != nil {
		return nil, err
	}
	ctrl.SetLogger(logr.Discard())
	guards, err := cache.New(config, cache.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	go func() { _ = guards.Start(ctx) }() // ends with the process
	if _, err := guards.GetInformer(ctx, &v1alpha1.Guard{}); err != nil {
		return nil, err
	}
	whole, err := control.Load(controls.FS)
	if err != nil {
		return nil, err
	}
	cat, err := admission.Select(whole, admission.All, true)
	if err != nil {
		return nil, err
	}
	sets, err := cel.Compile(cat)
	if err != nil {
		return nil, err
	}
	return admission.New(admission.Config{Engine: policy.New(sets...), Groups: cat.Groups(), Guards: admission.NewCached(guards),
		Metrics: admission.NewMetrics(), Log: slog.New(slog.DiscardHandler)})
}
