package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/mutate"
	"ringfence.dev/ringfence/tenant"
)

// TestFixedIsFilled: for each kind, and for what states some fields, the file that check --fix writes holds what the
// platform would have filled in: test/e2e/mutation compares package mutate with the API server.
func TestFixedIsFilled(t *testing.T) {
	dir := t.TempDir()
	settings := filepath.Join(dir, "platform.yaml")
	platform := v1alpha1.Platform{Spec: v1alpha1.PlatformSpec{Registries: []v1alpha1.Registry{"registry.bank.example"}}}
	writeText(t, settings, "apiVersion: ringfence.dev/v1alpha1\nkind: Platform\nmetadata: {name: platform}\nspec: {registries: [registry.bank.example]}\n")
	spec := tenant.Compile(nil, &platform, nil, nil, "default").Spec
	const pod = `{containers: [{name: a, image: registry.bank.example/a:1}, {name: b, image: registry.bank.example/b:1, securityContext: {runAsUser: 1, capabilities: {add: [NET_BIND_SERVICE]}}}], initContainers: [{name: c, image: registry.bank.example/c:1, securityContext: {seccompProfile: {type: RuntimeDefault}}}]}`
	for _, text := range []string{
		"apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: " + pod,
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: " + pod + "}}",
		"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: x}\nspec: {schedule: '@daily', jobTemplate: {spec: {template: {spec: " + strings.Replace(pod, "{containers", "{restartPolicy: Never, containers", 1) + "}}}}",
	} {
		file := filepath.Join(dir, "x.yaml")
		writeText(t, file, text+"\n")
		_ = Main(t.Context(), []string{"check", "--fix", "--platform", settings, file}, Env{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Now: time.Now})
		was, fixed := decodeText(t, []byte(text)), decodeFile(t, file)
		want := mutate.Defaults(was, &spec)
		if len(want.Defaults) != 4 {
			t.Fatalf("defaults %v, want all four", want.Defaults)
		}
		got := mutate.Defaults(fixed, &spec)
		if len(got.Changes) > 0 {
			t.Errorf("of the repaired file the platform would fill in %v", got.Changes)
		}
		for _, c := range want.Changes {
			if strings.HasPrefix(c.Pointer, "/metadata/") {
				continue
			}
			if d := cmp.Diff(c.Value, valueAt(fixed, c.Pointer)); d != "" {
				t.Errorf("%s at %s: filled in (-) and repaired (+):\n%s", was["kind"], c.Pointer, d)
			}
		}
	}
}

func writeText(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func decodeText(t *testing.T, text []byte) (object map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func decodeFile(t *testing.T, file string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return decodeText(t, text)
}

// valueAt is what stands at a pointer without escapes.
func valueAt(v any, pointer string) any {
	for _, step := range strings.Split(pointer, "/")[1:] {
		switch at := v.(type) {
		case map[string]any:
			v = at[step]
		case []any:
			v = at[step[0]-'0']
		}
	}
	return v
}
