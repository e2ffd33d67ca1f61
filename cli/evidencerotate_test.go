//go:build unix

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/softhsm"
	"ringfence.dev/ringfence/ledger"
)

// TestRotate: keys follow one another, from a file to a file, into a token and out of it; again is no harm; a key that does not
// sign the ledger changes nothing; who trusts the first key verifies to the last.
func TestRotate(t *testing.T) {
	dir := t.TempDir()
	books(t, dir, 3)
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Rename(path("key"), path("ledger.key")); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path("ledger/keyring"))
	if err != nil {
		t.Fatal(err)
	}
	rotate := func(code int, args ...string) string {
		t.Helper()
		return say(t, code, append([]string{"rotate", "--evidence", dir}, args...)...)
	}
	want := func(text string, keys int) {
		t.Helper()
		ring, err := os.ReadFile(path("ledger/keyring"))
		if err != nil || strings.Count(string(ring), "\n") != keys || !strings.Contains(text, strings.Split(string(ring), "\n")[keys-1]) {
			t.Errorf("said %q, %v; want the last of %d keys\n%s", text, err, keys, ring)
		}
	}
	rotate(2)
	want(rotate(0, "--new", path("second.key")), 2)
	want(rotate(0, "--new", path("second.key")), 2)
	if text := rotate(2, "--new", path("third.key")); !strings.Contains(text, "was rotated out") {
		t.Errorf("with the first key again: %s", text)
	}
	want(rotate(0, "--ledger-key", path("second.key"), "--new", path("third.key")), 3)
	keys := 3
	t.Run("token", func(t *testing.T) {
		hsm := softhsm.New(t)
		hsm.MakeKey(t, "ledger", "01")
		want(rotate(0, "--ledger-key", path("third.key"), "--new", hsm.URI("id=%01")), 4)
		want(rotate(0, "--ledger-key", hsm.URI("id=%01"), "--new", path("fifth.key")), 5)
		keys = 5
	})
	ring, err := ledger.ParseKeyring(before)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := ledger.Verify(t.Context(), ledger.Folder(path("ledger")), ring, nil); err != nil || len(v.Keys) != keys {
		t.Errorf("Verify with the first key = %d keys, %v; want %d", len(v.Keys), err, keys)
	}
}
