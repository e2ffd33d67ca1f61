package frameworks_test

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"testing"

	"ringfence.dev/ringfence/compliance"
	"ringfence.dev/ringfence/frameworks"
)

var known = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*/(framework|clauses)\.yaml$`)

// TestFolders holds the tree to its form: no unknown file, every folder a framework that loads and is embedded. What is
// not verified is counted, for whoever reads the log.
func TestFolders(t *testing.T) {
	folders := map[string]bool{}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir() || path.Ext(name) == ".go":
		case known.MatchString(name):
			folders[path.Dir(name)] = true
		default:
			t.Errorf("%s: the tree of frameworks knows no such file", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all, err := compliance.Load(frameworks.FS)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(folders) {
		t.Errorf("%d frameworks are embedded, want the %d folders here", len(all), len(folders))
	}
	for _, f := range all {
		verified := 0
		for _, c := range f.Clauses {
			if c.Verified {
				verified++
			}
		}
		t.Logf("%s: %d of %d clauses verified", f.Name(), verified, len(f.Clauses))
	}
}
