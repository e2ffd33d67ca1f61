package images

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
)

// TestOperator: what the trivy-operator writes in the cluster is judged when it is written, without anybody sending it; the reports of many
// workloads of one image leave two files.
func TestOperator(t *testing.T) {
	b := open(t)
	dir := t.TempDir()
	cfg := server.Config{ImageReports: filepath.Join(dir, "reports"), ImageReportsOperator: true, ImageFacts: b.dir, ImageVerdicts: true, ImageAdvisories: filepath.Join(dir, "advisories.gz")}
	publish(t, dir)
	stop := b.serve(t, cfg)
	b.onboard(t)
	b.judged(t, at('8'), "not scanned", scanID)
	kind := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(ringfencetest.VulnerabilityReports), &kind.Object); err != nil {
		t.Fatal(err)
	}
	if err := b.admin.Create(t.Context(), kind); err != nil { // the operator comes later than Ringfence
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.admin.Delete(t.Context(), kind) })
	write := func(name string, scanned time.Time, found ...any) {
		t.Helper()
		r := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "aquasecurity.github.io/v1alpha1", "kind": "VulnerabilityReport",
			"metadata": map[string]any{"namespace": namespace, "name": name}, "report": report(scanned, found...)}}
		ringfencetest.Eventually(t, "report "+name, func() error {
			err := b.admin.Create(t.Context(), r)
			if apierrors.IsAlreadyExists(err) {
				patch, fault := r.MarshalJSON()
				if fault != nil {
					return fault
				}
				err = b.admin.Patch(t.Context(), r, client.RawPatch(types.MergePatchType, patch))
			}
			return err
		})
	}
	now := time.Now().UTC()
	for n := range 5 {
		write(fmt.Sprintf("replicaset-api-%d", n), now.Add(time.Duration(n-10)*time.Second))
	}
	b.judged(t, at('8'), "scanned and clean", "")
	kept := func() []string {
		names, err := filepath.Glob(filepath.Join(cfg.ImageReports, "cluster:trivy-operator", "*.report"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	ringfencetest.Eventually(t, "two of five reports that say the same", func() error {
		if n := len(kept()); n != 2 {
			return fmt.Errorf("%d reports are kept", n)
		}
		return nil
	})
	write("replicaset-api-1", now.Add(time.Second), map[string]any{"vulnerabilityID": vulnerable, "severity": "CRITICAL", "resource": "log4j", "installedVersion": "1", "fixedVersion": "2", "title": "x"})
	b.judged(t, at('8'), "an old vulnerability", vulnerabilityID)
	stop()
	write("replicaset-api-1", now.Add(2*time.Second))
	b.serve(t, cfg)
	b.judged(t, at('8'), "what was written while nobody looked", "")
}

// serve runs a control plane until stop is called, or the test ends.
func (b *bed) serve(t *testing.T, cfg server.Config) (stop func()) {
	t.Helper()
	_, stop = ringfencetest.Start(t, cluster.Config, cfg, slog.LevelWarn)
	return stop
}

// report is what the trivy-operator says of image 8.
func report(scanned time.Time, found ...any) map[string]any {
	return map[string]any{"artifact": map[string]any{"repository": "payments/api", "tag": "1", "digest": digest('8')}, "registry": map[string]any{"server": "registry.bank.example"},
		"scanner": map[string]any{"name": "Trivy", "vendor": "Aqua Security", "version": "0.57.1"}, "updateTimestamp": scanned.Format(time.RFC3339), "vulnerabilities": append([]any{}, found...)}
}
