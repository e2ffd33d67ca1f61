// Command lint is a tool of go vet that looks for what vet and staticcheck do not: errors that nobody looks at, and values that nobody reads.
//
//	go vet -vettool=bin/lint -errcheck.exclude=$PWD/tools/lint/excluded.txt ./...
//
// With vet and staticcheck it is golangci-lint's standard set (errcheck, govet, ineffassign, staticcheck, unused), without the hundred
// linters that golangci-lint would have to be built with. `make check` calls it. A deferred call may drop its error, and so may
// Close: what was only read needs no answer, and what was written is closed where its error is seen.
package main

import (
	"go/ast"
	"go/token"
	"path/filepath"
	"strings"

	"github.com/gordonklaus/ineffassign/pkg/ineffassign"
	"github.com/kisielk/errcheck/errcheck"
	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/unitchecker"
)

func main() {
	unitchecker.Main(notDeferred(errcheck.Analyzer), ineffassign.Analyzer)
}

// notDeferred is an analyzer of which what counts does not hold is dropped.
func notDeferred(a *analysis.Analyzer) *analysis.Analyzer {
	out, run := *a, a.Run
	out.Run = func(pass *analysis.Pass) (any, error) {
		inner := *pass
		inner.Report = func(d analysis.Diagnostic) {
			if counts(pass, d.Pos) {
				pass.Report(d)
			}
		}
		return run(&inner)
	}
	return &out
}

// counts leaves out what is deferred, Close wherever it stands, and tests, which look at what came of a call.
func counts(pass *analysis.Pass, at token.Pos) bool {
	if strings.HasSuffix(filepath.Base(pass.Fset.Position(at).Filename), "_test.go") {
		return false
	}
	drops := false
	for _, f := range pass.Files {
		if f.FileStart > at || at >= f.FileEnd {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.DeferStmt:
				drops = drops || n.Pos() <= at && at < n.End() && !within(n.Call.Fun, at)
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Close" && n.Pos() <= at && at <= n.End() && !nested(n, at) {
					drops = true
				}
			}
			return true
		})
	}
	return !drops
}

// within reports whether a place is in the body of a function literal that is called.
func within(f ast.Expr, at token.Pos) bool {
	body, ok := f.(*ast.FuncLit)
	return ok && body.Body.Pos() <= at && at < body.Body.End()
}

// nested reports whether a place is in an argument of a call.
func nested(call *ast.CallExpr, at token.Pos) bool {
	for _, arg := range call.Args {
		if arg.Pos() <= at && at < arg.End() {
			return true
		}
	}
	return false
}
