package archtest

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

// bannedNames looks at directories that hold Go files, package clauses, and each part of a Go file's name.
func bannedNames(t *Tree, law *Law) (faults []Fault, measure string) {
	banned := func(name string) bool { return slices.Contains(law.Banned, strings.ToLower(name)) }
	for _, p := range t.Packages {
		for part := range strings.SplitSeq(p.Dir, "/") {
			if banned(part) {
				faults = append(faults, Fault{Path: p.Dir, Name: part, What: fmt.Sprintf("a package must not be named %s", part)})
			}
		}
		for _, f := range p.Files {
			if name := strings.TrimSuffix(f.Syntax.Name.Name, "_test"); banned(name) && name != path.Base(p.Dir) {
				faults = append(faults, t.fault(f, f.Syntax.Name.Pos(), name, "a package must not be named %s", name))
			}
			for part := range strings.SplitSeq(strings.TrimSuffix(path.Base(f.Path), ".go"), "_") {
				if banned(part) {
					faults = append(faults, Fault{Path: f.Path, Name: part, What: fmt.Sprintf("a file must not be named %s", part)})
				}
			}
		}
	}
	return faults, ""
}

func fileLength(t *Tree, law *Law) (faults []Fault, measure string) {
	longest := &File{}
	for _, p := range t.Packages {
		for _, f := range p.Files {
			if f.Generated {
				continue
			}
			if f.Lines > longest.Lines {
				longest = f
			}
			if f.Lines > law.FileLines {
				faults = append(faults, Fault{Path: f.Path, What: fmt.Sprintf("%d lines; want at most %d", f.Lines, law.FileLines)})
			}
		}
	}
	return faults, fmt.Sprintf("longest file is %s with %d lines; want at most %d", longest.Path, longest.Lines, law.FileLines)
}

func functionLength(t *Tree, law *Law) (faults []Fault, measure string) {
	longest, where := 0, ""
	for _, p := range t.Packages {
		p.code(func(f *File) bool {
			for _, d := range f.Syntax.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				n := t.fset.Position(fn.End()).Line - t.fset.Position(fn.Pos()).Line + 1
				if n > longest {
					longest, where = n, f.Path+" "+fn.Name.Name
				}
				if n > law.FuncLines {
					faults = append(faults, t.fault(f, fn.Pos(), fn.Name.Name, "function %s has %d lines; want at most %d", fn.Name.Name, n, law.FuncLines))
				}
			}
			return true
		})
	}
	return faults, fmt.Sprintf("longest function is %s with %d lines; want at most %d", where, longest, law.FuncLines)
}

func noInit(t *Tree, _ *Law) (faults []Fault, measure string) {
	for _, p := range t.Packages {
		for _, f := range p.Files {
			for _, d := range f.Syntax.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					faults = append(faults, t.fault(f, fn.Pos(), "init", "func init"))
				}
			}
		}
	}
	return faults, ""
}

func shortMain(t *Tree, law *Law) (faults []Fault, measure string) {
	t.ours(func(p *Package) bool {
		for _, f := range p.Files {
			if path.Base(f.Path) != "main.go" || !within(p.Dir, "cmd") {
				continue
			}
			measure = fmt.Sprintf("%s has %d lines; want at most %d", f.Path, f.Lines, law.MainLines)
			if f.Lines > law.MainLines {
				faults = append(faults, Fault{Path: f.Path, What: measure})
			}
		}
		return true
	})
	return faults, measure
}
