//go:build unix

package cli

import (
	"io/fs"
	"os"
	"syscall"
)

// sameOwner gives a new file the owner and group of another.
func sameOwner(f *os.File, like fs.FileInfo) error {
	want, ok := like.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if is, ok := info.Sys().(*syscall.Stat_t); ok && is.Uid == want.Uid && is.Gid == want.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}

// names is how many names a file has.
func names(info fs.FileInfo) uint64 {
	if is, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(is.Nlink) // of another size on other systems
	}
	return 1
}
