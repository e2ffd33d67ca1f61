package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// Lock keeps other processes out until the file that it returns is closed; it makes the file where there is none. The
// kernel gives the lock back when the process ends, however it ends. The error is ErrLocked while another has it.
func Lock(path string, perm os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, perm)
	if err != nil {
		return nil, err
	}
	// The byte that is locked lies far beyond the end: a locked byte cannot be read here, and the file may hold a name to read.
	beyond := &windows.Overlapped{OffsetHigh: 1 << 30}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, beyond)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		err = ErrLocked
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
