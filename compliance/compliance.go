// Package compliance knows the frameworks that a bank is held to, clause by clause, and which clauses a control serves.
//
// It says of each clause whether it was compared with the framework's own text, and claims nothing where it was not. It
// reads no findings yet and judges nothing. The command line lists with it; the catalogue's walker holds mappings to it.
package compliance

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/manifest"
)

// Framework is one version of a standard, a benchmark or a list of threats: one folder of the tree.
type Framework struct {
	// ID is the folder's name, by which mapping.yaml names the framework.
	ID string `json:"-"`
	// Title is its name without the version, Version as the publisher writes it.
	Title   string `json:"title"`
	Version string `json:"version"`
	// Publisher is who may say what it demands.
	Publisher string `json:"publisher"`
	// Source is where the publisher offers it; Retrieved is the day, YYYY-MM-DD, on which the clauses were last looked up.
	Source    string `json:"source"`
	Retrieved string `json:"retrieved"`
	// Clauses are those that controls may name, in the order of the file.
	Clauses []Clause `json:"-"`
}

// Name is the title with the version.
func (f Framework) Name() string { return f.Title + " " + f.Version }

// Clause is one demand of a framework.
type Clause struct {
	// ID is the publisher's number or name for it, Title what it is about in our own words.
	ID    string `json:"id"`
	Title string `json:"title"`
	// Verified says that the id and its subject were found in the framework's own text, at Source.
	Verified bool   `json:"verified"`
	Source   string `json:"source,omitempty"`
	// SeenIn is where somebody else than the publisher lists it; it is no proof.
	SeenIn string `json:"seenIn,omitempty"`
	// Retrieved is the day, YYYY-MM-DD, on which Source or SeenIn was read.
	Retrieved string `json:"retrieved,omitempty"`
}

// Heading is the number, or the name, and what the clause is about.
func (c Clause) Heading() string {
	if strings.Contains(c.ID, " ") {
		return c.ID + ": " + c.Title
	}
	return c.ID + " " + c.Title
}

// String is the heading, and whether it is only what we believe.
func (c Clause) String() string {
	if c.Verified {
		return c.Heading()
	}
	return c.Heading() + " (not verified)"
}

// Frameworks are all frameworks, in order of their ids. They are immutable.
type Frameworks []Framework

// Find is the framework with an id, in any case, and whether there is one.
func (fs Frameworks) Find(id string) (Framework, bool) {
	i := slices.IndexFunc(fs, func(f Framework) bool { return strings.EqualFold(f.ID, id) })
	if i < 0 {
		return Framework{}, false
	}
	return fs[i], true
}

// Clause is the clause with an id, and whether there is one.
func (f Framework) Clause(id string) (Clause, bool) {
	i := slices.IndexFunc(f.Clauses, func(c Clause) bool { return c.ID == id })
	if i < 0 {
		return Clause{}, false
	}
	return f.Clauses[i], true
}

// Served is the clauses of one framework that a control serves.
type Served struct {
	Framework Framework
	Clauses   []Clause
}

// Of is what a control's mapping serves, in order of the frameworks' ids, and a fault for every framework and clause that
// does not exist. What is unknown is served too, not verified, so that a listing hides nothing.
func (fs Frameworks) Of(mapping map[string][]string) (all []Served, faults []error) {
	for _, id := range slices.Sorted(maps.Keys(mapping)) {
		f, ok := fs.Find(id)
		if !ok || f.ID != id {
			faults = append(faults, fmt.Errorf("no framework %q", id))
			f = Framework{ID: id, Title: id}
		}
		served := Served{Framework: f}
		for i, number := range mapping[id] {
			c, known := f.Clause(number)
			switch {
			case ok && !known:
				faults = append(faults, fmt.Errorf("%s has no clause %q", id, number))
			case slices.Contains(mapping[id][:i], number):
				faults = append(faults, fmt.Errorf("%s: clause %q is named twice", id, number))
			}
			if !known {
				c = Clause{ID: number, Title: "unknown clause"}
			}
			served.Clauses = append(served.Clauses, c)
		}
		all = append(all, served)
	}
	return all, faults
}

