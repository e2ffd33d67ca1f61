package local

import (
	"bufio"
	"bytes"
	"context"
	_ "embed" // for the audit policy
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// cluster is the Kubernetes that the platform runs on: a child process, or somebody else's.
type cluster struct {
	kubeconfig string
	server     string
	// simulated clusters start no containers but say that they run; a user's own may not be able to pull the samples.
	simulated bool
	cmd       *exec.Cmd
	log       string
	done      chan struct{} // closed when the child has ended
	err       error         // its end, once done is closed
}

// auditPolicy is docs/audit-policy.yaml, which a test sees to: what was changed in the rules reaches the records.
//
//go:embed audit-policy.yaml
var auditPolicy []byte

// connect uses the cluster that o names, or starts one.
func connect(ctx context.Context, o Options, auditURL string, s *story) (*cluster, error) {
	if o.Kubeconfig != "" {
		s.say("using the cluster of %s", o.Kubeconfig)
		return &cluster{kubeconfig: o.Kubeconfig, done: make(chan struct{})}, nil
	}
	binary, err := findDevcluster(o.Devcluster)
	if err != nil {
		return nil, err
	}
	s.say("starting a Kubernetes control plane (state in %s)", o.Dir)
	policy := filepath.Join(o.Dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, auditPolicy, 0o600); err != nil {
		return nil, fmt.Errorf("write the audit policy: %w", err)
	}
	args := []string{"up", "--dir", filepath.Join(o.Dir, "cluster"), "--audit-webhook", auditURL, "--audit-policy", policy, "--port", fmt.Sprint(o.Port),
		// A client can fill an audit event with a megabyte of its own; batches are cut before they are too large to take.
		"--apiserver-arg=--audit-webhook-truncate-enabled=true", "--apiserver-arg=--audit-webhook-truncate-max-event-size=4194304"}
	c := &cluster{simulated: true, log: filepath.Join(o.Dir, "devcluster.log"), done: make(chan struct{})}
	if err := c.start(ctx, binary, args); err != nil {
		return nil, err
	}
	s.say("control plane ready at %s", c.server)
	return c, nil
}

// findDevcluster is the control plane's binary: the one named, the one beside this program, or the one in PATH.
func findDevcluster(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "devcluster")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	if path, err := exec.LookPath("devcluster"); err == nil {
		return path, nil
	}
	return "", errors.New("the program devcluster, which is the local control plane, is neither beside ringfence nor in PATH; build it with: make devcluster, or name an existing cluster: ringfence up --kubeconfig FILE")
}

// heap lets the control plane collect garbage half as often while it compiles our policies, which makes most of it, up to a bound that keeps
// all processes below 1 GiB: ready some 4 s earlier (docs/benchmarks.md).
var heap = []string{"GOGC=200", "GOMEMLIMIT=500MiB"}

// ready is the line that the control plane writes once it is ready.
type ready struct {
	Ready      bool   `json:"ready"`
	Kubeconfig string `json:"kubeconfig"`
	Server     string `json:"server"`
}

// start runs the control plane and waits until it is ready. The child has a process group of its own, so that Ctrl-C
// reaches this program alone, and dies with it.
func (c *cluster) start(ctx context.Context, binary string, args []string) error {
	logs, err := os.Create(c.log)
	if err != nil {
		return fmt.Errorf("open the control plane's log: %w", err)
	}
	started := make(chan error, 1)
	lines := make(chan ready, 1)
	go func() {
		// The signal that ends the child with us follows the thread that started it, so that thread must live on.
		runtime.LockOSThread()
		defer logs.Close()
		c.cmd = exec.Command(binary, args...)
		c.cmd.Stderr = logs
		if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
			c.cmd.Env = append(os.Environ(), heap...)
		}
		c.cmd.SysProcAttr = childAttributes()
		out, err := c.cmd.StdoutPipe()
		if err == nil {
			err = c.cmd.Start()
		}
		started <- err
		if err != nil {
			return
		}
		for scan := bufio.NewScanner(out); scan.Scan(); {
			var r ready
			if json.Unmarshal(scan.Bytes(), &r) == nil && r.Ready {
				lines <- r
			}
		}
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", binary, err)
	}
	select {
	case r := <-lines:
		c.kubeconfig, c.server = r.Kubeconfig, r.Server
		return nil
	case <-c.done:
		return fmt.Errorf("the control plane ended before it was ready: %s", c.lastWords())
	case <-ctx.Done():
		c.stop()
		return ctx.Err()
	}
}

// wait returns when the control plane ends by itself, with the reason, or when ctx ends, which is no error: the story ends it, and has its own.
func (c *cluster) wait(ctx context.Context) error {
	select {
	case <-c.done:
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("the control plane ended: %s; its state is kept, start again with the same --dir", c.lastWords())
	case <-ctx.Done():
		return nil
	}
}

// stop ends the control plane, softly first.
func (c *cluster) stop() {
	if c.cmd == nil || c.cmd.Process == nil {
		return
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(stopTimeout):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}

// lastWords is the last line of the control plane's log that says something, or its exit.
func (c *cluster) lastWords() string {
	text, _ := os.ReadFile(c.log)
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	last := strings.TrimPrefix(lines[len(lines)-1], "devcluster: ")
	if last == "" {
		last = fmt.Sprint(c.err)
	}
	return last + " (log: " + c.log + ")"
}
