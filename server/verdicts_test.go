package server

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/advisory"
)

// TestKeepVerdicts: what follows of reports is in as many files as it takes, and in no more.
func TestKeepVerdicts(t *testing.T) {
	dir := t.TempDir()
	until := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	for _, n := range []int{verdictsEach + 1, 1, 0} {
		var all []image.Admitted
		for i := range n {
			all = append(all, image.Admitted{Digest: fmt.Sprintf("sha256:%064x", i), ScannedUntil: until, CleanUntil: until})
		}
		if err := keepVerdicts(dir, all); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if want := max(1, (n+verdictsEach-1)/verdictsEach); err != nil || len(files) != want {
			t.Fatalf("%d digests: %q, %v; want %d files", n, files, err, want)
		}
		im := &images{dir: dir, log: slog.New(slog.DiscardHandler)}
		if err := im.read(); err != nil || im.index.Load().Len() != n {
			t.Errorf("%d digests: %v", n, err)
		}
	}
	if err := keepVerdicts(filepath.Join(dir, "gone"), nil); err == nil || !strings.Contains(err.Error(), "fix: ") {
		t.Errorf("into a folder that is not there: %v", err)
	}
}

// TestLaw: nothing is judged without the Platform, or before advisories that were asked for could be read; those read last hold on.
func TestLaw(t *testing.T) {
	file := filepath.Join(t.TempDir(), "advisories.gz")
	platform := (*v1alpha1.Platform)(nil)
	var log bytes.Buffer
	v := &verdicts{file: file, log: slog.New(slog.NewTextHandler(&log, nil)), inForce: func(context.Context) (*v1alpha1.Platform, error) { return platform, nil }}
	if law, err := v.law(t.Context()); err != nil || law.Edition != "" {
		t.Errorf("without a Platform: %q, %v", law.Edition, err)
	}
	platform = &v1alpha1.Platform{}
	if law, err := v.law(t.Context()); err == nil || law.Edition != "" {
		t.Errorf("without the file: %q, %v", law.Edition, err)
	}
	mirror := t.TempDir()
	if err := os.WriteFile(filepath.Join(mirror, "a.json"), []byte(`{"id":"CVE-2026-1","published":"2026-11-01T00:00:00Z","modified":"2026-11-01T00:00:00Z"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	index, _, err := advisory.Read(os.DirFS(mirror))
	if err != nil {
		t.Fatal(err)
	}
	var editions []string
	for _, text := range [][]byte{index.Bytes(), []byte("nonsense"), slices.Concat(index.Bytes(), nil)} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		law, err := v.law(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := law.Known("CVE-2026-1"); !ok {
			t.Error("the advisory is not known")
		}
		editions = append(editions, law.Edition)
	}
	if editions[0] == "" || editions[1] != editions[0] {
		t.Errorf("editions %q: want that of what was read last", editions)
	}
	if strings.Count(log.String(), "want what ringfence image advisories import writes") != 1 {
		t.Errorf("of nonsense it says\n%s", &log)
	}
	platform.Spec.Images.DenySeverity = 3
	if law, err := v.law(t.Context()); err != nil || slices.Contains(editions, law.Edition) {
		t.Errorf("another rule: %q, %v", law.Edition, err)
	}
}