// Load reads a tree of frameworks, each a folder with framework.yaml and clauses.yaml. It reports every fault it finds.
func Load(tree fs.FS) (Frameworks, error) {
	folders, err := fs.ReadDir(tree, ".")
	if err != nil {
		return nil, fmt.Errorf("read frameworks: %w", err)
	}
	var all Frameworks
	var faults []error
	for _, d := range folders {
		if !d.IsDir() {
			continue
		}
		f, err := load(tree, d.Name())
		all, faults = append(all, f), append(faults, err)
	}
	slices.SortFunc(all, func(a, b Framework) int { return cmp.Compare(a.ID, b.ID) })
	if len(all) == 0 {
		faults = append(faults, errors.New("no framework: want folders with framework.yaml and clauses.yaml"))
	}
	return all, errors.Join(faults...)
}

var idForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)

func load(tree fs.FS, dir string) (Framework, error) {
	f := Framework{ID: dir}
	var faults []error
	add := func(err error) {
		if err != nil {
			faults = append(faults, err)
		}
	}
	if !idForm.MatchString(dir) {
		add(fmt.Errorf("%s: want a folder of lower-case letters, digits, . and -", dir))
	}
	if err := decode(tree, path.Join(dir, "framework.yaml"), &f); err != nil {
		add(err)
	} else {
		faults = append(faults, f.validate()...)
	}
	if err := decode(tree, path.Join(dir, "clauses.yaml"), &f.Clauses); err != nil {
		add(err)
	} else if len(f.Clauses) == 0 {
		add(fmt.Errorf("%s/clauses.yaml: want at least one clause", dir))
	}
	for i, c := range f.Clauses {
		faults = append(faults, c.validate(fmt.Sprintf("%s/clauses.yaml: [%d] %s", dir, i, c.ID))...)
		if slices.ContainsFunc(f.Clauses[:i], func(before Clause) bool { return before.ID == c.ID }) {
			add(fmt.Errorf("%s/clauses.yaml: [%d] %s: the id is there twice", dir, i, c.ID))
		}
	}
	return f, errors.Join(faults...)
}

func decode(tree fs.FS, file string, into any) error {
	text, err := fs.ReadFile(tree, file)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return manifest.Decode(text, file, into)
}

// validate lists what framework.yaml lacks.
func (f Framework) validate() (faults []error) {
	need := func(ok bool, field, want string) {
		if !ok {
			faults = append(faults, fmt.Errorf("%s/framework.yaml: %s: want %s", f.ID, field, want))
		}
	}
	need(f.Title != "" && len(f.Title) <= 80, "title", "1 to 80 characters")
	need(f.Version != "", "version", "the version as the publisher writes it")
	need(f.Publisher != "", "publisher", "who publishes it")
	need(isURL(f.Source), "source", "the address where the publisher offers it")
	need(isDate(f.Retrieved), "retrieved", "a date such as 2026-11-21")
	return faults
}

// validate lists what is wrong with a clause: above all, a claim without proof.
func (c Clause) validate(where string) (faults []error) {
	need := func(ok bool, want string) {
		if !ok {
			faults = append(faults, fmt.Errorf("%s: want %s", where, want))
		}
	}
	need(c.ID != "", "an id")
	need(c.Title != "" && len(c.Title) <= 80, "a title of 1 to 80 characters")
	need(!c.Verified || isURL(c.Source), "a source, the address where the publisher says so, because it is verified")
	need(c.Verified || c.Source == "", "no source, because it is not verified; what another lists belongs in seenIn")
	need(c.SeenIn == "" || isURL(c.SeenIn), "seenIn to be an address")
	need(c.Source == "" && c.SeenIn == "" || isDate(c.Retrieved), "retrieved, the day on which the source was read, such as 2026-11-21")
	return faults
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != ""
}

func isDate(s string) bool {
	_, err := time.Parse(time.DateOnly, s)
	return err == nil
}
