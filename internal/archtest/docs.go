package archtest

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

// links are the targets of the links in a page, relative ones alone, with the lines they stand on. Code is left alone.
func (t *Tree) links(file string, yield func(number int, target string)) {
	number, fenced := 0, false
	for line := range strings.Lines(t.Texts[file]) {
		number++
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			continue
		}
		if fenced || strings.HasPrefix(line, "    ") {
			continue
		}
		line = codeSpan.ReplaceAllString(line, "")
		for _, found := range append(inlineLink.FindAllStringSubmatch(line, -1), referenceLink.FindAllStringSubmatch(line, -1)...) {
			if !scheme.MatchString(found[1]) {
				yield(number, found[1])
			}
		}
	}
}

// target is the file that a link of a page means, and the fragment.
func target(page, link string) (file, fragment string) {
	link, fragment, _ = strings.Cut(link, "#")
	switch {
	case link == "":
		return page, fragment
	case strings.HasPrefix(link, "/"):
		return strings.TrimPrefix(path.Clean(link), "/"), fragment
	}
	return path.Join(path.Dir(page), link), fragment
}

// markdownLinks wants every link to a file to lead to one, and every link to a heading to one of that page.
func markdownLinks(t *Tree, _ *Law) (faults []Fault, measure string) {
	count, anchors := 0, map[string]map[string]bool{}
	for _, file := range sorted(t.Texts) {
		if path.Ext(file) != ".md" || strings.Contains(file, "testdata/") {
			continue
		}
		t.links(file, func(number int, link string) {
			count++
			to, fragment := target(file, link)
			text, isText := t.Texts[to]
			switch {
			case !t.paths[to]:
				faults = append(faults, Fault{Path: file, Line: number, Name: link, What: "links to " + link + ", which is not there"})
			case fragment != "" && isText && path.Ext(to) == ".md":
				if anchors[to] == nil {
					anchors[to] = readPage(to, text).Anchors
				}
				if !anchors[to][fragment] {
					faults = append(faults, Fault{Path: file, Line: number, Name: link, What: "links to " + link + ", and " + to + " has no such heading"})
				}
			}
		})
	}
	return faults, fmt.Sprintf("%d links", count)
}

// pagesReached wants a way of links from the README to every page. A link to a folder shows the pages in it.
func pagesReached(t *Tree, _ *Law) (faults []Fault, measure string) {
	pages := t.pages()
	reached, next := map[string]bool{}, []string{"README.md"}
	for len(next) > 0 {
		page := next[0]
		next = next[1:]
		if reached[page] {
			continue
		}
		reached[page] = true
		t.links(page, func(_ int, link string) {
			to, _ := target(page, link)
			for _, p := range pages {
				if p.Path == to || path.Dir(p.Path) == to {
					next = append(next, p.Path)
				}
			}
		})
	}
	for _, p := range pages {
		if !reached[p.Path] {
			faults = append(faults, Fault{Path: p.Path, What: "no way of links leads here from README.md"})
		}
	}
	return faults, fmt.Sprintf("%d pages", len(pages))
}

var (
	decisionForm = regexp.MustCompile(`^# ([0-9]+)\. .+\n\nStatus: (accepted|superseded by [0-9]+)\b`)
	decisionFile = regexp.MustCompile(`^([0-9]{4})-[a-z0-9-]+\.md$`)
)

// decisions wants every page of a decision to say its number, as its name does and no other, and whether it holds.
func decisions(t *Tree, _ *Law) (faults []Fault, measure string) {
	taken := map[string]string{}
	for _, p := range t.pages() {
		if path.Dir(p.Path) != "docs/adr" {
			continue
		}
		file, said := decisionFile.FindStringSubmatch(path.Base(p.Path)), decisionForm.FindStringSubmatch(t.Texts[p.Path])
		switch {
		case file == nil || said == nil || strings.TrimLeft(file[1], "0") != said[1]:
			faults = append(faults, Fault{Path: p.Path, What: "does not begin with the number of its name and a status"})
		case taken[file[1]] != "":
			faults = append(faults, Fault{Path: p.Path, What: "has the number of " + taken[file[1]]})
		default:
			taken[file[1]] = p.Path
		}
	}
	return faults, fmt.Sprintf("%d decisions", len(taken))
}

var (
	controlID = regexp.MustCompile(`\bRF-[A-Z]{2}-[0-9]{2}\b`)
	idLine    = regexp.MustCompile(`(?m)^id: (RF-[A-Z]{2}-[0-9]{2})$`)
	makeRun   = regexp.MustCompile(`^(?:\$ )?(?:.* && )?make ([a-z][a-z-]*)`)
	makeAlone = regexp.MustCompile(`^make [a-z][a-z-]*(?: [A-Z]+=\S+)*$`)
	makeRule  = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	testRun   = regexp.MustCompile(`-(?:run|bench|fuzz)[ =]['"]?\^?(\w+)`)
	testDir   = regexp.MustCompile(`(?:^| )(?:-C (\S+) .*)?\./?([\w/-]*)(/\.\.\.)?(?: |$)`)
	testName  = regexp.MustCompile(`^(?:([\w/-]+)\.)?((?:Test|Fuzz|Benchmark)[A-Z]\w*)(?:/[\w/-]+)?$`)
	pathWord  = regexp.MustCompile(`^(?:\./)?[\w.-]+(?:/[\w.*-]+)+/?$`)
	goFile    = regexp.MustCompile(`^\w+\.go$`)
)

