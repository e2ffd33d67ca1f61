// Package ignore tells which paths of a folder the files .gitignore and .ringfenceignore pass over, as git reads them.
//
// It walks nothing and knows neither the user's global excludes nor .git/info/exclude, so that a check gives the same
// answer on every machine. The command line calls it.
package ignore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The files that hold patterns. Whatever .ringfenceignore decides, of any folder, goes before every .gitignore.
const (
	gitFile = ".gitignore"
	ownFile = ".ringfenceignore"
)

// maxFile is 1 MiB, far above what people write; a larger file is refused.
const maxFile = 1 << 20

// Folder is one folder with its patterns and those above it.
type Folder struct {
	path, name string
	above      *Folder
	git, own   []pattern
}

// Open reads the patterns that hold in a folder: its own, and those of the folders above it as far as the root of the git
// repository that it lies in. Outside of a repository nothing above it counts.
func Open(path string) (*Folder, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	names := []string{}
	top := full
	for at := full; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			top = at
			break
		}
		if filepath.Dir(at) == at {
			names = nil
			break
		}
		names = append(names, filepath.Base(at))
	}
	f, err := read(top, "", nil)
	for i := len(names) - 1; i >= 0 && err == nil; i-- {
		f, err = f.Enter(names[i])
	}
	return f, err
}

// Enter reads the patterns of a folder inside this one.
func (f *Folder) Enter(name string) (*Folder, error) {
	return read(filepath.Join(f.path, name), name, f)
}

func read(path, name string, above *Folder) (*Folder, error) {
	f := &Folder{path: path, name: name, above: above}
	var err error
	if f.git, err = patterns(filepath.Join(path, gitFile)); err != nil {
		return nil, err
	}
	f.own, err = patterns(filepath.Join(path, ownFile))
	return f, err
}

func patterns(path string) ([]pattern, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than 1 MiB; want patterns, one a line")}
	}
	return parse(text), nil
}

// parse reads patterns, one a line; what git would never match is left out.
func parse(text []byte) (list []pattern) {
	for line := range bytes.Lines(bytes.TrimPrefix(text, []byte("\ufeff"))) {
		if p, ok := newPattern(string(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")))); ok {
			list = append(list, p)
		}
	}
	return list
}

// Passes reports whether an entry of this folder is passed over. What lies in a folder that is passed over is too; the
// caller does not enter it.
func (f *Folder) Passes(name string, isDir bool) bool {
	for _, of := range []func(*Folder) []pattern{
		func(f *Folder) []pattern { return f.own },
		func(f *Folder) []pattern { return f.git },
	} {
		relative := name
		for at := f; at != nil; at = at.above {
			list := of(at)
			for i := len(list) - 1; i >= 0; i-- {
				if list[i].matches(relative, name, isDir) {
					return !list[i].negated
				}
			}
			relative = at.name + "/" + relative
		}
	}
	return false
}
