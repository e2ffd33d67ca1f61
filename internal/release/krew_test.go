package release

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/mod/semver"
	"sigs.k8s.io/yaml"
)

// testKrew: the manifest is one that krew takes, and the checksums in it are those of the archives.
func testKrew(t *testing.T, dir string) {
	t.Helper()
	text := read(t, dir, "krew.yaml")
	if err := krewTakes(text); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	var p plugin
	if err := yaml.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	var where []string
	for _, at := range p.Spec.Platforms {
		where = append(where, at.Selector.MatchLabels["os"]+"/"+at.Selector.MatchLabels["arch"])
		archive := at.URI[strings.LastIndex(at.URI, "/")+1:]
		if digest, err := sum(filepath.Join(dir, archive)); err != nil || digest != at.SHA256 {
			t.Errorf("%s has the checksum %s, and krew is told %s (%v)", archive, digest, at.SHA256, err)
		}
	}
	if !slices.Equal(where, []string{"linux/amd64", "windows/amd64"}) || p.Spec.Platforms[1].Bin != "ringfence.exe" {
		t.Errorf("platforms %q: %+v", where, p.Spec)
	}
}

// krewTakes is what krew's index asks of a manifest (krew v0.4, internal/index/validation and the naming guide), and that it has no other field.
func krewTakes(text []byte) error {
	var p plugin
	if err := yaml.UnmarshalStrict(text, &p); err != nil {
		return err
	}
	var faults []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	want(p.APIVersion == "krew.googlecontainertools.github.com/v1alpha2" && p.Kind == "Plugin", "kind %s %s", p.APIVersion, p.Kind)
	want(regexp.MustCompile(`^[\w-]+$`).MatchString(p.Metadata.Name), "name %q", p.Metadata.Name)
	want(semver.IsValid(p.Spec.Version), "version %q", p.Spec.Version)
	short := p.Spec.ShortDescription
	want(short != "" && len(short) <= 50 && !strings.ContainsAny(short, "\r\n"), "shortDescription %q", short)
	want(len(p.Spec.Platforms) > 0, "no platform")
	for _, at := range p.Spec.Platforms {
		want(regexp.MustCompile(`^[a-f0-9]{64}$`).MatchString(at.SHA256), "sha256 %q", at.SHA256)
		want(strings.HasPrefix(at.URI, "https://") && regexp.MustCompile(`\.(tar\.gz|zip)$`).MatchString(at.URI), "uri %q", at.URI)
		want(at.Bin != "", "no bin for %s", at.URI)
		want(len(at.Selector.MatchLabels) > 0, "no selector for %s", at.URI)
		for key := range at.Selector.MatchLabels {
			want(key == "os" || key == "arch", "selector by %s", key)
		}
		want(len(at.Files) > 0, "no files of %s", at.URI)
		for _, f := range at.Files {
			want(f.From != "" && f.To != "", "files of %s: %+v", at.URI, f)
		}
	}
	return errors.Join(faults...)
}

// TestKrewTakes: manifests that krew refuses are refused.
func TestKrewTakes(t *testing.T) {
	o := commit
	c := &Config{Out: t.TempDir(), Source: "https://git.bank.example/ringfence", Log: io.Discard}
	if err := c.krew(nil, o); err != nil {
		t.Fatal(err)
	}
	text := string(read(t, c.Out, "krew.yaml"))
	for what, change := range map[string][2]string{
		"no platform":      {"", ""},
		"a version":        {"version: v1.2.3", "version: 1.2.3"},
		"an unknown field": {"kind: Plugin", "kind: Plugin\nstatus: {}"},
	} {
		if err := krewTakes([]byte(strings.Replace(text, change[0], change[1], 1))); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

// commands stand for the program's.
func commands() *cobra.Command {
	root := &cobra.Command{Use: product, Short: "Test", DisableAutoGenTag: true}
	root.AddCommand(&cobra.Command{Use: "check", Short: "Judge manifests", Run: func(*cobra.Command, []string) {}})
	return root
}

// TestManual: there is a page for each command, of the version and of the commit's time, and a completion for each shell.
func TestManual(t *testing.T) {
	c := &Config{Commands: commands()}
	entries, err := c.manual(commit)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"completions/_ringfence": "#compdef ringfence", "completions/ringfence.bash": "__start_ringfence", "completions/ringfence.fish": "complete -c ringfence",
		"completions/ringfence.ps1": "Register-ArgumentCompleter", "man/man1/ringfence.1": "ringfence v1.2.3+dirty", "man/man1/ringfence-check.1": "Nov 2026"}
	for _, e := range entries {
		if words, ok := want[e.name]; !ok || !strings.Contains(string(e.data), words) {
			t.Errorf("%s: want %q in\n%.300s", e.name, words, e.data)
		}
		delete(want, e.name)
	}
	if len(want) > 0 {
		t.Errorf("lacks %v", want)
	}
}
