package server

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSocketPath: a socket that a killed process left is replaced; a file that lies at the path, of whatever mistake, is kept.
func TestSocketPath(t *testing.T) {
	dir := shortDir(t)
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s")})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	s, err := New(Config{Socket: filepath.Join(dir, "s")}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("at a socket that was left behind: %v", err)
	}
	s.Close()

	file := filepath.Join(dir, "platform.yaml")
	if err := os.WriteFile(file, []byte("kind: Platform\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err = New(Config{Socket: file}, slog.New(slog.DiscardHandler))
	if err == nil {
		s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "is no socket; fix: ") {
		t.Errorf("at a file: %v", err)
	}
	if text, err := os.ReadFile(file); string(text) != "kind: Platform\n" {
		t.Errorf("the file holds %q, %v; want what it held", text, err)
	}
}

// TestSecretsWhole: of a file that is longer than is read nothing counts, for the token at the cut would be another one.
func TestSecretsWhole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	token := strings.Repeat("a", 63) + "\n"
	for size, want := range map[int]bool{maxSecret: true, maxSecret + len(token): false} {
		if err := os.WriteFile(file, []byte(strings.Repeat(token, size/len(token))), 0o600); err != nil {
			t.Fatal(err)
		}
		if tokens, err := readTokens(file); (err == nil) != want {
			t.Errorf("%d bytes: %d tokens, %v; want them to count: %t", size, len(tokens), err, want)
		}
	}
}
