package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ringfence.dev/ringfence/cluster/probe"
)

// TestProbePods: the pods that verify-cluster runs satisfy the whole catalogue where every rule denies, without a waiver.
func TestProbePods(t *testing.T) {
	dir, platform := t.TempDir(), filepath.Join(t.TempDir(), "platform.yaml")
	if err := os.WriteFile(platform, []byte(chartGrants), 0o600); err != nil {
		t.Fatal(err)
	}
	listens, reaches := probe.Config{Image: chartImage, Namespace: "payments-dev", Other: "payments-dev"}.Pods("10.0.0.10:53")
	for name, pod := range map[string]any{"listens.json": listens, "reaches.json": reaches} {
		text, err := json.Marshal(pod)
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name), text, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	judged(t, dir, platform)
}

// TestVerifyClusterUsage: what cannot be meant is refused before any cluster is asked.
func TestVerifyClusterUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--namespace", "a"}, {"--apply"}, {"--apply", "--image", "registry.bank.example/ringfence:latest", "--namespace", "a", "--other", "b"},
		{"--apply", "--image", chartImage, "--namespace", "a", "--other", "a"}, {"-o", "yaml"}, {"--timeout", "0s"},
	} {
		if code, _, stderr := runCommand(t, append([]string{"verify-cluster"}, args...)...); code != 2 {
			t.Errorf("%v: exit %d %s, want 2", args, code, stderr)
		}
	}
}