// names is what pages may name.
type names struct {
	tree           *Tree
	controls, make map[string]bool
	tests          map[string][]string // functions of tests by directory
}

// namesOf gathers them.
func namesOf(t *Tree) *names {
	n := &names{tree: t, controls: map[string]bool{}, make: map[string]bool{}, tests: map[string][]string{}}
	for name, text := range t.Texts {
		if within(name, "controls") && path.Base(name) == "control.yaml" {
			for _, found := range idLine.FindAllStringSubmatch(text, -1) {
				n.controls[found[1]] = true
			}
		}
	}
	for _, found := range makeRule.FindAllStringSubmatch(t.Texts["Makefile"], -1) {
		n.make[found[1]] = true
	}
	for _, p := range t.Packages {
		for _, f := range p.Files {
			for _, decl := range f.Syntax.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok && f.Test && fn.Recv == nil {
					n.tests[p.Dir] = append(n.tests[p.Dir], fn.Name.Name)
				}
			}
		}
	}
	return n
}

// pagesTrue wants what pages name to be there: targets of make, tests, files, and ids of controls. Pages below docs/adr say
// what there was when a decision was made; only their ids are looked at.
func pagesTrue(t *Tree, _ *Law) (faults []Fault, measure string) {
	n, count := namesOf(t), 0
	for _, page := range t.pages() {
		number := 0
		for line := range strings.Lines(t.Texts[page.Path]) {
			number++
			for _, id := range controlID.FindAllString(line, -1) {
				count++
				if !n.controls[id] {
					faults = append(faults, Fault{Path: page.Path, Line: number, Name: id, What: "no control has the id " + id})
				}
			}
		}
		if within(page.Path, "docs/adr") {
			continue
		}
		for _, code := range page.Code {
			for _, wrong := range slices.Concat(n.wrongMake(code), n.wrongTests(code), n.wrongPaths(code)) {
				faults = append(faults, Fault{Path: page.Path, Line: code.Line, Name: wrong, What: "names " + wrong + ", which is not there"})
			}
			count++
		}
	}
	return faults, fmt.Sprintf("%d pieces of code and ids", count)
}

func (n *names) wrongMake(code Code) (wrong []string) {
	found := makeRun.FindStringSubmatch(code.Text)
	if found == nil || code.Inline && !makeAlone.MatchString(code.Text) || n.make[found[1]] { // an error may begin with "make" too
		return nil
	}
	return []string{"make " + found[1]}
}

// wrongTests looks at names of tests, as TestX or folder.TestX within a sentence, and at what `go test` is told to run.
func (n *names) wrongTests(code Code) (wrong []string) {
	if found := testName.FindStringSubmatch(code.Text); code.Inline && found != nil {
		if !n.test(found[1], found[1] == "", func(name string) bool { return name == found[2] }) {
			wrong = append(wrong, code.Text)
		}
	}
	run := testRun.FindAllStringSubmatch(code.Text, -1)
	if !strings.Contains(code.Text, "go test ") || run == nil {
		return wrong
	}
	dir, all := "", true
	if found := testDir.FindStringSubmatch(code.Text); found != nil {
		dir, all = path.Join(found[1], found[2]), found[3] != ""
	}
	chosen := func(name string) bool {
		return slices.ContainsFunc(run, func(r []string) bool { return strings.Contains(name, r[1]) })
	}
	if !n.test(dir, all, chosen) {
		wrong = append(wrong, code.Text)
	}
	return wrong
}

// test reports whether a function of tests is in a directory, or with all in it or anywhere below.
func (n *names) test(dir string, all bool, is func(string) bool) bool {
	for in, functions := range n.tests {
		if (in == dir || in == "." && dir == "" || all && (dir == "" || within(in, dir))) && slices.ContainsFunc(functions, is) {
			return true
		}
	}
	return false
}

// wrongPaths looks at words that begin with a folder of the repository: all of them within a sentence; in blocks, where
// paths of others stand too, those that begin with ./.
func (n *names) wrongPaths(code Code) (wrong []string) {
	for word := range strings.FieldsSeq(code.Text) {
		word = strings.TrimRight(strings.TrimSuffix(word, "/..."), "/,;:")
		switch {
		case code.Inline && goFile.MatchString(word):
			if !slices.ContainsFunc(sorted(n.tree.paths), func(p string) bool { return path.Base(p) == word }) {
				wrong = append(wrong, word)
			}
			continue
		case testName.MatchString(word), !pathWord.MatchString(word), !code.Inline && !strings.HasPrefix(word, "./"):
			continue
		}
		name := path.Clean(word)
		root, _, _ := strings.Cut(name, "/")
		if !n.tree.paths[root] || n.tree.paths[name] {
			continue
		}
		if !slices.ContainsFunc(sorted(n.tree.paths), func(p string) bool { ok, _ := path.Match(name, p); return ok }) {
			wrong = append(wrong, word)
		}
	}
	return wrong
}
