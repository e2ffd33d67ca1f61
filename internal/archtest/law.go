package archtest

import (
	"fmt"
	"path"
	"slices"
)

// Law is what a repository is held to. The zero Law is the strictest: nothing may have any length, and no exception is made.
type Law struct {
	// Sentences is how many sentences a package comment has at least.
	Sentences int
	// Documented is the share of exported names with a comment, in percent, at least.
	Documented float64
	// Chain is how many of our packages one import chain may hold.
	Chain int
	// FileLines, FuncLines and MainLines are how many lines a Go file, a function outside tests and a main.go may have.
	FileLines, FuncLines, MainLines int
	// Banned are names that no package and no part of a Go file's name may have.
	Banned []string
	// Edges are the rules of who may import whom.
	Edges []Edge
	// Immutable are functions, as package.Name, whose result nothing can change, so that a package variable may hold it.
	Immutable []string
	// Secret are directories at the root of a machine that the repository must not name, without slashes.
	Secret []string
	// Exceptions are the faults that are accepted.
	Exceptions []Exception
}

// Edge is one rule about imports, for the packages that From names. Imports of tests are free.
//
// A pattern is a directory of the repository, or one that ends in /... for all below it too; "..." is everything.
// Among imports, "std" is the standard library, "ours" is every package of the repository, and a pattern that begins
// with a domain name is a foreign package.
type Edge struct {
	// From and Except choose the importing packages.
	From, Except []string
	// Only are the imports allowed; empty allows all but Never.
	Only []string
	// Never are the imports forbidden.
	Never []string
	// Why says what the edge would break.
	Why string
}

// Exception accepts the faults of one rule in some files.
type Exception struct {
	// Rule is the rule's name.
	Rule string
	// Path is a pattern of path.Match for the file or directory; Name is the declaration meant, empty for all.
	Path, Name string
	// Reason says why.
	Reason string
}

// Fault is one place that breaks a rule.
type Fault struct {
	// Path is the file or directory, Line is 1-based and 0 where it says nothing, Name is the declaration or empty.
	Path string
	Line int
	Name string
	// What says what was found and what is wanted.
	What string
}

// String is path:line: what.
func (f Fault) String() string {
	if f.Line == 0 {
		return f.Path + ": " + f.What
	}
	return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.What)
}

// Rule is one rule of the house.
type Rule struct {
	// Name is the rule in a few words joined by hyphens.
	Name string
	// Fix says what to do about a fault.
	Fix string
	// check returns the faults and, where there is something to measure, the measure.
	check func(*Tree, *Law) (faults []Fault, measure string)
}

// Rules are all rules, in the order in which they are reported.
func Rules() []Rule {
	return []Rule{
		{"package-comments", "say in the package comment what the package does, what it does not, and who calls it", packageComments},
		{"exported-names", "write a sentence above the name: unit, zero value, errors, concurrency, source", exportedNames},
		{"import-chain", "make a package take a func or a value from its caller instead of importing who makes it", importChain},
		{"import-edges", "turn the import round, or move the code to the package that may have it", importEdges},
		{"banned-names", "name it after what the bank cares about, never after a layer", bannedNames},
		{"file-length", "split the file by concept", fileLength},
		{"function-length", "move a step that has a name of its own into a function below", functionLength},
		{"no-init", "call it from a constructor; nothing happens at import", noInit},
		{"imports-by-name", "name what is imported; pass plug-ins as a literal in server or cli", importsByName},
		{"no-mutable-globals", "make it a constant, a function, or a field of what uses it", mutableGlobals},
		{"short-main", "move the work to package cli", shortMain},
		{"nothing-left-to-do", "do it, or open an issue and say the limit in a comment", nothingLeft},
		{"no-machine-paths", "use a relative path, t.TempDir, os.TempDir or os.UserCacheDir", machinePaths},
		{"markdown-links", "correct the link, or add the file or the heading", markdownLinks},
		{"pages-reached", "link to the page from docs/README.md, or from a page that it belongs to", pagesReached},
		{"pages-true", "name what is there: a target of the Makefile, a test, a file, a control of the catalogue", pagesTrue},
		{"decisions", "begin docs/adr/NNNN-name.md with its number, which no other has, and what holds of it: # N. Title, then Status: accepted, or Status: superseded by N", decisions},
		{"named-in-architecture", "add a line to the table of packages in ARCHITECTURE.md", namedInArchitecture},
		{"licence", "put the full text of the Apache License 2.0 into LICENSE", licence},
		{"plain-go-mod", "require the released version; there is no replace and no exclude here", plainGoMod},
		{"one-line-targets", "move the recipe to a script beside .ci/run, or to a Go command", oneLineTargets},
	}
}

// Check holds the tree to the rule. Faults that the law excepts are left out, and an exception of this rule that nothing
// needs is a fault itself.
func (r Rule) Check(t *Tree, law *Law) (faults []Fault, measure string) {
	all, measure := r.check(t, law)
	used := make([]bool, len(law.Exceptions))
	for _, f := range all {
		i := slices.IndexFunc(law.Exceptions, func(e Exception) bool { return e.covers(r.Name, f) })
		if i >= 0 {
			used[i] = true
			continue
		}
		faults = append(faults, f)
	}
	for i, e := range law.Exceptions {
		if e.Rule == r.Name && !used[i] {
			faults = append(faults, Fault{Path: e.Path, Name: e.Name, What: "nothing there needs its exception any more; remove it"})
		}
	}
	return faults, measure
}

func (e Exception) covers(rule string, f Fault) bool {
	match, err := path.Match(e.Path, f.Path)
	return err == nil && match && e.Rule == rule && (e.Name == "" || e.Name == f.Name)
}
