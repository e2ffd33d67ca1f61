// Command systems type-checks Ringfence for systems that a release has programs for and that its tests do not run on. It builds nothing, which
// would compile every dependency again for each of them, and says nothing of how the program behaves there. `make check` calls it.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/packages"
)

// program is what is checked, with all that it imports.
const program = "./cmd/ringfence"

func main() {
	root, err := filepath.Abs(".")
	if err != nil {
		fail(err)
	}
	for _, system := range [][2]string{{"darwin", "arm64"}, {"windows", "amd64"}} {
		if err := check(root, system[0], system[1]); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "systems:", err)
	os.Exit(1)
}

// check prints the errors for one system; the error says that there were some, or that nothing could be loaded.
func check(root, system, processor string) error {
	all, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedDeps | packages.NeedTypes | packages.NeedSyntax | packages.NeedModule,
		Env:  append(os.Environ(), "GOOS="+system, "GOARCH="+processor, "CGO_ENABLED=0"),
		ParseFile: func(fset *token.FileSet, name string, text []byte) (*ast.File, error) {
			file, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
			if file != nil && !strings.HasPrefix(name, root+string(filepath.Separator)) {
				hollow(file)
			}
			return file, err
		},
	}, program)
	if err != nil {
		return fmt.Errorf("load %s for %s: %w", program, system, err)
	}
	count, faults := 0, 0
	packages.Visit(all, nil, func(p *packages.Package) {
		if p.Module == nil || !p.Module.Main { // hollowed, they are full of errors
			return
		}
		count++
		for _, fault := range p.Errors {
			if faults++; faults <= 20 {
				fmt.Fprintf(os.Stderr, "%s: %v\n", system, fault)
			}
		}
	})
	if count == 0 {
		return fmt.Errorf("%s for %s: no package of this module was found", program, system)
	}
	if faults > 0 {
		return fmt.Errorf("%s does not compile for %s: %d errors", program, system, faults)
	}
	fmt.Printf("systems: %s/%s: %d packages\n", system, processor, count)
	return nil
}

// hollow takes the bodies out of a dependency's functions: its authors compile them.
func hollow(file *ast.File) {
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			f.Body = nil
		}
	}
}
