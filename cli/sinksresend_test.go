//go:build unix

package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/ledger"
)

// TestSinksResend: what was put aside goes to the sink of the configuration, once; a running Ringfence, a sink that is not named
// and a wrong use are refused.
func TestSinksResend(t *testing.T) {
	dir := t.TempDir()
	books(t, dir, 3)
	aside, out, file := filepath.Join(dir, "sinks", "archive.aside.jsonl"), filepath.Join(dir, "out.jsonl"), filepath.Join(dir, "sinks.yaml")
	line := `{"time":"2026-11-21T12:00:00Z","sink":"archive","index":1,"id":"r1","reason":"too large","data":{}}` + "\n"
	if err := errors.Join(os.Mkdir(filepath.Dir(aside), 0o700), os.WriteFile(aside, []byte(line), 0o600),
		os.WriteFile(file, []byte("sinks:\n  - name: archive\n    type: file\n    path: "+out+"\n    format: record\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	resend := func(code int, want string, args ...string) {
		t.Helper()
		var said bytes.Buffer
		got := Main(t.Context(), append([]string{"sinks", "resend"}, args...), Env{Stdout: &said, Stderr: &said, Now: time.Now})
		if got != code || !strings.Contains(said.String(), want) {
			t.Errorf("%v: exit code %d, want %d and %q in\n%s", args, got, code, want, &said)
		}
	}
	with := func(args ...string) []string { return append(args, "--sinks", file, "--evidence", dir) }
	resend(2, "want the name of one sink", with("archive")...)
	resend(2, "want the name of one sink", with("archive", "--all", "--id", "r1")...)
	resend(2, `names no sink "other"`, with("other", "--all")...)
	resend(0, "r1  entry 1  would be sent; put aside 2026-11-21T12:00:00Z: too large", with("archive", "--all", "--dry-run")...)
	resend(1, "sent: 0, still refused: 0, left in the file: 1", with("archive", "--id", "r2")...)
	held, err := ledger.Hold(filepath.Join(dir, "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	resend(2, "stop Ringfence first", with("archive", "--all")...)
	held.Close()
	resend(0, "sent: 1, still refused: 0", with("archive", "--id", "r1")...)
	resend(0, "sent: 0, still refused: 0", with("archive", "--all")...)
	text, err := os.ReadFile(out)
	if err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), `"id":"r1"`) {
		t.Errorf("the sink has %s, %v; want r1 once", text, err)
	}
	if _, err := os.Stat(aside); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of what was put aside: %v, want none", err)
	}
}
