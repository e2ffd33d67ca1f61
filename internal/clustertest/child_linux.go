package clustertest

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// child is devcluster while it runs.
type child struct {
	stdout io.Reader
	stop   func()
	kill   func() // as a loss of power does

	mu    sync.Mutex // guards words
	words bytes.Buffer
}

// Write keeps what the child says on standard error. It is bounded: after 64 KiB the first half goes.
func (c *child) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.words.Len() > 64<<10 {
		c.words.Next(c.words.Len() / 2)
	}
	return c.words.Write(p)
}

// tail is the end of what the child said.
func (c *child) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.words.Bytes()
	return string(b[max(0, len(b)-2000):])
}

// startChild runs a binary that dies with this process, however that ends. The kernel's signal follows the thread that
// started the child, so one thread is kept for as long as the child runs.
func startChild(binary string, args []string) (*child, error) {
	c := &child{}
	cmd := exec.Command(binary, args...)
	cmd.Stderr = c
	if os.Getenv("GOGC") == "" { // an API server that compiles our policies spends a third of its time on garbage
		cmd.Env = append(os.Environ(), "GOGC=200", "GOMEMLIMIT=1GiB")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.stdout = stdout
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_, _ = cmd.Process.Wait() // how it ended is in its words
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	c.kill = func() {
		_ = cmd.Process.Kill() // its own children go with it
		<-ended
	}
	c.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // gone already is as good
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	return c, nil
}
