package auditlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// packFile packs a file as gzip does, cuts it to a part of its length, and gives it a time.
func packFile(t *testing.T, path string, part float64, at time.Time) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	_, err = zip.Write(text)
	if err := errors.Join(err, zip.Close(), os.WriteFile(path+".gz", out.Bytes()[:int(float64(out.Len())*part)], 0o600), os.Remove(path), os.Chtimes(path+".gz", at, at)); err != nil {
		t.Fatal(err)
	}
}

// TestPacked: files that were packed while nobody looked are read in the order of their names, from where the first of them was
// read to, before the one that is written now; each event once, also over another restart; with names of every kind.
func TestPacked(t *testing.T) {
	for _, names := range [][3]string{
		{"audit-2026-11-21T02-30-00.000.log", "audit-2026-11-21T02-40-00.000.log", "audit-2026-11-21T02-50-00.000.log"},
		{"audit.log.12", "audit.log.3", "audit.log.2"},
		{"audit.log-20261119", "audit.log-20261120", "audit.log-20261121"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "audit.log")
		h, _ := handler(t)
		appendTo(t, path, lines(0, 1000)) // some pieces of 256 KiB
		if err := script(t, h, path); err != nil || h.Stats().Events != 1000 {
			t.Fatalf("%+v, %v", h.Stats(), err)
		}
		appendTo(t, path, lines(1000, 2500))
		for i, name := range names {
			rename(t, path, filepath.Join(dir, name), time.Hour)
			packFile(t, filepath.Join(dir, name), 1, time.Now().Add(-time.Duration(i)*time.Minute)) // packed in the wrong order
			appendTo(t, path, lines(2500+10*i, 2510+10*i))
		}
		h, _ = handler(t)
		if err := script(t, h, path, func() { appendTo(t, path, lines(2530, 2531)) }); err != nil || h.Stats().Events != 1531 || h.Stats().Duplicates != 0 || h.Stats().Gaps != 0 || h.Stats().Malformed != 0 {
			t.Errorf("%v: %+v, %v; want the 1531 that came meanwhile, each once", names, h.Stats(), err)
		}
		h, _ = handler(t)
		if err := script(t, h, path); err != nil || h.Stats().Events != 0 {
			t.Errorf("%v, started again: %+v, %v; want nothing", names, h.Stats(), err)
		}
	}
}

// TestPackedBroken: of a packed file that is cut off, or none, what is whole is read, the error names it, a gap is counted, and
// the files after it are read.
func TestPackedBroken(t *testing.T) {
	for name, part := range map[string]float64{"cut off": 0.6, "without its sum": 0.999, "empty": 0} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "audit.log")
			h, _ := handler(t)
			appendTo(t, path, lines(0, 10))
			if err := script(t, h, path); err != nil {
				t.Fatal(err)
			}
			first, second := filepath.Join(dir, "audit.log-20261120"), filepath.Join(dir, "audit.log-20261121")
			rename(t, path, first, time.Hour)
			appendTo(t, path, lines(10, 2000))
			rename(t, path, second, time.Minute)
			packFile(t, second, part, time.Now())
			appendTo(t, path, lines(2000, 2005))
			h, _ = handler(t)
			var told []string
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := h.Follow(ctx, Tail{Path: path, Cursor: filepath.Join(dir, "cursor"), Broken: func(err error) { told = append(told, err.Error()) },
				Sleep: func(context.Context, time.Duration) error { cancel(); return nil }})
			s := h.Stats()
			if err != nil || s.Gaps != 1 || len(told) != 1 || !strings.Contains(told[0], second+".gz") || s.Events < 5 || (part > 0.5) != (s.Events > 500) || s.Events == 1995 && part < 0.9 {
				t.Errorf("Follow = %v, %+v; told %q", err, s, told)
			}
		})
	}
}

// TestPackedUnkept: what could not be kept is unpacked and read again, and nothing is left out.
func TestPackedUnkept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	h, _ := handler(t)
	appendTo(t, path, lines(0, 10))
	if err := script(t, h, path); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, lines(10, 2000))
	rename(t, path, path+".1", time.Minute)
	packFile(t, path+".1", 1, time.Now())
	appendTo(t, path, lines(2000, 2001))
	h, _ = handler(t)
	keep, fails := h.cfg.Sink, 0
	h.cfg.Sink = func(ctx context.Context, b Batch) error {
		if fails++; fails%2 == 1 {
			return errors.New("the disk is full")
		}
		return keep(ctx, b)
	}
	if err := script(t, h, path, slices.Repeat([]func(){func() {}}, 20)...); err != nil || h.Stats().Events != 1991 || h.Stats().Gaps != 0 {
		t.Errorf("%+v, %v; want 1991 events", h.Stats(), err)
	}
}
