//go:build unix

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
)

// forms are the ways in which one manifest may be written.
var forms = map[string]func(text []byte) []byte{
	"block":             func(text []byte) []byte { return text },
	"CRLF":              func(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")) },
	"without a newline": func(text []byte) []byte { return bytes.TrimRight(text, "\n") },
	"comments": func(text []byte) []byte {
		var out []string
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSuffix(line, "\n")
			out = append(out, "# über: - [alles\t'", line)
		}
		if slices.ContainsFunc(out, func(line string) bool { return strings.HasSuffix(line, "|") || strings.HasSuffix(line, "|-") }) {
			return text
		}
		return []byte(strings.Join(out, "\n") + "\n")
	},
	"JSON":         func(text []byte) []byte { return asJSON(text, "\n", "\t") },
	"flow":         func(text []byte) []byte { return slices.Concat([]byte("---\n"), asJSON(text, "\n---\n", "")) },
	"List of List": func(text []byte) []byte { return asList(asJSON(text, ",", "")) },
	"many": func(text []byte) []byte {
		const other = "# not \"to be\" touched\napiVersion: v1\nkind: ConfigMap\ndata: {'hostPort'  : \"80\"}\n---\n"
		return slices.Concat([]byte(other), text)
	},
	"anchors": func(text []byte) []byte {
		return bytes.ReplaceAll(text, []byte("containers:\n"), []byte("containers: &all\n"))
	},
	"shared": func(text []byte) []byte {
		if bytes.Count(text, []byte("containers:\n")) != 1 || bytes.Contains(text, []byte("\n---")) {
			return text
		}
		text = bytes.ReplaceAll(text, []byte("containers:\n"), []byte("containers: &all\n"))
		return slices.Concat(text, []byte("also: *all\n"))
	},
}

func asList(items []byte) []byte {
	if !json.Valid(slices.Concat([]byte("["), items, []byte("]"))) {
		return items
	}
	return []byte(`{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "List", "items": [` + string(items) + `]}]}`)
}

func asJSON(text []byte, between, indent string) []byte {
	var out []string
	for doc, err := range manifest.Split(bytes.NewReader(text), "") {
		if err != nil {
			return text
		}
		values, err := doc.Values()
		if err != nil || len(values) != 1 {
			return text
		}
		one, _ := json.MarshalIndent(values[0], "", indent)
		if indent == "" {
			one, _ = json.Marshal(values[0])
		}
		out = append(out, string(one))
		if indent != "" {
			break // a JSON text holds one
		}
	}
	return []byte(strings.Join(out, between))
}

// TestFixCatalogue repairs every case of the catalogue and the samples in every form: nothing breaks, twice is once, a repair
// that is stated is made or it is said why not, nothing fails that passed, and the diff is what was done.
func TestFixCatalogue(t *testing.T) {
	if raceDetector {
		t.Skip("skipped: half a minute takes five under the race detector, and the work is that of TestScripts")
	}
	cases, _ := filepath.Glob("../controls/*/*/tests/*.yaml")
	samples, _ := filepath.Glob("../samples/refused/*.yaml")
	if len(cases) == 0 || len(samples) == 0 {
		t.Fatal("no cases")
	}
	for n, name := range slices.Sorted(maps.Keys(forms)) {
		form := forms[name]
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i, file := range slices.Concat(cases, samples) {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if len(text) > 30_000 || i%4 != n%4 { // a quarter in each form
					continue
				}
				name := strings.ReplaceAll(strings.TrimPrefix(file, "../"), "/", "_")
				if err := os.WriteFile(filepath.Join(dir, name), form(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			fixFolder(t, dir)
		})
	}
}

func fixFolder(t *testing.T, dir string) {
	before := runJSON(t, dir)
	diff, _, _ := runCheck(t, "--diff", dir)
	old := contents(t, dir)
	stdout, stderr, code := runCheck(t, "--fix", "-o", "json", dir)
	if strings.Contains(stderr, "fault of ringfence") || strings.Contains(stderr, "not written") {
		t.Fatal(stderr)
	}
	var after struct{ Findings []finding.Finding }
	if err := json.Unmarshal([]byte(stdout), &after); err != nil {
		t.Fatalf("exit code %d: %v", code, err)
	}
	fails, left := map[string]bool{}, map[string]int{}
	key := func(f finding.Finding) string { return fmt.Sprint(f.Location.File, f.Subject, f.Control) }
	for _, f := range before {
		fails[key(f)] = true
	}
	for _, f := range after.Findings {
		if !fails[key(f)] && f.Outcome == finding.Fail {
			t.Errorf("%s: %s fails after the fix and did not before: %s", f.Location, f.Control, f.Message)
		}
		if f.Outcome != finding.Fail {
			continue
		}
		if f.Reason == nil || *f.Reason == leftInVain || *f.Reason == leftInDiff {
			t.Errorf("%s: %s at %s is left without a reason", f.Location, f.Control, f.Path)
			continue
		}
		_, why, _ := strings.Cut(*f.Reason, " cannot be ")
		left[why]++
	}
	t.Logf("%d findings, then %d: %v", len(before), len(after.Findings), left)
	if len(after.Findings) >= len(before) {
		t.Errorf("%d findings, then %d", len(before), len(after.Findings))
	}
	fixed := contents(t, dir)
	for name, text := range old {
		if changed := text != fixed[name]; changed != strings.Contains(diff, "+++ b"+dir+"/"+name+"\n") {
			t.Errorf("%s: the diff and the fix differ", name)
		}
	}
	if again, _, _ := runCheck(t, "--diff", dir); again != "" {
		t.Errorf("the second time there is still a diff:\n%s", again)
	}
}

func runCheck(t *testing.T, args ...string) (stdout, stderr string, code int) {
	var out, prose bytes.Buffer
	args = append([]string{"check", "--platform", "../samples/platform.yaml", "--platform", "../samples/tenant.yaml", "-n", "payments-dev"}, args...)
	code = Main(t.Context(), args, Env{Stdout: &out, Stderr: &prose, Now: time.Now})
	return out.String(), prose.String(), code
}

func runJSON(t *testing.T, dir string) []finding.Finding {
	stdout, stderr, _ := runCheck(t, "-o", "json", dir)
	var r struct{ Findings []finding.Finding }
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err, stderr)
	}
	return r.Findings
}

func contents(t *testing.T, dir string) map[string]string {
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(text)
	}
	return out
}

// TestRewrite shows what is not overwritten, and that nothing is left beside it.
func TestRewrite(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write := func(text string, mode os.FileMode) {
		_ = os.Remove(file)
		if err := errors.Join(os.WriteFile(file, []byte(text), mode), os.Chmod(file, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("other", 0o600)
	if err := rewrite(file, []byte("old"), []byte("new")); err == nil || !strings.Contains(err.Error(), "changed while it was judged") {
		t.Errorf("rewrite of a changed file = %v", err)
	}
	write("old", 0o604)
	if err := rewrite(file, []byte("old"), []byte("new")); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o604 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	write("old", 0o400)
	if err := rewrite(file, []byte("old"), []byte("new")); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("rewrite of a read-only file = %v", err)
	}
	if err := rewrite(dir, nil, []byte("new")); err == nil {
		t.Error("a folder was written")
	}
	if all := contents(t, dir); len(all) != 1 {
		t.Errorf("left beside the file: %v", all)
	}
}
