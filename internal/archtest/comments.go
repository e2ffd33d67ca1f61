package archtest

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
)

// sentenceEnd is a full stop, question or exclamation mark before a new sentence or the end.
var sentenceEnd = regexp.MustCompile(`[.!?]["')]*(\s+["'(]?[A-Z0-9]|\s*$)`)

// packageComments wants a comment on every package; a package that has only tests has it in one of them.
func packageComments(t *Tree, law *Law) (faults []Fault, measure string) {
	for _, p := range t.Packages {
		var text string
		onlyTests := true
		for _, f := range p.Files {
			onlyTests = onlyTests && f.Test
		}
		for _, f := range p.Files {
			if f.Test == onlyTests && f.Syntax.Doc != nil {
				text += f.Syntax.Doc.Text() + "\n"
			}
		}
		text = strings.TrimSpace(text)
		if n := len(sentenceEnd.FindAllString(text, -1)); n < law.Sentences {
			faults = append(faults, Fault{Path: p.Dir, What: fmt.Sprintf("package comment of %d sentences; want at least %d", n, law.Sentences)})
		}
	}
	return faults, fmt.Sprintf("%d packages", len(t.Packages))
}

// exportedNames counts the exported names of importable packages: types, functions, methods of exported types, constants
// and variables. The comment of a group of constants stands for each of them. All undocumented names are faults as soon
// as the share falls below the law's.
func exportedNames(t *Tree, law *Law) (faults []Fault, measure string) {
	total := 0
	t.ours(func(p *Package) bool {
		p.code(func(f *File) bool {
			if f.Syntax.Name.Name == "main" {
				return true
			}
			for _, d := range f.Syntax.Decls {
				for name, documented := range exported(d) {
					total++
					if !documented {
						faults = append(faults, t.fault(f, name.Pos(), name.Name, "exported %s has no comment", name.Name))
					}
				}
			}
			return true
		})
		return true
	})
	share := 100.0
	if total > 0 {
		share = 100 * float64(total-len(faults)) / float64(total)
	}
	measure = fmt.Sprintf("%.1f %% of %d exported names have a comment; want %.0f %%", share, total, law.Documented)
	if share >= law.Documented {
		faults = nil
	}
	return faults, measure
}

// exported are the exported names of a declaration and whether each has a comment.
func exported(d ast.Decl) map[*ast.Ident]bool {
	names := map[*ast.Ident]bool{}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
			names[d.Name] = d.Doc != nil
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					names[s.Name] = d.Doc != nil || s.Doc != nil
				}
			case *ast.ValueSpec:
				for _, name := range s.Names {
					if name.IsExported() {
						names[name] = d.Doc != nil || s.Doc != nil || s.Comment != nil
					}
				}
			}
		}
	}
	return names
}

// receiver is the name of the type that a method belongs to.
func receiver(d *ast.FuncDecl) string {
	expr := d.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}
