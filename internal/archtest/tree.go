package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// maxText is 1 MiB: no file that people write is longer, and what is longer is not read as text.
const maxText = 1 << 20

// Tree is a repository as read. It is immutable.
type Tree struct {
	// Module is the module path of the root's go.mod.
	Module string
	// Packages are the Go packages, those of nested modules too, sorted by directory.
	Packages []*Package
	// Texts are the text files by slash path, Go files and testdata included.
	Texts map[string]string

	paths   map[string]bool // every file and directory
	modules []string        // directories of nested modules
	fset    *token.FileSet
}

// Package is the Go files of one directory.
type Package struct {
	// Dir is the slash path from the root, "." for the root itself.
	Dir string
	// Nested is true in a module of its own.
	Nested bool
	// Files are the files, tests included, sorted by name.
	Files []*File
}

// File is one Go file.
type File struct {
	// Path is the slash path from the root.
	Path string
	// Lines is how many lines it has.
	Lines int
	// Test is true for a _test.go file, Generated where a program wrote it.
	Test, Generated bool
	// Syntax is the parsed file.
	Syntax *ast.File
}

// Load reads a tree. What .gitignore excludes with a line of the form /name/ is left out, and so is .git.
func Load(root fs.FS) (*Tree, error) {
	t := &Tree{Texts: map[string]string{}, paths: map[string]bool{}, fset: token.NewFileSet()}
	skip := ignored(root)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case slices.Contains(skip, name) && d.IsDir():
			return fs.SkipDir
		case slices.Contains(skip, name): // a link to the folder, or the file that .git is in a work tree
			return nil
		}
		t.paths[name] = true
		if d.IsDir() {
			return nil
		}
		text, err := readText(root, name, d)
		if err != nil || text == nil {
			return err
		}
		t.Texts[name] = string(text)
		if path.Base(name) == "go.mod" && name != "go.mod" {
			t.modules = append(t.modules, path.Dir(name))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read repository: %w", err)
	}
	for line := range strings.Lines(t.Texts["go.mod"]) {
		if module, ok := strings.CutPrefix(line, "module "); ok {
			t.Module = strings.TrimSpace(module)
		}
	}
	return t, t.parse()
}

func ignored(root fs.FS) []string {
	skip := []string{".git"}
	text, _ := fs.ReadFile(root, ".gitignore")
	for line := range strings.Lines(string(text)) {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(line), "/"); ok {
			skip = append(skip, strings.TrimSuffix(dir, "/"))
		}
	}
	return skip
}

// readText is the bytes of a text file, nil for what is none.
func readText(root fs.FS, name string, d fs.DirEntry) ([]byte, error) {
	info, err := d.Info()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxText {
		return nil, err
	}
	text, err := fs.ReadFile(root, name)
	if err != nil || bytes.IndexByte(text, 0) >= 0 {
		return nil, err
	}
	return append([]byte{}, text...), nil
}

// parse parses the Go files that the go command would look at.
func (t *Tree) parse() error {
	byDir := map[string]*Package{}
	for _, name := range sorted(t.Texts) {
		if path.Ext(name) != ".go" || overlooked(name) {
			continue
		}
		syntax, err := parser.ParseFile(t.fset, name, t.Texts[name], parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parse: %w", err)
		}
		dir := path.Dir(name)
		p := byDir[dir]
		if p == nil {
			p = &Package{Dir: dir, Nested: slices.ContainsFunc(t.modules, func(m string) bool { return within(dir, m) })}
			byDir[dir] = p
			t.Packages = append(t.Packages, p)
		}
		p.Files = append(p.Files, &File{
			Path: name, Syntax: syntax,
			Lines:     strings.Count(strings.TrimSuffix(t.Texts[name], "\n"), "\n") + 1,
			Test:      strings.HasSuffix(name, "_test.go"),
			Generated: ast.IsGenerated(syntax),
		})
	}
	slices.SortFunc(t.Packages, func(a, b *Package) int { return strings.Compare(a.Dir, b.Dir) })
	return nil
}

// overlooked reports whether the go command ignores a file because of its directory.
func overlooked(name string) bool {
	for part := range strings.SplitSeq(path.Dir(name), "/") {
		if part == "testdata" || part != "." && (strings.HasPrefix(part, ".") || strings.HasPrefix(part, "_")) {
			return true
		}
	}
	return false
}

func within(dir, parent string) bool { return dir == parent || strings.HasPrefix(dir, parent+"/") }

// ours yields the packages of the root module.
func (t *Tree) ours(yield func(*Package) bool) {
	for _, p := range t.Packages {
		if !p.Nested && !yield(p) {
			return
		}
	}
}

// code yields the files that people wrote, outside tests.
func (p *Package) code(yield func(*File) bool) {
	for _, f := range p.Files {
		if !f.Test && !f.Generated && !yield(f) {
			return
		}
	}
}

func (t *Tree) fault(f *File, at token.Pos, name, format string, args ...any) Fault {
	return Fault{Path: f.Path, Line: t.fset.Position(at).Line, Name: name, What: fmt.Sprintf(format, args...)}
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
