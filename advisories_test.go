package ringfence_test

import (
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"ringfence.dev/ringfence/image/advisory"
)

// envOSV names a folder of OSV records, as mirrored from OSV's Go/all.zip or Go's vulnerability database: nothing is fetched.
const envOSV = "RINGFENCE_OSV"

// TestAdvisories judges what the binary is built of by the records that are given: of every module, Go's library included. Without a folder
// it shows that a hole would be found.
func TestAdvisories(t *testing.T) {
	modules := []advisory.Module{{Path: "stdlib", Version: "v" + strings.TrimPrefix(strings.Fields(runtime.Version())[0], "go")}}
	for line := range strings.Lines(linked(t)) {
		path, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		modules = append(modules, advisory.Module{Path: path, Version: version})
	}
	sample := fstest.MapFS{"GO-0000-0001.json": {Data: []byte(`{"id":"GO-0000-0001","affected":[{"package":{"ecosystem":"Go","name":"github.com/spf13/cobra"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`)}}
	if found, _, err := advisory.Affecting(sample, modules); err != nil || len(found) != 1 {
		t.Fatalf("of a module with a hole: %v %v, want that hole", found, err)
	}
	dir := os.Getenv(envOSV)
	if dir == "" {
		t.Skipf("skipped: %d modules are not judged, for %s names no folder of OSV records", len(modules), envOSV)
	}
	judge(t, os.DirFS(dir), modules)
}

func judge(t *testing.T, folder fs.FS, modules []advisory.Module) {
	t.Helper()
	found, read, err := advisory.Affecting(folder, modules)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range found {
		t.Errorf("%s %s has %s: %s; fixed in %q", a.Path, a.Version, a.ID, a.Summary, a.Fixed)
	}
	t.Logf("%d modules, %d records", len(modules), read)
}
