package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Bounds of a stop, 4.5 s together. The API server keeps nothing of its own and etcd survives a kill, so neither
// bound can lose data.
const (
	stopClients = 3 * time.Second         // API server, controller manager and scheduler, together
	stopEtcd    = 1500 * time.Millisecond // etcd, after them
)

// family is the component processes of one cluster. All of them end when this process does, however it ends.
// It belongs to one goroutine, which must stay locked to its thread: a child's parent-death signal follows the thread.
type family struct {
	binary  string
	workDir string      // of every child: etcd's sockets have relative names, free of the 108 byte limit
	logDir  string      // one file a child
	hold    *os.File    // inherited by every child, so that its lock lasts as long as the last of them
	died    chan *child // each child that ended, in order
	members []*child
}

type child struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed when it ended; cmd.ProcessState is set then
}

func newFamily(binary, workDir, logDir string, hold *os.File) *family {
	return &family{binary: binary, workDir: workDir, logDir: logDir, hold: hold, died: make(chan *child, 16)}
}

// start runs one component. Its log begins anew.
func (f *family) start(name string, args ...string) (*child, error) {
	c := &child{name: name, log: filepath.Join(f.logDir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	c.cmd = exec.Command(f.binary, append([]string{name}, args...)...)
	c.cmd.Dir, c.cmd.Env = f.workDir, childEnv(os.Environ())
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.ExtraFiles = []*os.File{f.hold}
	// An own process group keeps Ctrl-C in the terminal from reaching the child before we can stop it in order.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	f.members = append(f.members, c)
	go func() { // ends with the child, which stop waits for
		_ = c.cmd.Wait() // ProcessState says how it ended
		close(c.done)
		f.died <- c
	}()
	return c, nil
}

// childEnv is env without what would change a component behind our back: etcd takes every flag from the environment
// too, and reports to systemd if it finds a socket.
func childEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		return strings.HasPrefix(kv, "ETCD_") || strings.HasPrefix(kv, "NOTIFY_SOCKET=") || strings.HasPrefix(kv, "LISTEN_")
	})
}

// stop ends every child: first those that use etcd, together, then etcd. When hurry is done it kills them at once.
func (f *family) stop(hurry context.Context) {
	var clients, store []*child
	for _, c := range f.members {
		if c.name == "etcd" {
			store = append(store, c)
		} else {
			clients = append(clients, c)
		}
	}
	end(hurry, clients, stopClients)
	end(hurry, store, stopEtcd)
	f.members = nil
}

// forget removes a child that has ended, so that another of its name can be started.
func (f *family) forget(c *child) {
	f.members = slices.DeleteFunc(f.members, func(m *child) bool { return m == c })
}

func end(hurry context.Context, group []*child, bound time.Duration) {
	ctx, cancel := context.WithTimeout(hurry, bound)
	defer cancel()
	for _, c := range group {
		_ = c.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended already
	}
	for _, c := range group {
		select {
		case <-c.done:
		case <-ctx.Done():
			_ = c.cmd.Process.Kill()
			<-c.done
		}
	}
}

// pids returns the process id of each child by name.
func (f *family) pids() map[string]int {
	pids := make(map[string]int, len(f.members))
	for _, c := range f.members {
		pids[c.name] = c.cmd.Process.Pid
	}
	return pids
}

// deathError says that a child ended although nobody asked it to.
type deathError struct{ child *child }

func (e *deathError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s ended (%v); everything else is stopped; the end of %s:", e.child.name, e.child.cmd.ProcessState, e.child.log)
	lines := bytes.Split(bytes.TrimSpace(e.logTail()), []byte("\n"))
	for _, line := range lines[max(0, len(lines)-8):] {
		fmt.Fprintf(&b, "\n  %s", line[:min(len(line), 400)])
	}
	return b.String()
}

// logTail returns the last 16 KiB of the child's log, or nothing.
func (e *deathError) logTail() []byte {
	f, err := os.Open(e.child.log)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 16<<10 {
		_, _ = f.Seek(-16<<10, io.SeekEnd)
	}
	tail, _ := io.ReadAll(f)
	return tail
}
