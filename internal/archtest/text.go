package archtest

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// lines yields every line of every text file, in order, with its 1-based number. go.sum is left out: it is noise.
func (t *Tree) lines(yield func(file string, number int, line string)) {
	for _, file := range sorted(t.Texts) {
		if path.Base(file) == "go.sum" {
			continue
		}
		number := 0
		for line := range strings.Lines(t.Texts[file]) {
			number++
			yield(file, number, line)
		}
	}
}

// nothingLeft finds the two words with which people put work off. The words are put together here, so that this file
// does not hold them.
func nothingLeft(t *Tree, _ *Law) (faults []Fault, measure string) {
	put := regexp.MustCompile(`\b(` + "TO" + "DO" + `|` + "FIX" + "ME" + `)\b`)
	t.lines(func(file string, number int, line string) {
		if word := put.FindString(line); word != "" {
			faults = append(faults, Fault{Path: file, Line: number, What: "found " + word})
		}
	})
	return faults, ""
}

// machinePaths finds absolute paths below the directories in which one machine differs from another.
func machinePaths(t *Tree, law *Law) (faults []Fault, measure string) {
	if len(law.Secret) == 0 {
		return nil, ""
	}
	absolute := regexp.MustCompile(`(?:^|[^A-Za-z0-9_.~/})-])(/(?:` + strings.Join(law.Secret, "|") + `)/[A-Za-z0-9._-]+)`)
	t.lines(func(file string, number int, line string) {
		for _, found := range absolute.FindAllStringSubmatch(line, -1) {
			faults = append(faults, Fault{Path: file, Line: number, Name: found[1], What: "names " + found[1]})
		}
	})
	return faults, ""
}

var (
	inlineLink    = regexp.MustCompile(`\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)`)
	referenceLink = regexp.MustCompile(`^\s{0,3}\[[^\]]+\]:\s*<?([^\s>]+)>?`)
	codeSpan      = regexp.MustCompile("`[^`]*`")
	scheme        = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
)

// namedInArchitecture wants every package in ARCHITECTURE.md, as `dir`; a parent's name stands for packages of tests alone.
func namedInArchitecture(t *Tree, _ *Law) (faults []Fault, measure string) {
	named := map[string]bool{}
	for _, span := range codeSpan.FindAllString(t.Texts["ARCHITECTURE.md"], -1) {
		named[strings.Trim(span, "`")] = true
	}
	t.ours(func(p *Package) bool {
		onlyTests := true
		for _, f := range p.Files {
			onlyTests = onlyTests && f.Test
		}
		if !named[p.Dir] && !(onlyTests && (p.Dir == "." || named[path.Dir(p.Dir)])) {
			faults = append(faults, Fault{Path: p.Dir, What: "ARCHITECTURE.md does not name it"})
		}
		return true
	})
	return faults, ""
}

func licence(t *Tree, _ *Law) (faults []Fault, measure string) {
	text := t.Texts["LICENSE"]
	for _, want := range []string{"Apache License", "Version 2.0", "END OF TERMS AND CONDITIONS"} {
		if !strings.Contains(text, want) {
			return []Fault{{Path: "LICENSE", What: fmt.Sprintf("does not say %q", want)}}, ""
		}
	}
	return nil, ""
}

var directive = regexp.MustCompile(`^\s*(replace|exclude)\b`)

func plainGoMod(t *Tree, _ *Law) (faults []Fault, measure string) {
	number := 0
	for line := range strings.Lines(t.Texts["go.mod"]) {
		number++
		if found := directive.FindStringSubmatch(line); found != nil {
			faults = append(faults, Fault{Path: "go.mod", Line: number, What: "has a directive " + found[1]})
		}
	}
	return faults, ""
}

// oneLineTargets wants at most one recipe line below each target of the Makefile.
func oneLineTargets(t *Tree, _ *Law) (faults []Fault, measure string) {
	number, recipe := 0, 0
	for line := range strings.Lines(t.Texts["Makefile"]) {
		number++
		if !strings.HasPrefix(line, "\t") {
			recipe = 0
			continue
		}
		if recipe++; recipe > 1 {
			faults = append(faults, Fault{Path: "Makefile", Line: number, What: "a second recipe line"})
		}
	}
	return faults, ""
}
