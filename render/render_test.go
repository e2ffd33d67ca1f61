//go:build unix

package render

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringfence.dev/ringfence/manifest"
)

// write makes files in a folder: name, text, name, text.
func write(t testing.TB, dir string, files ...string) {
	t.Helper()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	pod  = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
	meta = "apiVersion: v2\nname: a\nversion: 1.0.0\n"
)

// TestNothingIsFetched builds and renders what asks for the network and for programs in every way that is known, with a
// server that counts requests and a git, a helm and a docker that leave a mark.
func TestNothingIsFetched(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		fmt.Fprint(w, pod)
	}))
	defer server.Close()
	programs, mark := t.TempDir(), filepath.Join(t.TempDir(), "mark")
	for _, name := range []string{"git", "helm", "docker"} {
		write(t, programs, name, "#!/bin/sh\necho "+name+" >> "+mark+"\nexit 1\n")
		if err := os.Chmod(filepath.Join(programs, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", programs)
	url := server.URL + "/a.yaml"
	config := func(text string) []string {
		return []string{"kustomization.yaml", "transformers: [t.yaml]\nresources: [pod.yaml]\n", "t.yaml", "apiVersion: builtin\nmetadata: {name: a}\n" + text, "pod.yaml", pod}
	}
	inner := []string{"kustomization.yaml", "transformers: [inner]\nresources: [pod.yaml]\n", "pod.yaml", pod, "inner/kustomization.yaml",
		"resources: [t.yaml]\npatches: [{target: {kind: PatchTransformer}, patch: '[{op: add, path: /path, value: \"" + url + "\"}]'}]\n",
		"inner/t.yaml", "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: a}\n"}
	for name, files := range map[string][]string{
		"resource":            {"kustomization.yaml", "resources: [" + url + "]\n"},
		"resource, other key": {"kustomization.yaml", "RESOURCES: [" + url + "]\n"},
		"alias":               {"kustomization.yaml", "namePrefix: &a " + url + "\nresources: [*a]\n"},
		"opaque":              {"kustomization.yaml", "resources: ['" + strings.Replace(url, "//", "", 1) + "']\n"},
		"base":                {"kustomization.yaml", "bases: [" + url + "]\n"},
		"repository":          {"kustomization.yaml", "resources: ['git::ssh://git@example.com/a/b']\n"},
		"repository, scp":     {"kustomization.yaml", "resources: ['git@example.com:a/b']\n"},
		"repository, file":    {"kustomization.yaml", "resources: ['file:///a/b']\n"},
		// A file of this name is there, and kustomize would clone all the same once it cannot use it.
		"repository, as a file":      {"kustomization.yaml", "resources: [github.com/a/b.yaml]\n", "github.com/a/b.yaml", "a: [\n"},
		"repository, as a good file": {"kustomization.yaml", "resources: [pod.yaml, github.com/a/b.yaml]\n", "github.com/a/b.yaml", pod, "pod.yaml", pod},
		"repository, in case":        {"kustomization.yaml", "components: [GitHub.com/a/b]\n"},
		"crds":                       {"kustomization.yaml", "crds: [" + url + "]\n"},
		"configurations":             {"kustomization.yaml", "configurations: [" + url + "]\n"},
		"openapi":                    {"kustomization.yaml", "openapi: {path: " + url + "}\n"},
		"patch":                      {"kustomization.yaml", "patches: [{path: " + url + "}]\n"},
		"patch, json":                {"kustomization.yaml", "patchesJson6902: [{path: " + url + "}]\n"},
		"patch, strategic":           {"kustomization.yaml", "patchesStrategicMerge: [" + url + "]\n"},
		"replacement":                {"kustomization.yaml", "replacements: [{path: " + url + "}]\n"},
		"config map":                 {"kustomization.yaml", "configMapGenerator: [{name: a, files: [a=" + url + "]}]\n"},
		"secret":                     {"kustomization.yaml", "secretGenerator: [{name: a, envs: [" + url + "]}]\n"},
		"old env":                    {"kustomization.yaml", "configMapGenerator: [{name: a, env: " + url + "}]\n"},
		"validators":                 {"kustomization.yaml", "validators: [" + url + "]\n"},
		"config":                     config("kind: PatchTransformer\npath: " + url + "\n"),
		"config, other key":          config("kind: PatchTransformer\nPATH: " + url + "\n"),
		"config, generator":          config("kind: ConfigMapGenerator\nfiles: [a=" + url + "]\n"),
		"config, replacement":        config("kind: ReplacementTransformer\nreplacements: [{path: " + url + "}]\n"),
		"config, helm":               config("kind: HelmChartInflationGenerator\nname: a\nrepo: " + url + "\n"),
		"config, patched":            inner,
		"helm charts":                {"kustomization.yaml", "helmCharts: [{name: a, repo: " + url + "}]\n"},
		"function":                   {"kustomization.yaml", "generators: [t.yaml]\n", "t.yaml", "apiVersion: example.com/v1\nkind: A\nmetadata: {name: a, annotations: {config.kubernetes.io/function: 'container: {image: a}'}}\n"},
		"in a base":                  {"kustomization.yaml", "resources: [base]\n", "base/kustomization.yaml", "resources: [" + url + "]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, files...)
			var b Builder
			docs, err := b.Build(OpenKustomization(dir))
			if err == nil {
				t.Errorf("built %q", docs)
			}
		})
	}
	for name, schema := range map[string]string{
		"reference": `{"$ref": "` + url + `"}`, "dialect": `{"$schema": "` + url + `"}`, "relative": `{"$id": "` + url + `", "$ref": "b.json"}`,
		"file": `{"$ref": "file:///etc/hostname"}`, "urn": `{"$ref": "urn:a:b"}`,
	} {
		t.Run("schema, "+name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "Chart.yaml", meta, "values.schema.json", schema, "templates/pod.yaml", pod)
			c, err := OpenChart(dir)
			if err != nil {
				t.Fatal(err)
			}
			if docs, err := c.Render(t.Context(), Values{}, "default"); err == nil {
				t.Errorf("rendered %q", docs)
			}
		})
	}
	if ran, err := os.ReadFile(mark); asked > 0 || err == nil {
		t.Errorf("%d requests, programs run: %q; want none", asked, ran)
	}
}

