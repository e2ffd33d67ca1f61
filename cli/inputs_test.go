//go:build unix

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringfence.dev/ringfence/manifest"
)

// TestVanishing shows that a file which is gone, or becomes another, between the listing of its folder and its turn is a
// fault of its own, and that one removed while it is read is read to its end.
func TestVanishing(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"gone.yaml", "swapped.yaml", "read.yaml"} {
		text := strings.Repeat(pod+"---\n", 10_000)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, faults := newSources("", nil, nil)
	inputs := expand([]string{dir}, s)
	if len(inputs) != 3 || len(faults) > 0 {
		t.Fatalf("%d inputs, faults %v", len(inputs), faults)
	}
	remove := func(name string) {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	remove("gone.yaml")
	remove("swapped.yaml")
	if err := os.Mkdir(filepath.Join(dir, "swapped.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, in := range inputs {
		var docs int
		var said []string
		for doc, err := range in.documents(t.Context(), nil, func() bool { return true }) {
			if err != nil {
				said = append(said, err.(*manifest.Error).Message)
				continue
			}
			if docs++; docs == 1 && filepath.Base(in.name) == "read.yaml" {
				remove("read.yaml")
			}
			_ = doc
		}
		switch name := filepath.Base(in.name); name {
		case "read.yaml":
			if docs != 10_000 || len(said) > 0 {
				t.Errorf("%s: %d documents, faults %q; want 10,000 and none", name, docs, said)
			}
		case "gone.yaml":
			if docs > 0 || len(said) != 1 || !strings.Contains(said[0], "no such file") {
				t.Errorf("%s: %d documents, faults %q", name, docs, said)
			}
		default:
			if docs > 0 || len(said) != 1 || !strings.Contains(said[0], "is a directory") {
				t.Errorf("%s: %d documents, faults %q", name, docs, said)
			}
		}
	}
}
