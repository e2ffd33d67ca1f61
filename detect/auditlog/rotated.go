package auditlog

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stampForm is how the API server's log names the time of a rotation: audit-2026-11-21T02-30-00.000.log.
const stampForm = "2006-01-02T15-04-05.000"

// rotatedFile is a file that stands beside the followed one with its name and more in it.
type rotatedFile struct {
	path  string
	stamp string    // when it was rotated, as its name says; "" where it does not
	count int       // how often, as its name says: 1 is the newest; 0 where it does not
	time  time.Time // of its last change
}

// rotated are the files that stand beside Path with its name and more in it, oldest first. Of a file that is being packed the
// unpacked one counts: the other is not whole yet.
func (f *follower) rotated() []string {
	dir, name := filepath.Split(f.Path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return nil
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	var all []rotatedFile
	for _, e := range entries {
		info, err := e.Info()
		plain, isPacked := strings.CutSuffix(e.Name(), packedSuffix)
		if err != nil || !info.Mode().IsRegular() || e.Name() == name || dir+e.Name() == f.Cursor || isPacked && names[plain] && plain != name {
			continue
		}
		if file, ok := rotatedOf(name, plain); ok {
			file.path, file.time = dir+e.Name(), info.ModTime()
			all = append(all, file)
		}
	}
	slices.SortFunc(all, older)
	var out []string
	for _, one := range all {
		out = append(out, one.path)
	}
	return out
}

// rotatedOf reads the name of a file that was rotated: audit-2026-11-21T02-30-00.000.log as the API server does,
// audit.log.1 or audit.log-20261121 as logrotate does.
func rotatedOf(name, rotated string) (rotatedFile, bool) {
	ext := filepath.Ext(name)
	if rest, ok := strings.CutPrefix(rotated, name+"."); ok {
		count, err := strconv.Atoi(rest)
		if err != nil || count < 0 {
			count = 0
		}
		return rotatedFile{count: count}, true
	}
	if rest, ok := strings.CutPrefix(rotated, name+"-"); ok {
		file := rotatedFile{}
		if rest != "" && strings.Trim(rest, "0123456789-") == "" {
			file.stamp = rest
		}
		return file, true
	}
	rest, ok := strings.CutPrefix(rotated, strings.TrimSuffix(name, ext)+"-")
	if at, err := time.Parse(stampForm, strings.TrimSuffix(rest, ext)); err == nil {
		return rotatedFile{stamp: at.Format(stampForm)}, ok
	}
	return rotatedFile{}, ok
}

// older orders files by what their names say where both say it, for a packed file may have the time of its packing; else by
// their times.
func older(a, b rotatedFile) int {
	if a.stamp != "" && b.stamp != "" && len(a.stamp) == len(b.stamp) {
		return cmp.Or(cmp.Compare(a.stamp, b.stamp), cmp.Compare(a.path, b.path))
	}
	if a.count > 0 && b.count > 0 {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.path, b.path))
	}
	return cmp.Or(a.time.Compare(b.time), cmp.Compare(a.path, b.path))
}
