package archtest

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// edge is one import in one file.
type edge struct {
	file *File
	line int
	// name is the local name, empty where the file gives none; to is the import path.
	name, to string
}

// imports are the imports of a package, outside tests.
func (t *Tree) imports(p *Package) (edges []edge) {
	for _, f := range p.Files {
		if f.Test {
			continue
		}
		for _, spec := range f.Syntax.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue
			}
			e := edge{file: f, line: t.fset.Position(spec.Pos()).Line, to: to}
			if spec.Name != nil {
				e.name = spec.Name.Name
			}
			edges = append(edges, e)
		}
	}
	return edges
}

// local is the directory of one of our packages, and whether the import is one.
func (t *Tree) local(importPath string) (dir string, ok bool) {
	if importPath == t.Module {
		return ".", true
	}
	return strings.CutPrefix(importPath, t.Module+"/")
}

// importChain measures the longest chain of our packages, the importing and the last one counted.
func importChain(t *Tree, law *Law) (faults []Fault, measure string) {
	to := map[string][]string{}
	t.ours(func(p *Package) bool {
		for _, e := range t.imports(p) {
			if dir, ok := t.local(e.to); ok {
				to[p.Dir] = append(to[p.Dir], dir)
			}
		}
		return true
	})
	known := map[string][]string{}
	var chain func(dir string) []string
	chain = func(dir string) []string {
		if c, ok := known[dir]; ok {
			return c
		}
		known[dir] = []string{dir} // a cycle does not compile; do not follow one here
		best := []string{dir}
		for _, next := range to[dir] {
			if c := chain(next); len(c)+1 > len(best) {
				best = append([]string{dir}, c...)
			}
		}
		known[dir] = best
		return best
	}
	var longest []string
	t.ours(func(p *Package) bool {
		if c := chain(p.Dir); len(c) > len(longest) {
			longest = c
		}
		return true
	})
	words := strings.Join(longest, " -> ")
	measure = fmt.Sprintf("longest import chain is %d packages; want at most %d: %s", len(longest), law.Chain, words)
	if len(longest) > law.Chain {
		faults = append(faults, Fault{Path: longest[0], What: measure})
	}
	return faults, measure
}

func importEdges(t *Tree, law *Law) (faults []Fault, measure string) {
	t.ours(func(p *Package) bool {
		for _, e := range t.imports(p) {
			for _, rule := range law.Edges {
				if matches(p.Dir, rule.From) && !matches(p.Dir, rule.Except) && !t.allowed(e.to, rule) {
					faults = append(faults, Fault{Path: p.Dir, Line: 0, Name: e.to,
						What: fmt.Sprintf("imports %s (%s:%d); %s", e.to, path.Base(e.file.Path), e.line, rule.Why)})
				}
			}
		}
		return true
	})
	return faults, fmt.Sprintf("%d rules", len(law.Edges))
}

func (t *Tree) allowed(to string, rule Edge) bool {
	dir, local := t.local(to)
	first, _, _ := strings.Cut(to, "/")
	std := !local && !strings.Contains(first, ".")
	in := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			switch {
			case pattern == "std":
				return std
			case pattern == "ours":
				return local
			case local:
				return match(dir, pattern)
			default:
				return !std && match(to, pattern)
			}
		})
	}
	if in(rule.Never) {
		return false
	}
	return len(rule.Only) == 0 || in(rule.Only)
}

func matches(dir string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return match(dir, pattern) })
}

func match(dir, pattern string) bool {
	if pattern == "..." {
		return true
	}
	if parent, ok := strings.CutSuffix(pattern, "/..."); ok {
		return within(dir, parent)
	}
	return dir == pattern
}

// importsByName forbids dot imports everywhere and blank imports outside package main; embed is blank by design.
func importsByName(t *Tree, _ *Law) (faults []Fault, measure string) {
	t.ours(func(p *Package) bool {
		for _, f := range p.Files {
			for _, spec := range f.Syntax.Imports {
				to, _ := strconv.Unquote(spec.Path.Value)
				blank := spec.Name != nil && spec.Name.Name == "_" && to != "embed" && f.Syntax.Name.Name != "main"
				dot := spec.Name != nil && spec.Name.Name == "."
				if blank || dot {
					faults = append(faults, t.fault(f, spec.Pos(), to, "imports %q as %s", to, spec.Name.Name))
				}
			}
		}
		return true
	})
	return faults, ""
}
