//go:build !windows

package durable

import (
	"errors"
	"os"
)

// SyncFolder brings the names in a folder to the disk: those made, renamed and removed.
func SyncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
