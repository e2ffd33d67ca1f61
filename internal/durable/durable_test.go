package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ringfence.dev/ringfence/internal/durable"
)

// TestReplace: the new content and nothing beside it, with the mode that was asked for; the old content after a failure.
func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cursor")
	for _, text := range []string{"one, which is longer", "two"} {
		if err := durable.Replace(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		got, _ := os.ReadFile(path)
		if err != nil || string(got) != text || info.Mode().Perm() != 0o600 {
			t.Errorf("%q %v %v, want %q", got, info.Mode(), err, text)
		}
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("%d files, want the one", len(files))
	}
	if err := os.Mkdir(path+".new", 0o700); err != nil { // it cannot be written
		t.Fatal(err)
	}
	if err := durable.Replace(path, []byte("three"), 0o600); err == nil {
		t.Error("no error for a file that cannot be written")
	}
	if got, _ := os.ReadFile(path); string(got) != "two" {
		t.Errorf("%q after a failure, want what was there", got)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := durable.Lock(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := durable.Lock(path, 0o600); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("the second lock: %v, want ErrLocked", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := durable.Lock(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}
