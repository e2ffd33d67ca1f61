package install

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// TestPage walks docs/install.md: whoever types what stands there has a guarded tenant, and in the end no Ringfence. Where a cluster has
// kubelets this test stands in: it runs the processes that are installed, with their flags and files, and enters their pod.
func TestPage(t *testing.T) {
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("the page wants openssl")
	}
	fresh(t)
	dir, err := os.MkdirTemp("", "rf") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir); events.token.Store(nil) })
	b := &bed{admin: ringfencetest.Client(t, cluster.Config), dir: filepath.Join(dir, "pod"), log: &words{}, runs: map[string]*process{}, version: first}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Ringfence says\n%s", b.complaints())
		}
	})
	b.programs(t, dir)
	ready := make(chan struct{})
	began := time.Now()
	page := ringfencetest.Page{File: "docs/install.md", Dir: dir, Env: []string{"KUBECONFIG=" + cluster.Kubeconfig, "PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH")},
		Before: func(command string) {
			switch {
			case strings.Contains(command, "ringfence install -f"):
				b.mounts(t, dir)
				b.hinders(t, dir)
				go b.plays(t, ready)
			case strings.Contains(command, "run shell"):
				b.refuses(t)
			case strings.Contains(command, "ringfence uninstall --apply"):
				<-ready
				go b.leaves(t)
			}
		},
		After: func(command string) { t.Logf("%6.1fs  %.100s", time.Since(began).Seconds(), command) }}
	if n := ringfencetest.Walk(t, page); n < 17 {
		t.Errorf("%s has %d commands; want 17 or more", page.File, n)
	}
}

// fresh starts another cluster for a test, with more flags: on one that Ringfence has left stand the namespaces of its tenants, which nobody's
// Tenant takes over.
func fresh(t *testing.T, flags ...string) {
	t.Helper()
	own, err := clustertest.Start(slices.Concat(audited, flags)...)
	if err != nil {
		t.Fatal(err)
	}
	was := cluster
	cluster = own
	events.to.Store(nil)
	t.Cleanup(func() { cluster = was; own.Stop() })
}

// programs puts what the page names into a folder: this very program for Ringfence, and a kubectl that enters the pod of Ringfence.
func (b *bed) programs(t *testing.T, dir string) {
	t.Helper()
	root, err := clustertest.Root()
	self, wrong := os.Executable()
	if err := errors.Join(err, wrong, os.MkdirAll(filepath.Join(dir, "bin"), 0o700), os.Symlink(filepath.Join(root, "samples"), filepath.Join(dir, "samples"))); err != nil {
		t.Fatal(err)
	}
	kubectl := fmt.Sprintf(`#!/bin/sh
case "$*" in
"-n ringfence-system exec deploy/ringfence -- "*)
	shift 5
	for a; do
		shift
		case "$a" in /*) a=%s$a ;; esac
		set -- "$@" "$a"
	done
	exec "$@" ;;
esac
exec %s "$@"
`, b.dir, filepath.Join(root, "bin", "kubectl"))
	ringfence := fmt.Sprintf("#!/bin/sh\n%s=1 exec %s \"$@\"\n", envCommand, self)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "bin", "kubectl"), []byte(kubectl), 0o700), os.WriteFile(filepath.Join(dir, "bin", "ringfence"), []byte(ringfence), 0o700)); err != nil {
		t.Fatal(err)
	}
}

// mounts puts the files of which the page made Secrets where the pods have them.
func (b *bed) mounts(t *testing.T, dir string) {
	t.Helper()
	for from, to := range map[string]string{"tokens": "etc/ringfence/audit/tokens", "tls.crt": "etc/ringfence/doors/tls.crt", "tls.key": "etc/ringfence/doors/tls.key"} {
		text, err := os.ReadFile(filepath.Join(dir, from))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(b.dir, to), string(text))
		if from == "tokens" {
			token := string(bytes.TrimSpace(text))
			events.token.Store(&token)
		}
	}
}

// hinders: before anything runs, install says what is in its way, and ends with 1.
func (b *bed) hinders(t *testing.T, dir string) {
	t.Helper()
	code, out, stderr := ringfence(t, "install", "--kubeconfig", cluster.Kubeconfig, "-f", filepath.Join(dir, "values.yaml"), "--apply", "--timeout", "3s")
	if code != 1 || !strings.Contains(stderr, "wants the storage class encrypted, which this cluster does not have") {
		t.Errorf("install on a cluster without the storage class: exit %d %s %s, want 1 and which one is missing", code, out, stderr)
	}
}

// plays runs what is installed as soon as it is, and closes ready.
func (b *bed) plays(t *testing.T, ready chan<- struct{}) {
	defer close(ready)
	ringfencetest.Eventually(t, "the account", func() error {
		return b.admin.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "ringfence"}, &corev1.ServiceAccount{})
	})
	kubeconfig := b.kubeconfig(t)
	b.start(t, "ringfence", kubeconfig)
	b.start(t, "ringfence-reviews", kubeconfig)
}

// leaves ends the processes once their Deployments are deleted.
func (b *bed) leaves(t *testing.T) {
	ringfencetest.Eventually(t, "the Deployment to be gone", func() error {
		err := b.admin.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "ringfence"}, &appsv1.Deployment{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %v", err)
	})
	b.stop(t, "ringfence-reviews", "ringfence")
}

// refuses waits until the API server has read what is in force.
func (b *bed) refuses(t *testing.T) {
	t.Helper()
	bad := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "before"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "nginx"}}}}
	ringfencetest.Eventually(t, "a refusal", func() error {
		return ringfencetest.RefusedBy(b.admin.Create(t.Context(), bad.DeepCopy(), client.DryRunAll), "RF-IM-01")
	})
}
