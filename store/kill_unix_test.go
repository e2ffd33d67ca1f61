//go:build linux

package store_test

import (
	"context"
	"errors"
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

	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store"
	"ringfence.dev/ringfence/store/storetest"
)

// child is the variable that makes this test binary a process that fills a store; its value is what it does.
const child = "STORE_CHILD"

// killed is how many records the processes that are killed write.
const killed = 10_000

func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		if err := fillAsChild(os.Getenv(child), os.Getenv("STORE_PATH")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fillAsChild adds entries from where the store stands, a few at a time. Done with "full" the size of its files is limited,
// which is how a full disk looks to it.
func fillAsChild(what, path string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Path: path})
	if err != nil {
		return err
	}
	if what == "full" {
		limit := syscall.Rlimit{Cur: 600 << 10, Max: 600 << 10} // SIGXFSZ does not end a Go program
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			return err
		}
	}
	entries := storetest.Entries(storetest.Generate(31, killed)...)
	state, err := s.State(ctx)
	for at := state.Next; err == nil && at < killed; {
		n := min(killed-at, 1+rand.Uint64N(4))
		err = s.Append(ctx, storetest.Origin, entries[at:at+n])
		at += n
		fmt.Println(at)
	}
	return err
}

// start starts a process that fills.
func start(t *testing.T, what, path string, out io.Writer) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), child+"="+what, "STORE_PATH="+path)
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// signal is written to once something happened.
type signal struct {
	once sync.Once
	seen chan struct{} // closed then
}

func (s *signal) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.seen) })
	return len(p), nil
}

// TestKill kills a filling process at a random moment, 20 times, or as often as STORE_KILLS says. Each time the file is
// sound, and what it holds is what all entries before its place come to, no more and no less.
func TestKill(t *testing.T) {
	kills := 20
	if n, err := strconv.Atoi(os.Getenv("STORE_KILLS")); err == nil {
		kills = n
	}
	records := storetest.Generate(31, killed)
	path := filepath.Join(t.TempDir(), "store.db")
	fresh := open(t, filepath.Join(t.TempDir(), "fresh.db"))
	var last, grew uint64
	for run := range kills {
		grows := signal{seen: make(chan struct{})}
		cmd := start(t, "fill", path, &grows)
		if run%4 > 0 { // every fourth is killed while it starts, too
			select {
			case <-grows.seen:
			case <-time.After(time.Minute):
			}
		}
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		s, err := store.Open(t.Context(), store.Config{Path: path})
		if err != nil {
			t.Fatalf("kill %d: %v", run, err)
		}
		state, err := s.State(t.Context())
		if err = errors.Join(err, s.Check(t.Context())); err != nil || state.Next < last {
			t.Fatalf("kill %d: State = %+v, %v; want at least %d", run, state, err, last)
		}
		if state.Next > last {
			grew++
		}
		last = state.Next
		same(t, s, fresh, records[:last])
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if grew < uint64(kills)/2 {
		t.Errorf("the store grew between %d of %d kills; want most", grew, kills)
	}
	t.Logf("%d entries after %d kills", last, kills)
}

// same compares counts of what a store holds, and its newest part, with one that was filled without a fault.
func same(t *testing.T, s, fresh *store.Store, records []record.Record) {
	t.Helper()
	storetest.Fill(t, fresh, records, 1000)
	for _, ask := range []func(*store.Store) (any, error){
		func(s *store.Store) (any, error) { return s.State(t.Context()) },
		func(s *store.Store) (any, error) { return s.Totals(t.Context()) },
		func(s *store.Store) (any, error) { return s.Producers(t.Context()) },
		func(s *store.Store) (any, error) {
			all, _, err := s.Findings(t.Context(), store.FindingFilter{Page: store.Page{Limit: 200, Newest: true}})
			return all, err
		},
		func(s *store.Store) (any, error) {
			all, _, err := s.Scanned(t.Context(), store.ScannedFilter{State: store.ScanOpen, Page: store.Page{Limit: 1000}})
			return all, err
		},
	} {
		got, err := ask(s)
		want, wrong := ask(fresh)
		if err != nil || wrong != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("after %d entries: %.300v, %v; want %.300v, %v", len(records), got, err, want, wrong)
		}
	}
}

// TestDiskFull fills until there is no more room, and goes on when there is.
func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	var out strings.Builder
	if err := start(t, "full", path, &out).Wait(); err == nil || !strings.Contains(out.String(), "fix: make room") {
		t.Fatalf("a full disk: %v, %s; want an error that says what to do", err, out.String())
	}
	records := storetest.Generate(31, killed)[:2000]
	s := open(t, path)
	state, err := s.State(t.Context())
	if err = errors.Join(err, s.Check(t.Context())); err != nil || state.Next == 0 || state.Next >= 2000 {
		t.Fatalf("State = %+v, %v; want some of 2,000", state, err)
	}
	storetest.Fill(t, s, records, 100)
	same(t, s, open(t, filepath.Join(t.TempDir(), "fresh.db")), records)
}
