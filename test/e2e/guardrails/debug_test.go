package guardrails

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
)

// control sets the Platform's action of a control, "" for the profile's.
func (b *bed) control(t *testing.T, id string, action v1alpha1.Action) {
	t.Helper()
	value := "null"
	if action != "" {
		value = fmt.Sprintf(`{"action":%q}`, action)
	}
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"controls":{%q:%s}}}`, id, value))
	if err := b.admin.Patch(context.WithoutCancel(t.Context()), &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}}, patch); err != nil {
		t.Fatal(err)
	}
}

// TestDebugContainers: where the control warns, a debug container without reference is let in and its pod stays; where it
// denies, it is refused, and a pod with one that names its incident is evicted at its time, which is recorded.
func TestDebugContainers(t *testing.T) {
	b := newBed(t)
	b.stop()
	dir := t.TempDir()
	b.run(t, server.Config{DebugTime: 3 * time.Second, Evidence: dir})
	ns := b.namespace(t)
	debugged := func(reference string) (*corev1.Pod, error) {
		p := pod(ns)
		if err := b.admin.Create(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		c := corev1.EphemeralContainerCommon{Name: "debug", Image: image}
		if reference != "" {
			c.Env = []corev1.EnvVar{{Name: "RINGFENCE_REFERENCE", Value: reference}}
		}
		return p, retry.RetryOnConflict(retry.DefaultRetry, func() error { // the scheduler writes too
			if err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
				return err
			}
			with := p.DeepCopy()
			with.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: c}}
			return b.admin.SubResource("ephemeralcontainers").Update(t.Context(), with)
		})
	}
	warned, err := debugged("")
	if err != nil {
		t.Fatalf("a debug container without reference where the control warns: %v", err)
	}
	time.Sleep(5 * time.Second) // past its time
	if err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(warned), &corev1.Pod{}); err != nil {
		t.Errorf("the control warns only, and the pod is gone: %v", err)
	}

	b.control(t, "RF-WL-21", v1alpha1.Deny)
	t.Cleanup(func() { b.control(t, "RF-WL-21", "") })
	ringfencetest.Eventually(t, "a debug container without reference to be refused", func() error {
		_, err := debugged("")
		return ringfencetest.RefusedBy(err, "RF-WL-21")
	})
	named, err := debugged("INC0012345")
	if err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the pod to be evicted", func() error {
		var p corev1.Pod
		err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(named), &p)
		if apierrors.IsNotFound(err) || err == nil && p.DeletionTimestamp != nil {
			return nil
		}
		return errors.Join(err, errors.New("it is there"))
	})
	b.stop() // writes what waits
	if !contains(t, filepath.Join(dir, "ledger"), "remediation.v1", named.Name, "INC0012345") {
		t.Error("the ledger does not tell of the eviction")
	}
}

// contains reports whether one file below a folder holds all texts.
func contains(t *testing.T, dir string, texts ...string) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all := true
		for _, one := range texts {
			all = all && strings.Contains(string(text), one)
		}
		found = found || all
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
