package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
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
		{"--outside", "203.0.113.7:443"}, {"--open", "10.0.0.10:53"},
		{"--apply", "--image", chartImage, "--namespace", "a", "--other", "b", "--outside", "203.0.113.7"},
		{"--apply", "--image", chartImage, "--namespace", "a", "--other", "b", "--outside", "bank.example:443"},
		{"--apply", "--image", chartImage, "--namespace", "a", "--other", "b", "--open", "10.0.0.10"},
	} {
		if code, _, stderr := runCommand(t, append([]string{"verify-cluster"}, args...)...); code != 2 {
			t.Errorf("%v: exit %d %s, want 2", args, code, stderr)
		}
	}
}

// TestRests: what controls rest on are rows of verify-cluster, and each row but that which all others need is one's.
func TestRests(t *testing.T) {
	code, out, stderr := runCommand(t, "control", "list", "-o", "json")
	var list struct {
		Controls []struct {
			ID    string
			Rests []string
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list.Controls) == 0 {
		t.Fatalf("control list: exit %d %v %s", code, err, stderr)
	}
	used := map[string]bool{"network": true}
	for _, c := range list.Controls {
		for _, name := range c.Rests {
			used[name] = true
			if !slices.ContainsFunc(probe.Rows(), func(r probe.Row) bool { return r.Probe == name }) {
				t.Errorf("%s rests on %q, which is no row of verify-cluster", c.ID, name)
			}
		}
	}
	for _, row := range probe.Rows() {
		if !used[row.Probe] {
			t.Errorf("no control rests on %s", row.Probe)
		}
	}
}

// TestHere: a cell says the worst of what a control rests on; nothing passes for proven beside what is not.
func TestHere(t *testing.T) {
	for want, states := range map[string][]probe.State{
		"-": nil, "proven": {probe.Proven, probe.Proven}, "not proven here: b": {probe.Proven, probe.NotProven}, "broken: c": {probe.Proven, probe.NotProven, probe.Broken},
	} {
		var rows []probe.Row
		for i, s := range states {
			rows = append(rows, probe.Row{Probe: string(rune('a' + i)), State: s})
		}
		if got := here(rows); got != want {
			t.Errorf("%v: %q, want %q", states, got, want)
		}
	}
	if code, _, stderr := runCommand(t, "control", "list", "--context", "a"); code != 2 {
		t.Errorf("--context without --cluster: exit %d %s, want 2", code, stderr)
	}
}
