package ringfence_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/licence"
)

// allowed are the licences of modules that Ringfence may be built of and tested with, and why a bank need not ask about them.
var allowed = map[string]string{
	"Apache-2.0":   "permissive, with a grant of patents; Ringfence's own",
	"MIT":          "permissive",
	"ISC":          "permissive",
	"BSD-2-Clause": "permissive",
	"BSD-3-Clause": "permissive",
	"MPL-2.0":      "asks for the source of changed files only, and no file is changed",
	"Unlicense":    "public domain",
	"blessing":     "SQLite's: public domain",
}

// licenceExceptions are files of modules that are no licence of what is used of them.
var licenceExceptions = map[string]string{
	"modernc.org/memory LICENSE-LOGO":                  "the address of a picture, which is not used",
	"github.com/opencontainers/go-digest LICENSE.docs": "CC-BY-SA-4.0, of its documentation, which is not used",
}

// TestLicences: every module that is linked, on any system, or that a test needs may be used under a licence that is allowed.
func TestLicences(t *testing.T) {
	modules := map[string]string{}
	for goos, what := range map[string][]string{"linux": {"-test", "./..."}, "darwin": {"./cmd/ringfence"}, "windows": {"./cmd/ringfence"}} {
		list := exec.Command("go", append([]string{"list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Dir}}{{end}}{{end}}"}, what...)...)
		list.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0")
		out, err := list.Output()
		if err != nil {
			t.Fatalf("go list for %s: %v", goos, err)
		}
		for line := range strings.Lines(string(out)) {
			if path, dir, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
				modules[path] = dir
			}
		}
	}
	if len(modules) < 100 {
		t.Fatalf("found %d modules; want those of the whole program", len(modules))
	}
	used := map[string]bool{}
	for path, dir := range modules {
		for _, fault := range unlicensed(path, dir, used) {
			t.Error(fault)
		}
	}
	for name := range licenceExceptions {
		if !used[name] {
			t.Errorf("the exception for %s is not needed; fix: remove it", name)
		}
	}
}

// unlicensed says what of a module's licences is not allowed, and notes the exceptions that it used.
func unlicensed(path, dir string, used map[string]bool) (faults []string) {
	texts, err := licence.Read(dir)
	if err != nil {
		return []string{fmt.Sprintf("%s: %v; want a licence of %q", path, err, allowed)}
	}
	granted := false
	for _, text := range texts {
		name := path + " " + text.Name
		if licenceExceptions[name] != "" {
			used[name] = true
			continue
		}
		granted = true
		for _, id := range text.IDs {
			if allowed[id] == "" {
				faults = append(faults, fmt.Sprintf("%s: the licence is %s, which is not allowed; fix: use another module, or argue for it in licences_test.go", name, id))
			}
		}
	}
	if !granted {
		faults = append(faults, path+": only exceptions are left of its licences")
	}
	return faults
}

// TestUnlicensed: a module without a licence, under one that is not allowed, or under one beside one that is, may not be used.
func TestUnlicensed(t *testing.T) {
	const apache = "Apache License\nVersion 2.0, January 2004"
	for what, c := range map[string]struct {
		files map[string]string
		want  int
	}{
		"none":       {nil, 1},
		"apache":     {map[string]string{"LICENSE": apache}, 0},
		"gpl":        {map[string]string{"COPYING": "GNU GENERAL PUBLIC LICENSE Version 2"}, 1},
		"both":       {map[string]string{"LICENSE": apache, "LICENSE.ee": "Business Source License"}, 1},
		"of its own": {map[string]string{"LICENSE": "You may look at it."}, 1},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if faults := unlicensed("m.example/x", dir, nil); len(faults) != c.want {
			t.Errorf("%s: %q, want %d faults", what, faults, c.want)
		}
	}
}
