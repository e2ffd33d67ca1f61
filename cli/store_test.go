package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store"
)

// TestStoreCommands makes a store of a ledger, checks it, and forgets somebody whom a record names.
func TestStoreCommands(t *testing.T) {
	dir := t.TempDir()
	key, err := ledger.NewKey(filepath.Join(dir, "ledger.key"), "ringfence.dev/ledger/test")
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ledger.Config{Dir: filepath.Join(dir, "ledger"), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	secret, keyFile := bytes.Repeat([]byte{7}, 32), filepath.Join(dir, "actor.key")
	who := record.Reference(secret, "eve@bank.example")
	_, err = l.Append(t.Context(), record.Record{ID: "a", Cluster: "local", Producer: "audit", Seq: 1, Time: time.Unix(1_800_000_000, 0).UTC(), Kind: "native-refusal.v1",
		Body: json.RawMessage(`{"refused":true,"operation":"CREATE","actor":{"ref":"` + who + `"},"notPassed":[]}`)})
	err = errors.Join(err, l.Close(), os.WriteFile(keyFile, []byte(strings.Repeat("07", 32)+"\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "store.db")
	run := func(want string, args ...string) {
		t.Helper()
		var out, prose bytes.Buffer
		code := Main(t.Context(), args, Env{Stdout: &out, Stderr: &prose, Now: time.Now})
		if code != 0 || !strings.Contains(out.String(), want) {
			t.Fatalf("%q: exit code %d, %s%s; want 0 and %q", args, code, out.String(), prose.String(), want)
		}
	}
	run("1 entries of ringfence.dev/ledger/test", "store", "rebuild", "--ledger", filepath.Join(dir, "ledger"), "--store", path, "--keep", "silence.v1=24h")
	s, err := store.Open(t.Context(), store.Config{Path: path})
	if err == nil {
		err = errors.Join(s.Remember(t.Context(), who, "eve@bank.example", time.Now()), s.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	run("1 entries", "store", "rebuild", "--ledger", filepath.Join(dir, "ledger"), "--store", path)
	run("sound, 1 entries", "store", "check", "--store", path)
	run("forgotten: "+who, "store", "people", "forget", "eve@bank.example", "--key", keyFile, "--store", path)
	if s, err = store.Open(t.Context(), store.Config{Path: path}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if all, _, err := s.Findings(t.Context(), store.FindingFilter{}); err != nil || len(all) != 1 || !all[0].Actor.Forgotten || all[0].Actor.Name != "" {
		t.Errorf("Findings = %+v, %v; want one of somebody who was forgotten", all, err)
	}
}