// TestConfigurations shows that transformers which need nothing from elsewhere work, inline, from a file and from a folder.
func TestConfigurations(t *testing.T) {
	const label = "apiVersion: builtin\nkind: LabelTransformer\nmetadata: {name: a}\nlabels: {docs: 'https://example.com'}\nfieldSpecs: [{path: metadata/labels, create: true}]\n"
	for name, files := range map[string][]string{
		"inline": {"kustomization.yaml", "resources: [pod.yaml]\ntransformers:\n- |\n  " + strings.ReplaceAll(label, "\n", "\n  ") + "\n"},
		"file":   {"kustomization.yaml", "resources: [pod.yaml]\ntransformers: [t.yaml]\n", "t.yaml", label},
		"folder": {"kustomization.yaml", "resources: [pod.yaml]\ntransformers: [inner]\n", "inner/kustomization.yaml", "resources: [t.yaml]\n", "inner/t.yaml", label},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, append(files, "pod.yaml", pod)...)
			var b Builder
			docs, err := b.Build(OpenKustomization(dir))
			if err != nil || len(docs) != 1 || !strings.Contains(string(docs[0].Text), "docs: https://example.com") {
				t.Errorf("docs %q, error %v; want a pod with the label", docs, err)
			}
		})
	}
}

// TestPanic shows that a library which breaks off makes an error, and that a rendering can be interrupted.
func TestPanic(t *testing.T) {
	if _, err := guarded(func() (int, error) { panic("deep inside") }); err == nil || !strings.Contains(err.Error(), "deep inside") {
		t.Errorf("error %v, want the panic", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	forever := make(chan int)
	defer close(forever)
	if _, err := bounded(ctx, func(context.Context) (int, error) { return <-forever, nil }); err == nil {
		t.Error("a rendering that does not end gave no error")
	}
}

// TestFaults shows that every fault is a *manifest.Error, which names a file.
func TestFaults(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "Chart.yaml", meta, "templates/a.yaml", "{{ fail \"no\\nluck\" }}", "charts/b/Chart.yaml", "name: [\n")
	_, errChart := OpenChart(dir)
	_, errValues := LoadValues([]string{dir})
	var b Builder
	_, errBuild := b.Build(OpenKustomization(dir))
	for _, err := range []error{errChart, errValues, errBuild} {
		var at *manifest.Error
		if !errors.As(err, &at) || !strings.HasPrefix(at.Location.File, dir) || strings.Contains(at.Message, "\n") {
			t.Errorf("error %v, want a file of %s on one line", err, dir)
		}
	}
}

// FuzzReferences shows that no kustomization breaks the reader, and that none gets it to name what would be fetched.
func FuzzReferences(f *testing.F) {
	f.Add([]byte("resources: [a.yaml, 'https://example.com']\nconfigMapGenerator: [{files: [a=b]}]\n"))
	f.Add([]byte("transformers:\n- |\n  apiVersion: builtin\n  kind: PatchTransformer\n  path: git@example.com:a\n"))
	f.Add([]byte("patchesStrategicMerge: ['{a: b}', c.yaml]\nopenapi: {path: x}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		refs, err := newReferences("kustomization.yaml", text, false)
		for _, ref := range refs {
			if err == nil && remote(ref.path) {
				t.Errorf("%q would be fetched", ref.path)
			}
		}
		_ = scanConfig("t.yaml", text)
	})
}

// BenchmarkChart renders a chart of 100 templates.
func BenchmarkChart(b *testing.B) {
	dir := b.TempDir()
	write(b, dir, "Chart.yaml", meta, "values.yaml", "name: a\n", "templates/_a.tpl", "{{- define \"n\" }}{{ .Values.name | quote }}{{ end }}")
	for i := range 100 {
		write(b, dir, fmt.Sprintf("templates/%d.yaml", i), strings.Replace(pod, "name: a", `name: {{ include "n" . }}`, 1)+strings.Repeat("# {{ .Release.Name }}\n", 50))
	}
	for b.Loop() {
		c, err := OpenChart(dir)
		if err != nil {
			b.Fatal(err)
		}
		if docs, err := c.Render(b.Context(), Values{}, "default"); err != nil || len(docs) != 100 {
			b.Fatal(len(docs), err)
		}
	}
}
