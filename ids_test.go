package ringfence_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

var controlID = regexp.MustCompile(`RF-[A-Z]{2}-[0-9]{2}`)

// examples are ids in texts for people, where one stands for all. Nothing is decided by them.
var examples = map[string]string{
	"control/control.go":     "says what an id looks like",
	"record/serve.go":        "says what an id looks like",
	"cli/findings.go":        "help of a flag",
	"cli/evidence.go":        "help of a flag",
	"cli/evidenceinforce.go": "help of a command",
	"cli/explain.go":         "help of a command",
	"cli/root.go":            "help of the program",
	"cli/waiver.go":          "help of a command",
	"cli/preflight.go":       "help of a command",
	"cli/promote.go":         "help of a command",
	"local/story.go":         "what to try next",

	"record/kinds/posture.v1.json": "an example of a record",

	"record/kinds/remediation.v1.json": "an example",
	"record/kinds/canary.v1.json":      "an example",

	"api/v1alpha1/crds/ringfence.dev_platforms.yaml": "descriptions of fields, generated of comments",
	"api/v1alpha1/crds/ringfence.dev_tenants.yaml":   "descriptions of fields, generated of comments",
}

// TestNoIDs holds the code to knowing no control: what is there and what is not is said by the folders of the catalogue
// alone, so that adding a control, or taking one away, is a change of one folder. No Go file but tests may hold an id in a
// string, and no other data may list them.
func TestNoIDs(t *testing.T) {
	unused := map[string]bool{}
	for name := range examples {
		unused[name] = true
	}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "controls" || name == "bin" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && name != "."):
			return fs.SkipDir
		case d.IsDir() || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		for _, found := range ids(t, name) {
			if delete(unused, name); examples[name] == "" {
				t.Errorf("%s: %s: only a folder of controls/ names a control", name, found)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range unused {
		t.Errorf("%s holds no id any more; take it off the examples", name)
	}
}

// ids are the ids in the strings of a Go file, or in a file of data without its comments. Documents may name them.
func ids(t *testing.T, name string) (all []string) {
	switch path.Ext(name) {
	case ".go":
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.BasicLit); ok && s.Kind == token.STRING {
				all = append(all, controlID.FindAllString(s.Value, -1)...)
			}
			return true
		})
	case ".yaml", ".json", ".txt", ".tsv":
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(strings.TrimSpace(line), "#") {
				all = append(all, controlID.FindAllString(line, -1)...)
			}
		}
	}
	return all
}
