package auditlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// script follows a file; each time nothing is left to read, the next step runs, and after the last it ends.
func script(t *testing.T, h *Handler, path string, steps ...func()) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	return h.Follow(ctx, Tail{Path: path, Cursor: filepath.Join(filepath.Dir(path), "cursor"), Sleep: func(ctx context.Context, _ time.Duration) error {
		if n == len(steps) {
			cancel()
		} else {
			steps[n]()
			n++
		}
		return ctx.Err()
	}})
}

// events are lines of events from a to b.
func lines(a, b int) string {
	var out strings.Builder
	for i := a; i < b; i++ {
		out.WriteString(plain(fmt.Sprintf("id-%04d", i), noon) + "\n")
	}
	return out.String()
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string, age time.Duration) {
	t.Helper()
	at := time.Now().Add(-age)
	if err := errors.Join(os.Chtimes(from, at, at), os.Rename(from, to)); err != nil {
		t.Fatal(err)
	}
}

// TestFollow: what is there and what comes, a file that comes later, a line in two pieces, lines that are none, rotation as
// the API server and as logrotate do it, twice between two looks, and a file cut short.
func TestFollow(t *testing.T) {
	h, _ := handler(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	want := func(events, malformed, duplicates, gaps uint64) func() {
		return func() {
			t.Helper()
			if s := h.Stats(); s.Events != events || s.Malformed != malformed || s.Duplicates != duplicates || s.Gaps != gaps {
				t.Errorf("Stats = %+v, want %d events, %d malformed, %d duplicates, %d gaps", s, events, malformed, duplicates, gaps)
			}
		}
	}
	half := lines(10, 11)
	err := script(t, h, path,
		want(0, 0, 0, 0),
		func() { appendTo(t, path, lines(0, 10)+half[:30]) }, want(10, 0, 0, 0),
		func() { appendTo(t, path, half[30:]) }, want(11, 0, 0, 0),
		func() { appendTo(t, path, "nonsense\n\n{\"auditID\":7}\n"+lines(10, 12)) }, want(12, 2, 1, 0),
		func() { // rotated, with lines that were added after the last look, and a new file at once
			appendTo(t, path, lines(12, 14))
			rename(t, path, filepath.Join(dir, "audit-2026-11-21T02-30-00.000.log"), time.Hour)
			appendTo(t, path, lines(14, 16))
		}, want(16, 2, 1, 0),
		func() { // twice
			rename(t, path, filepath.Join(dir, "audit.log.2"), 50*time.Minute)
			appendTo(t, path, lines(16, 18))
			rename(t, path, filepath.Join(dir, "audit.log.1"), 40*time.Minute)
			appendTo(t, path, lines(18, 20)+"cut off")
		}, want(20, 2, 1, 0),
		func() { // gone for a while, with half a line at its end
			rename(t, path, filepath.Join(dir, "audit-2026-11-21T02-40-00.000.log"), 30*time.Minute)
		}, want(20, 2, 1, 0),
		func() { appendTo(t, path, lines(20, 30)) }, want(30, 3, 1, 0),
		func() { // emptied in place: as many lines as before come later, others
			if err := os.WriteFile(path, []byte(lines(30, 31)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, want(31, 3, 1, 1),
		func() {
			if err := os.WriteFile(path, []byte(lines(40, 60)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, want(51, 3, 1, 2),
		func() { appendTo(t, path, `{"x":"`+strings.Repeat("x", maxLine+2<<20)+"\"}\n"+lines(60, 61)) }, want(52, 4, 1, 2),
	)
	if err != nil {
		t.Errorf("Follow = %v", err)
	}
}

// TestFollowRestart: a restart goes on where it stopped, in files rotated away meanwhile; a restart at any moment leaves no
// event out; a file that is gone is a gap.
func TestFollowRestart(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	appendTo(t, path, lines(0, 10))
	h, _ := handler(t)
	if err := script(t, h, path); err != nil || h.Stats().Events != 10 {
		t.Fatalf("Follow = %v, %+v", err, h.Stats())
	}
	appendTo(t, path, lines(10, 12))
	rename(t, path, filepath.Join(dir, "audit-a.log"), time.Hour)
	appendTo(t, path, lines(12, 14))
	rename(t, path, filepath.Join(dir, "audit-b.log"), 30*time.Minute)
	appendTo(t, path, lines(14, 16)+"half a li")
	h, _ = handler(t)
	if err := script(t, h, path, func() {}, func() {}); err != nil || h.Stats().Events != 6 || h.Stats().Gaps != 0 || h.Stats().Malformed != 0 {
		t.Errorf("after a restart: Follow = %v, %+v, want the 6 that came meanwhile", err, h.Stats())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, lines(20, 23))
	h, _ = handler(t)
	if err := script(t, h, path); err != nil || h.Stats().Events != 3 || h.Stats().Gaps != 1 {
		t.Errorf("after the file went away: Follow = %v, %+v, want 3 events and a gap", err, h.Stats())
	}
	for _, bad := range []string{"", "{", `{"offset":-1}`, `{"offset":5,"headLen":9}`} {
		if err := os.WriteFile(filepath.Join(dir, "cursor"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		h, _ = handler(t)
		if err := script(t, h, path); err == nil {
			t.Errorf("Follow with cursor %q = nil, want an error", bad)
		}
	}
}

// TestFollowUnkept: what cannot be kept is read again, and the cursor stays before it.
func TestFollowUnkept(t *testing.T) {
	h, s := handler(t)
	s.fails = errors.New("disk full")
	dir := t.TempDir()
	path, cursor := filepath.Join(dir, "audit.log"), filepath.Join(dir, "cursor")
	if err := os.WriteFile(path, []byte(plain("a", noon)+"\n"+plain("b", noon)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	err := h.Follow(ctx, Tail{Path: path, Cursor: cursor, Sleep: func(context.Context, time.Duration) error {
		switch tries++; tries {
		case 3:
			if _, err := os.Stat(cursor); err == nil {
				t.Error("the cursor stands behind what was not kept")
			}
			s.mu.Lock()
			s.fails = nil
			s.mu.Unlock()
		case 6:
			cancel()
		}
		return nil
	}})
	if st := h.Stats(); err != nil || st.Events != 2 || st.Duplicates != 0 || st.Unkept != 3 {
		t.Errorf("Follow = %v, %+v; want 2 events after 3 tries", err, st)
	}
}

// TestFollowFailed: why nothing can be read is told once, and again after it could be; what cannot be kept is not told here.
func TestFollowFailed(t *testing.T) {
	h, sink := handler(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	var told []string
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks := 0
	err := h.Follow(ctx, Tail{Path: path, Cursor: filepath.Join(dir, "cursors", "cursor"), Failed: func(err error) { told = append(told, err.Error()) },
		Sleep: func(context.Context, time.Duration) error {
			switch looks++; looks {
			case 2: // it is there, and nothing of it can be kept
				sink.fails = errors.New("disk full")
				appendTo(t, path, lines(0, 2))
			case 4: // it can, and the cursor has no folder
				sink.fails = nil
			case 6:
				if err := os.Mkdir(filepath.Join(dir, "cursors"), 0o700); err != nil {
					t.Fatal(err)
				}
			case 8:
				cancel()
			}
			return nil
		}})
	if err != nil || len(told) != 2 || !strings.Contains(told[0], "open "+path) || !strings.Contains(told[1], "write the cursor") || h.Stats().Events != 2 {
		t.Errorf("Follow = %v, %+v; told %q, want the missing file and the cursor, once each", err, h.Stats(), told)
	}
}
