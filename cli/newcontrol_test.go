//go:build unix

package cli

import (
	"bytes"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"ringfence.dev/ringfence/controls"
)

// addedControl is a control that the catalogue does not have: the files of its folder, and nothing else.
var addedControl = map[string]string{
	"pod/no-tty/control.yaml": `
id: RF-XX-01
title: No terminals
severity: low
why: A terminal is for people.
wanted: "tty unset or false in every container"
fix: "remove tty: true"
maturity: auto-remediating
default: Deny
profiles: {mvp: Warn, standard: Warn, strict: Deny}
groups: [workloads]
sources:
  - {document: "A bank's own rules", section: "1", url: "", retrieved: "2026-11-21"}
`,
	"pod/no-tty/mapping.yaml": `owasp-k8s-2022: ["K01"]`,
	"pod/no-tty/fix.yaml":     `[{at: /tty, remove: true}]`,
	"pod/no-tty/policy.yaml": `
spec:
  variables:
    - name: found
      expression: |-
        variables.each.filter(i, variables.containers[i].?tty.orValue(false) == true)
          .map(i, 'true at ' + variables.containerPaths[i] + '/tty')
`,
	"pod/no-tty/tests/fail-tty.yaml": `# want: found true at /spec/containers/0/tty
# also: *
` + tty,
	"pod/no-tty/tests/pass-none.yaml": "# also: *\n" + strings.Replace(tty, "true", "false", 1),
}

const tty = `apiVersion: v1
kind: Pod
metadata: {name: a, namespace: payments-dev}
spec:
  containers:
    - name: a
      tty: true
`

// TestNewControl proves that a control is its folder: laid beside the others it is judged, listed, explained, tested and
// exported, and without it there is no trace of it.
func TestNewControl(t *testing.T) {
	with := fstest.MapFS{}
	err := fs.WalkDir(controls.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(controls.FS, name)
		with[name] = &fstest.MapFile{Data: text}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range addedControl {
		with[name] = &fstest.MapFile{Data: []byte(text)}
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("pod.yaml", []byte(tty), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args          string
		with, without int    // exit codes
		says          string // what is said of the control
	}{
		{"check -o json pod.yaml", 1, 1, `"path":"/spec/containers/0/tty"`},
		{"check --only RF-XX-01 pod.yaml", 1, 2, "remove tty: true"},
		{"control list", 0, 0, "RF-XX-01  low       auto-remediating  Warn"},
		{"control list --framework owasp-k8s-2022 -o json", 0, 0, `"rule": "no-tty"`},
		{"control show RF-XX-01", 0, 2, "# ---- pod/no-tty/fix.yaml"},
		{"control test RF-XX-01", 0, 2, "2 cases of 1 control: 2 passed"},
		{"control export", 0, 0, "rf_xx_01_violations"},
		{"control export --format policies", 0, 0, "name: rf-xx-01"},
		{"control export --format markdown", 0, 0, "# RF-XX-01"},
		{"explain RF-XX-01", 0, 2, ">       tty: true"},
	} {
		t.Run(c.args, func(t *testing.T) {
			if code, out := output(t, with, c.args); code != c.with || !strings.Contains(out, c.says) {
				t.Errorf("with the folder: exit code %d, want %d, and %q in:\n%s", code, c.with, c.says, out)
			}
			if code, out := output(t, nil, c.args); code != c.without || strings.Contains(out, c.says) || strings.Contains(out, "No terminals") {
				t.Errorf("without it: exit code %d, want %d, and no trace in:\n%s", code, c.without, out)
			}
		})
	}
}

// output is what a command says, both streams, with the catalogue in a tree.
func output(t *testing.T, tree fs.FS, args string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := Main(t.Context(), strings.Fields(args), Env{Stdout: &out, Stderr: &out, Now: time.Now, Controls: tree})
	return code, out.String()
}
