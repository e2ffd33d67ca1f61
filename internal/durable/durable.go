// Package durable writes files that survive a kill and a loss of power, and keeps two processes from writing the same.
//
// It knows nothing of what the files hold. Whatever a process must find again is written with it: the ledger, the store, cursors, keys,
// sessions of people.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// ErrLocked is returned by Lock while another process has the lock.
var ErrLocked = errors.New("another process has it open")

// Replace writes a file whole or not at all, and does not return before it is on the disk. Its folder must be there, and
// only one caller may write a path at a time: what is unfinished stands beside it under the name with ".new".
func Replace(path string, data []byte, perm os.FileMode) error {
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}
