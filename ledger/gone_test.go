package ledger_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ringfence.dev/ringfence/ledger"
)

// TestFolderGone: a folder that goes away while the ledger is open, as where a disk is unmounted, is never begun anew; once it
// is back the ledger goes on.
func TestFolderGone(t *testing.T) {
	dir := t.TempDir()
	key, err := ledger.NewKey(filepath.Join(dir, "key"), "ringfence.dev/ledger/test")
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, "ledger")
	l, err := ledger.Open(ledger.Config{Dir: at, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Append(t.Context(), sample("a")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(at, at+".away"), os.WriteFile(at, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), sample("b")); err == nil {
		t.Fatal("Append where the folder is none = nil, want an error")
	}
	if err := errors.Join(os.Remove(at), os.Mkdir(at, 0o700)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	if _, err := l.Append(t.Context(), sample("b")); !errors.Is(err, ledger.ErrDamaged) {
		t.Errorf("Append to an empty folder = %v, want %v", err, ledger.ErrDamaged)
	}
	if _, err := os.Stat(filepath.Join(at, "keyring")); err == nil {
		t.Fatal("a new ledger was begun")
	}
	if err := errors.Join(os.RemoveAll(at), os.Rename(at+".away", at)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	if _, err := l.Append(t.Context(), sample("b")); err != nil || l.Size() != 2 {
		t.Errorf("Append when the folder is back = %v, %d entries; want 2", err, l.Size())
	}
}
