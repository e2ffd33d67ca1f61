package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of these tests; a good machine needs a twentieth of it.
const patience = 2 * time.Minute

// binary returns the program under test, or skips the test.
func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("DEVCLUSTER_BIN")
	if path == "" {
		path = "../../bin/devcluster"
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abs); err != nil {
		t.Skipf("no devcluster to test: %v; build it with devcluster/build.sh or set DEVCLUSTER_BIN", err)
	}
	return abs
}

// cluster is a running "devcluster up".
type cluster struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr *lockedBuffer
	exited chan struct{} // closed when the program has ended

	Ready      bool
	Kubeconfig string
	Server     string
	Seconds    float64
	PID        int
	Children   map[string]int
}

// launch starts "devcluster up" and does not wait for it. TMPDIR is a directory of the test.
func launch(t *testing.T, tmp string, args ...string) (*cluster, io.Reader) {
	t.Helper()
	c := &cluster{t: t, stderr: &lockedBuffer{}, exited: make(chan struct{})}
	c.cmd = exec.Command(binary(t), append([]string{"up"}, args...)...)
	c.cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	c.cmd.Stderr = c.stderr
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stdout = writer
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	go func() {
		_ = c.cmd.Wait()
		close(c.exited)
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.exited
		reader.Close()
	})
	return c, reader
}

// up starts "devcluster up" and waits for its line of JSON.
func up(t *testing.T, args ...string) *cluster {
	t.Helper()
	return upIn(t, t.TempDir(), args...)
}

func upIn(t *testing.T, tmp string, args ...string) *cluster {
	t.Helper()
	c, stdout := launch(t, tmp, args...)
	line := make(chan []byte, 1)
	go func() {
		l, _ := bufio.NewReader(stdout).ReadBytes('\n')
		line <- l
	}()
	select {
	case l := <-line:
		if err := json.Unmarshal(l, c); err != nil || !c.Ready {
			t.Fatalf("standard output = %q, %v; want a line of JSON with ready true; standard error:\n%s", l, err, c.stderr)
		}
	case <-time.After(patience):
		t.Fatalf("not ready after %s; standard error:\n%s", patience, c.stderr)
	}
	return c
}

// end waits for the program to end and returns its exit code.
func (c *cluster) end() int {
	c.t.Helper()
	select {
	case <-c.exited:
		return c.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		c.t.Fatalf("still running after %s; standard error:\n%s", patience, c.stderr)
		return -1
	}
}

// stop sends SIGTERM and wants a clean end.
func (c *cluster) stop() {
	c.t.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	if code := c.end(); code != 0 {
		c.t.Errorf("exit code after SIGTERM = %d, want 0; standard error:\n%s", code, c.stderr)
	}
	c.wantGone()
}

// wantGone checks that no child is left. A killed parent's children end a moment later.
func (c *cluster) wantGone() {
	c.t.Helper()
	for name, pid := range c.Children {
		eventually(c.t, fmt.Sprintf("%s (pid %d) gone", name, pid), func() error {
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill -0: %v", err)
			}
			return nil
		})
	}
}

func (c *cluster) kubectl(args ...string) (string, error) {
	cmd := exec.Command(c.cmd.Path, append([]string{"kubectl", "--kubeconfig=" + c.Kubeconfig, "--request-timeout=20s"}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECTL_KUBERC=false")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func (c *cluster) mustKubectl(args ...string) string {
	c.t.Helper()
	out, err := c.kubectl(args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// apply creates the objects of manifest, retrying while a policy or a service account is not there yet.
func (c *cluster) apply(manifest string) {
	c.t.Helper()
	path := filepath.Join(c.t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, "apply", func() error { _, err := c.kubectl("apply", "-f", path); return err })
}

// wantOutput waits until kubectl prints want.
func (c *cluster) wantOutput(want string, args ...string) {
	c.t.Helper()
	eventually(c.t, "kubectl "+strings.Join(args, " "), func() error {
		got, err := c.kubectl(args...)
		if err == nil && got != want {
			err = fmt.Errorf("got %q, want %q", got, want)
		}
		return err
	})
}

func eventually(t *testing.T, what string, probe func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := probe()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// lockedBuffer is standard error, which is written and read at the same time.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
