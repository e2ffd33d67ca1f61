package advisory

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

// Module is a Go module that a program is built of; Go's own library is "stdlib". Version begins with v.
type Module struct{ Path, Version string }

// Affected is a vulnerability of a module, as a record of OSV says.
type Affected struct {
	Module
	ID      string
	Summary string
	// Fixed is the next version that has it no more, "" for none.
	Fixed string
}

// osv is a record of OSV, as far as it tells which modules it is about.
type osv struct {
	ID, Summary, Withdrawn string
	Affected               []struct {
		Package  struct{ Ecosystem, Name string }
		Ranges   []osvRange
		Versions []string
	}
}

type osvRange struct {
	Type   string
	Events []struct {
		Introduced, Fixed string
		LastAffected      string `json:"last_affected"`
	}
}

// Affecting says which vulnerabilities of a folder of OSV records modules have; records of other ecosystems are passed over. *.json hold a
// record each, *.zip many, as OSV publishes them. It says how many records of Go it read: of none nothing follows.
func Affecting(folder fs.FS, modules []Module) (all []Affected, read int, err error) {
	known := map[string]Module{}
	for _, m := range modules {
		if !semver.IsValid(m.Version) {
			return nil, 0, fmt.Errorf("judge %s: found version %q; want one that begins with v", m.Path, m.Version)
		}
		known[m.Path] = m
	}
	take := func(r io.Reader) error {
		found, of, err := affects(r, known)
		all, read = append(all, found...), read+of
		return err
	}
	err = fs.WalkDir(folder, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if err := records(folder, name, take); err != nil {
			return fmt.Errorf("read advisories of %s: %w", name, err)
		}
		return nil
	})
	if err == nil && read == 0 {
		err = errors.New("read advisories: found no record of ecosystem Go; want those of OSV, *.json or *.zip")
	}
	slices.SortFunc(all, func(a, b Affected) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.ID, b.ID)) })
	return all, read, err
}

// records hands over each record of a file.
func records(folder fs.FS, name string, take func(io.Reader) error) error {
	if path.Ext(name) != ".json" && path.Ext(name) != ".zip" {
		return nil
	}
	f, err := folder.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if path.Ext(name) == ".json" {
		return take(f)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return err
	}
	z, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return err
	}
	for _, member := range z.File {
		if path.Ext(member.Name) != ".json" {
			continue
		}
		m, err := member.Open()
		if err == nil {
			err = errors.Join(take(m), m.Close())
		}
		if err != nil {
			return fmt.Errorf("%.200q: %w", member.Name, err)
		}
	}
	return nil
}

// affects reads one record. of is 1 where it is about Go.
func affects(from io.Reader, known map[string]Module) (found []Affected, of int, err error) {
	bounded := &io.LimitedReader{R: from, N: maxRecord + 1}
	var r osv
	err = json.NewDecoder(bounded).Decode(&r)
	if bounded.N <= 0 {
		return nil, 0, fmt.Errorf("found more than %d bytes; want one record of OSV", maxRecord)
	}
	if err != nil || r.Withdrawn != "" {
		return nil, 0, err
	}
	for _, a := range r.Affected {
		if a.Package.Ecosystem != "Go" {
			continue
		}
		of = 1
		m, ours := known[a.Package.Name]
		if !ours {
			continue
		}
		hit := slices.Contains(a.Versions, strings.TrimPrefix(m.Version, "v")) || slices.Contains(a.Versions, m.Version)
		fixed := ""
		for _, one := range a.Ranges {
			in, next, err := one.holds(m.Version)
			if err != nil {
				return nil, of, fmt.Errorf("%.80q: %w", r.ID, err)
			}
			if in {
				hit, fixed = true, next
			}
		}
		if hit {
			found = append(found, Affected{m, r.ID, r.Summary, fixed})
		}
	}
	return found, of, nil
}

// holds says whether a version is in a range, and which is the next that is not.
func (r osvRange) holds(version string) (in bool, fixed string, err error) {
	if r.Type != "SEMVER" && r.Type != "" {
		return false, "", nil // commits, which no program tells
	}
	type event struct {
		at   string
		kind int
	}
	const introduced, until, after = 0, 1, 2
	var events []event
	for _, e := range r.Events {
		for kind, at := range []string{e.Introduced, e.Fixed, e.LastAffected} {
			if at == "" {
				continue
			}
			if at == "0" {
				at = "0.0.0-0" // before every version
			}
			if at = "v" + strings.TrimPrefix(at, "v"); !semver.IsValid(at) {
				return false, "", fmt.Errorf("found version %.80q; want a semantic one", at)
			}
			events = append(events, event{at, kind})
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Or(semver.Compare(a.at, b.at), cmp.Compare(a.kind, b.kind)) })
	for _, e := range events {
		order := semver.Compare(version, e.at)
		switch {
		case e.kind == introduced && order >= 0:
			in = true
		case e.kind == until && order >= 0, e.kind == after && order > 0:
			in = false
		case e.kind == until && in && fixed == "":
			fixed = e.at
		}
	}
	return in, fixed, nil
}
