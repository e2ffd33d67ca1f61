//go:build unix

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestIntegrations runs what the files of integrations/ run, with the program that they find in the PATH.
func TestIntegrations(t *testing.T) {
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "ringfence")); err != nil { // TestMain makes it a ringfence by its name
		t.Fatal(err)
	}
	var action struct {
		Runs struct{ Steps []struct{ Run string } }
	}
	decode(t, "../integrations/github/action.yml", &action)
	var template map[string]struct{ Script []string }
	decode(t, "../integrations/gitlab/ringfence.yml", &template)
	var hooks []struct{ Entry string }
	decode(t, "../.pre-commit-hooks.yaml", &hooks)
	if len(action.Runs.Steps) != 1 || len(template[".ringfence-check"].Script) != 1 || len(hooks) != 1 {
		t.Fatalf("steps %v, scripts %v, hooks %v; want one of each", action.Runs.Steps, template, hooks)
	}
	github, gitlab := action.Runs.Steps[0].Run, template[".ringfence-check"].Script[0]
	for _, c := range []struct {
		name, script, path string
		env                []string
		code               int
		want, file         string
	}{
		{"github refused", github, bin, []string{"PATHS=bad.yaml\ngood dir", "PLATFORM=platform.yaml", "BASELINE=", "FAIL_ON=deny"}, 1, "::error file=bad.yaml,line=", "ringfence.sarif"},
		{"github allowed", github, bin, []string{"PATHS=good dir", "PLATFORM=platform.yaml\n", "BASELINE=", "FAIL_ON=deny"}, 0, "1 object in 1 file", "ringfence.sarif"},
		{"github without program", github, t.TempDir(), []string{"PATHS=.", "PLATFORM=", "BASELINE=", "FAIL_ON=deny"}, 2, "ringfence is not on the PATH", ""},
		{"github, a path like a flag", github, bin, []string{"PATHS=--fail-on=warn", "PLATFORM=", "BASELINE=", "FAIL_ON=deny"}, 2, "--fail-on=warn", ""},
		{"gitlab refused", gitlab, bin, []string{"RINGFENCE_PATHS=bad.yaml", "RINGFENCE_PLATFORM=platform.yaml", "RINGFENCE_FAIL_ON=deny"}, 1, "refused", "ringfence.xml"},
		{"gitlab bad input", gitlab, bin, []string{"RINGFENCE_PATHS=none.yaml", "RINGFENCE_PLATFORM=", "RINGFENCE_FAIL_ON=deny"}, 2, "none.yaml", "ringfence.xml"},
		{"pre-commit", hooks[0].Entry + ` "$@"`, bin, nil, 1, "refused", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "platform.yaml"), "apiVersion: ringfence.dev/v1alpha1\nkind: Platform\nmetadata: {name: platform}\nspec: {registries: [registry.bank.example]}\n")
			write(t, filepath.Join(dir, "bad.yaml"), pod+"spec: {hostPID: true, containers: []}\n")
			write(t, filepath.Join(dir, "good dir", "quota.yaml"), "apiVersion: v1\nkind: Service\nmetadata: {name: api, namespace: payments-dev}\nspec: {ports: [{port: 443}]}\n")
			cmd := exec.Command("bash", "-c", c.script, "bash", "bad.yaml")
			cmd.Dir, cmd.Env = dir, append(c.env, "PATH="+c.path+":/usr/bin:/bin")
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.want) {
				t.Errorf("exit code %d, want %d; want %q in\n%s", code, c.code, c.want, out)
			}
			if _, err := os.Stat(filepath.Join(dir, c.file)); c.file != "" && err != nil {
				t.Error(err)
			}
		})
	}
}

func decode(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
