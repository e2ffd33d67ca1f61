package jsonfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/jsonfile"
	"ringfence.dev/ringfence/internal/sinktest"
)

func open(t *testing.T, cfg jsonfile.Config) *jsonfile.Sink {
	t.Helper()
	s, err := jsonfile.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSend: a line a message, after what was there; a line that a crash cut off goes, for it comes again.
func TestSend(t *testing.T) {
	for name, before := range map[string][2]string{
		"new": {"", ""}, "lines": {"{}\n{}\n", "{}\n{}\n"}, "cut off": {"{}\n{\"a\":", "{}\n"}, "only cut off": {"{\"a\":", ""},
		"long cut off": {"{}\n" + strings.Repeat("x", 200_000), "{}\n"},
	} {
		path := filepath.Join(t.TempDir(), "out.jsonl")
		if before[0] != "" {
			if err := os.WriteFile(path, []byte(before[0]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := open(t, jsonfile.Config{Path: path}).Send(t.Context(), sinktest.Batch(2)); err != nil {
			t.Fatal(err)
		}
		if got, want := read(t, path), before[1]+"{\"n\":0,\"text\":\"<b> & = | \\\\ é\"}\n{\"n\":1,\"text\":\"<b> & = | \\\\ é\"}\n"; got != want {
			t.Errorf("%s: file = %q, want %q", name, got[:min(len(got), 200)], want)
		}
	}
}

// TestRotate: a new file begins where the next batch would not fit; the oldest goes; no line is torn; and a file that
// somebody moved away is made anew.
func TestRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	s := open(t, jsonfile.Config{Path: path, MaxBytes: 25, Keep: 2})
	for i := range 10 {
		if err := s.Send(t.Context(), []forward.Message{{Data: fmt.Appendf(nil, `{"n":%04d}`, i)}}); err != nil {
			t.Fatal(err)
		}
	}
	for suffix, want := range map[string]string{"": `{"n":0008}` + "\n" + `{"n":0009}` + "\n", ".1": `{"n":0006}` + "\n" + `{"n":0007}` + "\n", ".2": `{"n":0004}` + "\n" + `{"n":0005}` + "\n"} {
		if got := read(t, path+suffix); got != want {
			t.Errorf("%s = %q, want %q", suffix, got, want)
		}
	}
	if _, err := os.Stat(path + ".3"); err == nil {
		t.Error("a third older file was kept")
	}
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), []forward.Message{{Data: []byte(`{}`)}}); err != nil || read(t, path) != "{}\n" {
		t.Errorf("after it was moved away: %v, %q", err, read(t, path))
	}
}

// TestFails: no directory is tried again; a message of two lines is the message's fault.
func TestFails(t *testing.T) {
	s := open(t, jsonfile.Config{Path: filepath.Join(t.TempDir(), "none", "out.jsonl")})
	if fault := sinktest.Fault(t, s.Send(t.Context(), sinktest.Batch(1))); fault.Refused {
		t.Errorf("Send = %v", fault)
	}
	batch := sinktest.Batch(2)
	batch[1].Data = []byte("{}\n{}")
	if fault := sinktest.Fault(t, s.Send(t.Context(), batch)); !fault.Refused || fault.At != 1 {
		t.Errorf("Send = %v at %d", fault, fault.At)
	}
}
