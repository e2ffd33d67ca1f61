package assess

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"ringfence.dev/ringfence/image"
)

// Scanners look at an image every day and mostly find what they found before. Of reports in one folder below Folder that say the same, the first
// says since when it is known and the last until when the scan counts: no verdict needs those between. They are removed, so that the folder
// does not fill, if the door that keeps reports named them.

// gist is what a report says, and in which folder, apart from when it was scanned.
type gist [sha256.Size]byte

// said is a report and the time of its scans.
type said struct {
	path string
	at   time.Time
}

// span are the first and the last of the reports with the same gist; one report is both.
type span struct{ first, last said }

// keptName is how the door names what it keeps.
var keptName = regexp.MustCompile(`^[0-9a-f]{64}\.report$`)

// gistOf is that of a report whose scans are all of one time which has come; false of any other.
func gistOf(path string, facts []image.Facts, now time.Time) (g gist, at time.Time, ok bool) {
	if !keptName.MatchString(filepath.Base(path)) {
		return g, at, false
	}
	what := []any{filepath.Dir(path)}
	for _, f := range facts {
		what = append(what, f.Digests, f.Repositories)
		for _, scan := range f.Scans {
			if scan.At.IsZero() || scan.At.After(now) || !at.IsZero() && !scan.At.Equal(at) {
				return g, at, false
			}
			at = scan.At
			found := slices.Clone(scan.Vulnerabilities)
			for i := range found {
				found[i].Found = time.Time{} // decides nothing
			}
			what = append(what, scan.Scanner, found)
		}
	}
	text, err := json.Marshal(what)
	return sha256.Sum256(text), at, err == nil && !at.IsZero()
}

// spare is the report that nobody needs once a new one is there, "" for none. It may be the new one.
func (a *Assessor) spare(g gist, is said) string {
	s, known := a.spans[g]
	if !known {
		a.spans[g] = &span{is, is}
		return ""
	}
	between := is
	switch {
	case is.at.Before(s.first.at):
		between, s.first = s.first, is
	case is.at.After(s.last.at):
		between, s.last = s.last, is
	}
	if between == s.first || between == s.last { // the only one until now is the other end
		return ""
	}
	return between.path
}

// unsay takes a report out of its span.
func (a *Assessor) unsay(path string, r report) {
	s := a.spans[r.gist]
	switch {
	case s == nil:
	case s.first.path == path && s.last.path == path:
		delete(a.spans, r.gist)
	case s.first.path == path:
		s.first = s.last
	case s.last.path == path:
		s.last = s.first
	}
}

// drop removes a report that nobody needs. One that cannot be removed stays, and counts as any other.
func (a *Assessor) drop(path string) bool {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.cfg.Log.Warn("a report that an earlier and a later one make superfluous cannot be removed", "report", path, "err", err)
		return false
	}
	a.forget(path)
	return true
}
