//go:build linux

package ledger_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ringfence.dev/ringfence/ledger"
)

// child is the variable that makes this test binary a process that writes a ledger; its value is what it does.
const child = "LEDGER_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		if err := write(os.Getenv(child), os.Getenv("LEDGER_DIR"), os.Getenv("LEDGER_KEY"), os.Getenv("LEDGER_RUN")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// write appends records from eight goroutines and prints "ack <index> <id>" for each that was acknowledged. Done with
// "once" after one record, and with "full" it limits the size of its files, which is how a full disk looks to it.
func write(what, dir, keyFile, run string) error {
	key, err := ledger.LoadKey(keyFile)
	if err != nil {
		return err
	}
	l, err := ledger.Open(ledger.Config{Dir: dir, Key: key})
	if err != nil {
		return err
	}
	defer l.Close()
	if what == "full" {
		limit := syscall.Rlimit{Cur: 40 << 10, Max: 40 << 10} // SIGXFSZ does not end a Go program
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			return err
		}
	}
	var out sync.Mutex
	var group sync.WaitGroup
	failed := make(chan error, 8)
	for g := range 8 {
		group.Go(func() {
			for i := 0; i == 0 || what != "once"; i++ {
				id := fmt.Sprintf("%s.%d.%d", run, g, i)
				index, err := l.Append(context.Background(), sample(id))
				if err != nil {
					failed <- err
					return
				}
				out.Lock()
				fmt.Printf("ack %d %s\n", index[0], id)
				out.Unlock()
			}
		})
	}
	group.Wait()
	close(failed)
	return <-failed
}

// start starts a process that writes.
func start(t *testing.T, what, dir, keyFile string, run int, stdout, stderr io.Writer) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), child+"="+what, "LEDGER_DIR="+dir, "LEDGER_KEY="+keyFile, fmt.Sprint("LEDGER_RUN=r", run))
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// TestKill kills a writing process at a random moment, 50 times, or as often as LEDGER_KILLS says: every record that was
// acknowledged is in the log at its index, once, and every checkpoint that was ever seen is of one history.
func TestKill(t *testing.T) {
	kills := 50
	if n, err := strconv.Atoi(os.Getenv("LEDGER_KILLS")); err == nil {
		kills = n
	}
	dir, keyFile := filepath.Join(t.TempDir(), "ledger"), filepath.Join(t.TempDir(), "key")
	key, err := ledger.NewKey(keyFile, origin)
	if err != nil {
		t.Fatal(err)
	}
	acked, err := os.Create(filepath.Join(t.TempDir(), "acked"))
	if err != nil {
		t.Fatal(err)
	}
	defer acked.Close()
	var seen [][]byte
	for run := range kills {
		var stderr strings.Builder
		cmd := start(t, "forever", dir, keyFile, run, acked, &stderr)
		before := size(t, acked)
		for i := 0; run%4 > 0 && i < 500 && size(t, acked) == before; i++ { // every fourth is killed while it starts, too
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(80_000)) * time.Microsecond)
		if checkpoint, err := os.ReadFile(filepath.Join(dir, "checkpoint")); err == nil {
			seen = append(seen, checkpoint)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); stderr.Len() > 0 {
			t.Fatalf("run %d: %v: %s", run, err, stderr.String())
		}
	}
	l := open(t, dir, key)
	ids, again := map[string]uint64{}, 0
	v, err := ledger.Verify(t.Context(), l.Source(), ledger.Keyring{key.Public}, func(e ledger.Entry) error {
		r, err := e.Record()
		if _, twice := ids[r.ID]; twice {
			again++
		}
		ids[r.ID] = e.Index
		return err
	})
	if err != nil || again > 0 {
		t.Fatalf("Verify = %v; %d ids are there twice", err, again)
	}
	for _, checkpoint := range seen {
		if err := v.Anchor(t.Context(), l.Source(), checkpoint); err != nil {
			t.Errorf("a checkpoint that was seen: %v", err)
		}
	}
	count := 0
	if _, err := acked.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(acked); lines.Scan(); {
		var index uint64
		var id string
		if n, _ := fmt.Sscanf(lines.Text(), "ack %d %s", &index, &id); n != 2 {
			continue // cut by the kill
		}
		count++
		if found, ok := ids[id]; !ok || found != index {
			t.Errorf("%s was acknowledged at %d; found it %v at %d", id, index, ok, found)
		}
	}
	t.Logf("%d kills, %d acknowledged, %d in the log, %d checkpoints seen", kills, count, len(ids), len(seen))
	if count == 0 || len(seen) == 0 {
		t.Error("nothing was acknowledged: this shows nothing")
	}
}

