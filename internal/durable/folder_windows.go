package durable

import "os"

// SyncFolder only asks for the folder: Windows lets nobody flush one without rights to write its volume, and keeps a journal
// of names itself. So a loss of power may undo the last names; nothing is half written. `ringfence up` and `serve` do not run here.
func SyncFolder(path string) error {
	_, err := os.Stat(path)
	return err
}
