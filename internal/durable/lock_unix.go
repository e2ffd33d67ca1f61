//go:build unix

package durable

import (
	"errors"
	"os"
	"syscall"
)

// Lock keeps other processes out until the file that it returns is closed; it makes the file where there is none. The
// kernel gives the lock back when the process ends, however it ends. The error is ErrLocked while another has it.
func Lock(path string, perm os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, perm)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