// TestKillAtTheStart kills a process again and again while it makes the ledger: the next one can always go on.
func TestKillAtTheStart(t *testing.T) {
	for round := range 10 {
		dir, keyFile := filepath.Join(t.TempDir(), "ledger"), filepath.Join(t.TempDir(), "key")
		key, err := ledger.NewKey(keyFile, origin)
		if err != nil {
			t.Fatal(err)
		}
		var out, stderr strings.Builder
		cmd := start(t, "forever", dir, keyFile, round, &out, &stderr)
		for range 10_000 { // until the first of its files is there
			if files, _ := os.ReadDir(dir); len(files) > round%4 {
				break
			}
			time.Sleep(50 * time.Microsecond)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		open(t, dir, key)
	}
}

// size is how long a file is.
func size(t *testing.T, f *os.File) int64 {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestFullDisk shows that a write that does not fit is an error, that nothing acknowledged is lost by it, and that the
// ledger goes on when there is room again.
func TestFullDisk(t *testing.T) {
	dir, keyFile := filepath.Join(t.TempDir(), "ledger"), filepath.Join(t.TempDir(), "key")
	key, err := ledger.NewKey(keyFile, origin)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	if err := start(t, "full", dir, keyFile, 1, &stdout, &stderr).Wait(); err == nil || !strings.Contains(stderr.String(), "append to the ledger in "+dir) {
		t.Errorf("a write beyond the limit = %v: %s; want an error that names the ledger", err, stderr.String())
	}
	acked := strings.Count(stdout.String(), "ack ")
	l := open(t, dir, key)
	fill(t, l, "after", 300)
	v, err := ledger.Verify(t.Context(), l.Source(), ledger.Keyring{key.Public}, nil)
	if err != nil || acked == 0 || v.Tree.N < int64(acked)+300 {
		t.Errorf("Verify = %d entries, %v; want at least %d acknowledged and 300", v.Tree.N, err, acked)
	}
}

// TestRepair shows that one process goes on after a failed write, without being started anew.
func TestRepair(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	l := open(t, dir, key)
	fill(t, l, "a", 10)
	if err := os.Mkdir(filepath.Join(dir, "checkpoint.new"), 0o750); err != nil { // the next checkpoint cannot be written
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), sample("lost")); err == nil {
		t.Fatal("Append = nil, want an error")
	}
	if err := os.Remove(filepath.Join(dir, "checkpoint.new")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), sample("soon")); err == nil {
		t.Error("Append at once after a failed write = nil, want the error again")
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := l.Append(t.Context(), sample("lost"), sample("later")); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if v, err := ledger.Verify(t.Context(), l.Source(), ledger.Keyring{key.Public}, nil); err != nil || v.Tree.N != 12 {
		t.Errorf("Verify = %d entries, %v; want 12: ten, lost and later", v.Tree.N, err)
	}
}

// TestOtherUser opens a ledger as a user that may not write it.
func TestOtherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	base, err := os.MkdirTemp("", "ledger")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(base, "key")
	if _, err := ledger.NewKey(keyFile, origin); err != nil || os.Chown(keyFile, 65534, 65534) != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(base, "ledger.test")
	data, err := os.ReadFile(os.Args[0])
	if err != nil || os.WriteFile(binary, data, 0o755) != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd := exec.Command(binary)
	cmd.Dir = base
	cmd.Env = []string{child + "=once", "LEDGER_DIR=" + filepath.Join(base, "ledger"), "LEDGER_KEY=" + keyFile, "LEDGER_RUN=r"}
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := cmd.Run(); err == nil || !strings.Contains(stderr.String(), "may write") {
		t.Errorf("Open as another user = %v: %s; want an error that says what to do", err, stderr.String())
	}
}
