package render

import (
	"io/fs"
	"path/filepath"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// memory is the files that kustomize may see, by full path. Nothing can be written to it, so nothing can be cloned into it.
type memory struct {
	files map[string][]byte
	dirs  map[string]bool
}

var _ filesys.FileSystem = (*memory)(nil)

func newMemory() *memory { return &memory{map[string][]byte{}, map[string]bool{}} }

// put adds a file, and the folders that it lies in.
func (m *memory) put(path string, text []byte) {
	m.files[path] = text
	for dir := filepath.Dir(path); !m.dirs[dir]; dir = filepath.Dir(dir) {
		m.dirs[dir] = true
	}
}

// IsDir reports whether a folder holds a file that was read.
func (m *memory) IsDir(path string) bool { return m.dirs[filepath.Clean(path)] }

// Exists reports whether a path is a file that was read or a folder that holds one.
func (m *memory) Exists(path string) bool {
	_, file := m.files[filepath.Clean(path)]
	return file || m.IsDir(path)
}

// ReadFile is the text of a file that was read.
func (m *memory) ReadFile(path string) ([]byte, error) {
	if text, ok := m.files[filepath.Clean(path)]; ok {
		return text, nil
	}
	return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
}

// CleanedAbs is the folder of a full path, and the name of the file where it is one.
func (m *memory) CleanedAbs(path string) (filesys.ConfirmedDir, string, error) {
	path = filepath.Clean(path)
	if m.dirs[path] {
		return filesys.ConfirmedDir(path), "", nil
	}
	if _, ok := m.files[path]; ok {
		return filesys.ConfirmedDir(filepath.Dir(path)), filepath.Base(path), nil
	}
	return "", "", &fs.PathError{Op: "find", Path: path, Err: fs.ErrNotExist}
}

// The rest of what a file system does is refused: a build needs none of it.

func refuse(op, path string) error { return &fs.PathError{Op: op, Path: path, Err: fs.ErrPermission} }

// Create is refused.
func (m *memory) Create(path string) (filesys.File, error) { return nil, refuse("create", path) }

// Mkdir is refused.
func (m *memory) Mkdir(path string) error { return refuse("mkdir", path) }

// MkdirAll is refused.
func (m *memory) MkdirAll(path string) error { return refuse("mkdir", path) }

// RemoveAll is refused.
func (m *memory) RemoveAll(path string) error { return refuse("remove", path) }

// Open is refused.
func (m *memory) Open(path string) (filesys.File, error) { return nil, refuse("open", path) }

// ReadDir is refused.
func (m *memory) ReadDir(path string) ([]string, error) { return nil, refuse("list", path) }

// Glob is refused.
func (m *memory) Glob(pattern string) ([]string, error) { return nil, refuse("list", pattern) }

// WriteFile is refused.
func (m *memory) WriteFile(path string, _ []byte) error { return refuse("write", path) }

// Walk is refused.
func (m *memory) Walk(path string, _ filepath.WalkFunc) error { return refuse("walk", path) }
