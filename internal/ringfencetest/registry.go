package ringfencetest

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ringfence.dev/ringfence/internal/clustertest"
)

// Registry runs the OCI distribution registry, which has no referrers API, until stop is called or the test ends. host is its address.
func Registry(t *testing.T) (host string, stop func()) {
	t.Helper()
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(root, "bin", "registry"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("start the registry: %v; fix: make build", err)
	}
	stop = sync.OnceFunc(func() {
		in.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the registry says no address: %v", err)
	}
	return strings.TrimSpace(line), stop
}
