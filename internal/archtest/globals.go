package archtest

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// mutableGlobals wants every package variable to be one that is never changed: an interface assertion, an embedded file,
// a table written as a literal, or the result of a function that the law calls immutable. It reads syntax, not
// types: a variable that any function of its package assigns to, or takes the address of, is one that changes.
func mutableGlobals(t *Tree, law *Law) (faults []Fault, measure string) {
	t.ours(func(p *Package) bool {
		changed := changedNames(p)
		p.code(func(f *File) bool {
			for _, d := range f.Syntax.Decls {
				decl, ok := d.(*ast.GenDecl)
				if !ok || decl.Tok != token.VAR {
					continue
				}
				for _, spec := range decl.Specs {
					s := spec.(*ast.ValueSpec)
					for i, name := range s.Names {
						if why := mutable(s, i, law, changed); why != "" && !embeds(decl.Doc) && !embeds(s.Doc) {
							faults = append(faults, t.fault(f, name.Pos(), name.Name, "package variable %s %s", name.Name, why))
						}
					}
				}
			}
			return true
		})
		return true
	})
	return faults, ""
}

// mutable says why a variable may change, or "".
func mutable(s *ast.ValueSpec, i int, law *Law, changed map[string]bool) string {
	name := s.Names[i].Name
	switch {
	case name == "_" || words(s.Type) == "embed.FS":
		return ""
	case changed[name]:
		return "is changed by a function"
	case i >= len(s.Values):
		return "has no value of its own, so something must change it"
	}
	switch v := s.Values[i].(type) {
	case *ast.CompositeLit:
		if sel, ok := v.Type.(*ast.SelectorExpr); ok && slices.Contains([]string{"sync", "atomic"}, words(sel.X)) {
			return "holds state"
		}
		return ""
	case *ast.CallExpr:
		if slices.Contains(law.Immutable, words(v.Fun)) {
			return ""
		}
		if _, conversion := v.Fun.(*ast.ArrayType); conversion {
			return ""
		}
		return "is the result of " + words(v.Fun) + ", which the law does not know to be immutable"
	case *ast.UnaryExpr:
		return "is a pointer"
	case *ast.BasicLit:
		return "is a plain value; make it a constant"
	case *ast.FuncLit:
		return "is a function; declare it with func"
	}
	return "is no table"
}

// embeds reports whether a comment fills its variable with a file.
func embeds(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// words is a name as written: a, or a.b. Anything else is "".
func words(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		if x := words(e.X); x != "" {
			return x + "." + e.Sel.Name
		}
	case *ast.IndexExpr:
		return words(e.X)
	}
	return ""
}

// changedNames are the names that functions of a package assign to, count up, or take the address of, and that are not
// declared within the function.
func changedNames(p *Package) map[string]bool {
	changed := map[string]bool{}
	p.code(func(f *File) bool {
		for _, d := range f.Syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			own, touched := declaredAndTouched(fn)
			for name := range touched {
				if !own[name] {
					changed[name] = true
				}
			}
		}
		return true
	})
	return changed
}

func declaredAndTouched(fn *ast.FuncDecl) (declared, touched map[string]bool) {
	declared, touched = map[string]bool{}, map[string]bool{}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, name := range n.Names {
				declared[name.Name] = true
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				declared[name.Name] = true
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				mark(left, n.Tok == token.DEFINE, declared, touched)
			}
		case *ast.RangeStmt:
			for _, left := range []ast.Expr{n.Key, n.Value} {
				mark(left, n.Tok == token.DEFINE, declared, touched)
			}
		case *ast.IncDecStmt:
			touched[root(n.X)] = true
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				touched[root(n.X)] = true
			}
		}
		return true
	})
	return declared, touched
}

func mark(left ast.Expr, define bool, declared, touched map[string]bool) {
	if define {
		declared[root(left)] = true
	} else {
		touched[root(left)] = true
	}
}

// root is the variable at the bottom of an expression that can be assigned to.
func root(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x.Name
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return ""
		}
	}
}
