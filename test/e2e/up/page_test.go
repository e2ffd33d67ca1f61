package up

import (
	"os"
	"path/filepath"
	"testing"

	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// walk does what a page tells its readers in the folder in which `ringfence up` runs.
func walk(t *testing.T, dir, page string) {
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bin", "samples", "docs"} {
		if err := os.Symlink(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if n := ringfencetest.Walk(t, ringfencetest.Page{File: page, Dir: dir, Env: []string{"KUBECONFIG=.ringfence/cluster/admin.kubeconfig"}}); n < 20 {
		t.Errorf("%s has %d commands, want 20 or more", page, n)
	}
}
