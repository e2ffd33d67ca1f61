//go:build unix

package portal

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"ringfence.dev/ringfence/identity"
)

// TestKill: a process that is killed while it writes loses nothing that it had answered, and what it had revoked stays revoked.
func TestKill(t *testing.T) {
	if dir := os.Getenv("PORTAL_KILL_DIR"); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	for round := range 3 {
		dir := t.TempDir()
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
		child.Env = append(os.Environ(), "PORTAL_KILL_DIR="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		said, lines := map[string]bool{}, bufio.NewScanner(out)
		for lines.Scan() {
			var n int
			var what string
			if _, err := fmt.Sscanf(lines.Text(), "%d %s", &n, &what); err == nil {
				said[fmt.Sprint(n)] = what == "made"
			}
			if len(said) == 10*(round+1) {
				_ = child.Process.Kill()
			}
		}
		_ = child.Wait() // it was killed
		if len(said) < 10 {
			t.Fatalf("the process said %v", said)
		}
		kept, err := openAccounts(dir)
		if err != nil {
			t.Fatal(err)
		}
		for hash, made := range said {
			if (kept.find(hash) != nil) != made {
				t.Errorf("round %d: %s was answered %v and is kept %v", round, hash, made, kept.find(hash) != nil)
			}
		}
	}
}

// writeUntilKilled makes sessions and ends every other one, and says so once it is done.
func writeUntilKilled(t *testing.T, dir string) {
	kept, err := openAccounts(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for n := 0; ; n++ {
		who := identity.Person{Issuer: issuer, Subject: fmt.Sprint(n / 4)}
		if err := kept.change(who, now, func(a *account) error {
			a.Sessions = append(a.Sessions, session{ID: fmt.Sprint(n), Hash: fmt.Sprint(n), Began: now, Used: now})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if n%2 == 0 {
			fmt.Printf("%d made\n", n)
			continue
		}
		if err := kept.change(who, now, func(a *account) error { a.Sessions = a.Sessions[:len(a.Sessions)-1]; return nil }); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%d ended\n", n)
	}
}
