package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// rewrite puts a text in the place of a file that holds old, all of it or nothing: written beside it, synced and renamed. Mode,
// owner and, on Linux, access control lists and other attributes stay, and of a symbolic link its target is written. A file
// that does not hold old any more is left as it is, and one with several names is, for the others would keep what is old.
func rewrite(path string, old, text []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("it is no regular file; give - to repair standard input")
	case info.Mode().Perm()&0o222 == 0: // whoever runs this: a rename would not ask
		return errors.New("the file is read-only; make it writable")
	case names(info) > 1:
		return fmt.Errorf("the file has %d names (hard links), and a new file would have one; repair it with - and write what comes out into it", names(info))
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	f.Close()
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".")
	if err != nil {
		return fmt.Errorf("no file can be made beside it: %w", err)
	}
	defer os.Remove(temporary.Name()) // after the rename there is none
	if err := fill(temporary, text, path, info); err != nil {
		return fmt.Errorf("write a file beside it: %w", err)
	}
	now, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, old) {
		return errors.New("the file changed while it was judged; run it again")
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return err
	}
	if folder, err := os.Open(filepath.Dir(path)); err == nil {
		_ = folder.Sync() // not every file system can; the file itself is whole either way
		folder.Close()
	}
	return nil
}

// fill writes a text with the owner, attributes and mode of another file, and closes the file.
func fill(f *os.File, text []byte, path string, like fs.FileInfo) error {
	_, err := f.Write(text)
	return errors.Join(err, sameOwner(f, like), sameAttributes(f, path), f.Chmod(like.Mode()), f.Sync(), f.Close())
}
