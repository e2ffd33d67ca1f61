package server

import (
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/softhsm"
	"ringfence.dev/ringfence/ledger"
)

// TestLedgerKey: the control plane keeps a new ledger with a key in a token and goes on with it; another key of the token, a
// file, and a token without the key are refused, and nothing is made in their place.
func TestLedgerKey(t *testing.T) {
	hsm := softhsm.New(t)
	hsm.MakeKey(t, "ledger", "01")
	hsm.MakeKey(t, "other", "02")
	dir := t.TempDir()
	run := func(key string) (ledger.Keyring, error) {
		s, err := New(Config{Evidence: dir, LedgerKey: key}, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, err
		}
		stop := startEvidence(t, s)
		err = s.evidence.queue.Put(t.Context(), "bundles", gap("a"))
		ring := s.evidence.ledger.Keyring()
		stop()
		return ring, err
	}
	first, err := run(hsm.URI("id=%01"))
	if err != nil || len(first) != 1 || !strings.HasPrefix(first.Origin(), ledgerName) {
		t.Fatalf("a new ledger: %v, %v", first, err)
	}
	if again, err := run(hsm.URI("id=%01")); err != nil || again[0] != first[0] {
		t.Errorf("the same key again: %v, %v; want %v", again, err, first)
	}
	if _, err := run(hsm.URI("id=%02")); !errors.Is(err, ledger.ErrWrongKey) {
		t.Errorf("another key of the token: %v, want ErrWrongKey", err)
	}
	if _, err := run(hsm.URI("id=%03")); err == nil || !strings.Contains(err.Error(), "Token gone") {
		t.Errorf("no such key: %v, want the runbook's entry", err)
	}
	for _, file := range []string{"", filepath.Join(dir, "new.key")} {
		if _, err := run(file); err == nil || !strings.Contains(err.Error(), "is missing") {
			t.Errorf("the key file %q: %v, want that it is missing", file, err)
		}
	}
	if made, err := filepath.Glob(filepath.Join(dir, "*.key")); err != nil || len(made) != 1 { // actor.key
		t.Errorf("the folder holds %v, %v; want no new key of the ledger", made, err)
	}
}
