package checkcluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// TestPull reads reports of the trivy-operator from the API server: one is kept and judged, one without a digest is not scanned.
func TestPull(t *testing.T) {
	connect(t)
	dir := t.TempDir()
	pull := func(want int, words string) []string {
		t.Helper()
		var out, prose bytes.Buffer
		args := []string{"image", "pull", "--from", "trivy-operator", "--out", dir, "--kubeconfig", cluster.Kubeconfig}
		code := cli.Main(t.Context(), args, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now})
		if code != want || !strings.Contains(out.String()+prose.String(), words) {
			t.Errorf("exit code %d, want %d with %q:\n%s%s", code, want, words, out.String(), prose.String())
		}
		kept, err := filepath.Glob(filepath.Join(dir, "trivy-operator", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return kept
	}
	pull(3, "is the trivy-operator there?")
	create := func(text string) error {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
			t.Fatal(err)
		}
		return admin.Create(t.Context(), object)
	}
	if err := create(ringfencetest.VulnerabilityReports); err != nil {
		t.Fatal(err)
	}
	for name, digest := range map[string]string{"scanned": clean, "tag-only": ""} {
		text := fmt.Sprintf(`{"apiVersion": "aquasecurity.github.io/v1alpha1", "kind": "VulnerabilityReport", "metadata": {"namespace": "default", "name": %q},
			"report": {"artifact": {"repository": "api", "tag": "1", "digest": %q}, "registry": {"server": "registry.bank.example"}, "scanner": {"name": "Trivy", "vendor": "Aqua Security", "version": "0.57.1"},
				"updateTimestamp": %q, "vulnerabilities": [{"vulnerabilityID": "CVE-2019-1", "severity": "CRITICAL", "publishedDate": "2019-01-01T00:00:00Z", "resource": "zlib", "installedVersion": "1", "fixedVersion": "2", "title": "x"}]}}`,
			name, digest, time.Now().UTC().Format(time.RFC3339))
		deadline := time.Now().Add(within)
		err := create(text)
		for ; (meta.IsNoMatchError(err) || apierrors.IsNotFound(err)) && time.Now().Before(deadline); err = create(text) { // until the kind is served
			time.Sleep(100 * time.Millisecond)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	kept := pull(3, "default/tag-only: not scanned: its report names no digest")
	if again := pull(3, "2 reports fetched, 0 new"); len(kept) != 1 || len(again) != 1 {
		t.Fatalf("kept %v, then %v; want one", kept, again)
	}
	text, err := os.ReadFile(kept[0])
	if err != nil || bytes.Contains(text, []byte("resourceVersion")) {
		t.Errorf("the report is %s, %v; want it without what changes by itself", text, err)
	}
	var out, prose bytes.Buffer
	if code := cli.Main(t.Context(), []string{"image", "verdict", kept[0]}, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now}); code != 1 || !strings.Contains(out.String(), "CVE-2019-1") {
		t.Errorf("verdict: exit code %d\n%s%s\nwant a refusal for CVE-2019-1", code, out.String(), prose.String())
	}
}
