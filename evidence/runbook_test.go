package evidence_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringfence.dev/ringfence/ledger"
)

// TestRunbook: the messages in the runbook are those that the faults give.
func TestRunbook(t *testing.T) {
	text, err := os.ReadFile("../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	runbook := strings.Join(strings.Fields(string(text)), " ")
	reopen := func(b book, k ledger.Key) error {
		l, err := ledger.Open(ledger.Config{Dir: b.dir, Key: k})
		if err == nil {
			err = errors.Join(errors.New("it opens"), l.Close())
		}
		return err
	}
	remove := func(b book, name string) error {
		if err := os.Remove(filepath.Join(b.dir, name)); err != nil {
			return err
		}
		return reopen(b, b.key)
	}
	for message, fault := range map[string]func(book) error{
		"another process has this ledger open": func(b book) error {
			opened(t, b.dir, b.key)
			return reopen(b, b.key)
		},
		"this is not the ledger's key: found": func(b book) error { return reopen(b, key(t, "ringfence.dev/ledger/test")) },
		"or rotate the key first":             func(b book) error { return reopen(b, key(t, "ringfence.dev/ledger/test")) },
		"its checkpoint is missing; put back the latest one that was published outside": func(b book) error { return remove(b, "checkpoint") },
		"is there and keyring is missing; put back a copy of it":                        func(b book) error { return remove(b, "keyring") },
		"the ledger is damaged: its last entries and tiles have the root": func(b book) error {
			path := filepath.Join(b.dir, "tile", "entries", "001.part")
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text[len(text)/2] ^= 1
			if err := os.WriteFile(path, text, 0o600); err != nil {
				return err
			}
			return reopen(b, b.key)
		},
		"the ledger's key cannot be used: found mode": func(b book) error {
			path := filepath.Join(b.dir, "open.key")
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				return err
			}
			_, err := ledger.LoadKey(path)
			return err
		},
	} {
		err := fault(newBook(t, 300))
		if err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%v, want %q", err, message)
		}
		if !strings.Contains(runbook, message) {
			t.Errorf("docs/runbook.md does not have %q", message)
		}
	}
}
