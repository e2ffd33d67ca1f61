package main

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Temporary directories. A kill -9 leaves one behind; a later run removes it when it is unlocked and older than
// staleAfter, which leaves the logs of a crash readable for a while.
const (
	temporaryPattern = "devcluster-temp-*"
	temporaryMark    = "temporary" // a file in the directory: without it nothing is ever removed
	staleAfter       = time.Hour
)

// state is the directory of one cluster, locked for this process.
type state struct {
	dir       string
	temporary bool
	lock      *os.File // held by this process
	children  *os.File // held by this process and its children: free when the last child of an earlier run has ended
}

// openState makes and locks dir, or a temporary directory when dir is empty. It waits for the children of an earlier
// run that was killed; they end by themselves within milliseconds.
func openState(dir string) (*state, error) {
	s := &state{dir: dir, temporary: dir == ""}
	if s.temporary {
		sweepTemporary()
		temp, err := os.MkdirTemp("", temporaryPattern)
		if err != nil {
			return nil, fmt.Errorf("make a temporary directory: %w", err)
		}
		s.dir = temp
	}
	if err := s.fill(); err != nil {
		s.close(false)
		return nil, err
	}
	return s, nil
}

func (s *state) fill() error {
	for _, d := range []string{s.dir, s.path("etcd"), s.path("logs")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("make the state directory: %w; choose another --dir", err)
		}
	}
	var err error
	if s.lock, err = openLock(s.path("lock")); err != nil {
		return err
	}
	if !tryLock(s.lock) {
		pid, _ := os.ReadFile(s.path("lock"))
		s.temporary = false // not ours to remove
		return fmt.Errorf("%s is in use by another devcluster (pid %s); stop it or choose another --dir",
			s.dir, cmp.Or(strings.TrimSpace(string(pid)), "unknown"))
	}
	if s.temporary {
		if err := os.WriteFile(s.path(temporaryMark), nil, 0o600); err != nil {
			return fmt.Errorf("mark the temporary directory: %w", err)
		}
	}
	if err := s.lock.Truncate(0); err != nil {
		return fmt.Errorf("write %s: %w", s.path("lock"), err)
	}
	if _, err := s.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("write %s: %w", s.path("lock"), err)
	}
	if s.children, err = openLock(s.path("children.lock")); err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); !tryLock(s.children); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("components of an earlier devcluster still run on %s; stop them or choose another --dir", s.dir)
		}
	}
	return nil
}

// path returns the path of name in the directory.
func (s *state) path(name string) string { return filepath.Join(s.dir, name) }

// close unlocks the directory, and removes it when it is temporary: all of it, or all but the logs.
func (s *state) close(keepLogs bool) {
	if s.temporary {
		entries, _ := os.ReadDir(s.dir)
		for _, e := range entries {
			if !keepLogs || (e.Name() != "logs" && e.Name() != "lock" && e.Name() != temporaryMark) {
				_ = os.RemoveAll(s.path(e.Name())) // the sweep of a later run tries again
			}
		}
		_ = os.Remove(s.dir) // fails when logs are kept
	}
	for _, f := range []*os.File{s.children, s.lock} {
		if f != nil {
			f.Close()
		}
	}
}

// sweepTemporary removes the temporary directories of runs that were killed. What it cannot remove, it leaves.
func sweepTemporary() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), temporaryPattern))
	for _, dir := range dirs {
		info, err := os.Lstat(filepath.Join(dir, temporaryMark))
		if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) < staleAfter {
			continue
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); !ok || int(owner.Uid) != os.Getuid() {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if tryLock(lock) {
			_ = os.RemoveAll(dir)
		}
		lock.Close()
	}
}

func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state directory: %w; choose another --dir", err)
	}
	return f, nil
}

func tryLock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

// choosePort returns the API server's port: want, which must be free, or when want is 0 the one used last, or a free one.
func (s *state) choosePort(want int) (int, error) {
	if want != 0 {
		return want, checkPort(want)
	}
	if last, err := os.ReadFile(s.path("port")); err == nil {
		if port, err := strconv.Atoi(strings.TrimSpace(string(last))); err == nil && port > 0 && checkPort(port) == nil {
			return port, nil
		}
	}
	return freePort()
}

// freePort looks below the range from which the kernel takes ports of outgoing connections (32768 and up), so that
// none of them takes the port between two runs.
func freePort() (int, error) {
	for range 100 {
		if port := 20000 + rand.IntN(10000); checkPort(port) == nil {
			return port, nil
		}
	}
	return 0, errors.New("no free port found between 20000 and 29999 on 127.0.0.1; choose one with --port")
}

func checkPort(port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d on 127.0.0.1 is in use; stop what listens there or choose another --port (0 takes a free one)", port)
	}
	if err != nil {
		return fmt.Errorf("port %d on 127.0.0.1 cannot be used: %w; choose another --port (0 takes a free one)", port, err)
	}
	return l.Close()
}

// writeFile replaces path in one step, so that a kill at any moment leaves the old content or the new.
func writeFile(path string, data []byte, mode os.FileMode) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(temp.Name()) // fails once it is renamed
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chmod(mode), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
