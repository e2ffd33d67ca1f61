package store_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store"
	"ringfence.dev/ringfence/store/storetest"
)

// keep opens a ledger with records until the test ends.
func keep(t testing.TB, origin string, records ...record.Record) (*ledger.Log, string) {
	t.Helper()
	key, err := ledger.NewKey(filepath.Join(t.TempDir(), "key"), origin)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "ledger")
	l, err := ledger.Open(ledger.Config{Dir: dir, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if _, err := l.Append(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
	return l, dir
}

// follow fills a store from a ledger until stop is called, which returns Follow's error.
func follow(s *store.Store, l *ledger.Log) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- s.Follow(ctx, store.FromLedger(l), store.FollowOptions{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	}()
	return func() error { cancel(); return <-done }
}

// until waits until the store is filled up to an index.
func until(t testing.TB, s *store.Store, next uint64) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		state, err := s.State(t.Context())
		if err != nil || time.Since(start) > 30*time.Second {
			t.Fatalf("State = %+v, %v; want next %d", state, err, next)
		}
		if state.Next >= next {
			return
		}
	}
}

// TestRebuild makes a store anew, from the ledger's own files, and asks everything before and after.
func TestRebuild(t *testing.T) {
	records := storetest.Generate(21, 1500)
	l, dir := keep(t, storetest.Origin, records...)
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path)
	stop := follow(s, l)
	until(t, s, l.Size())
	if err := s.Remember(t.Context(), storetest.Ref("user1"), "eve", time.Now()); err != nil {
		t.Fatal(err)
	}
	retention := store.Retention{"native-refusal.v1": 24 * time.Hour, "change.v1": 48 * time.Hour, "silence.v1": time.Hour}
	now := storetest.Start().Add(1200 * 7 * time.Minute)
	for d := range 4 { // day after day, as it is run
		if _, err := s.Retain(t.Context(), retention, now.Add(time.Duration(d-3)*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	want := storetest.Answers(t, s, records)

	from, err := store.FromFolder(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Rebuild(t.Context(), path, from, retention, now); !errors.Is(err, store.ErrLocked) {
		t.Errorf("Rebuild beside Follow: %v; want ErrLocked", err)
	}
	if err := errors.Join(stop(), s.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := store.Rebuild(t.Context(), path, from, retention, now)
	if err != nil || r.Entries != l.Size() || r.People != 1 || r.Unnamed != nil {
		t.Fatalf("Rebuild = %+v, %v", r, err)
	}
	again := open(t, path)
	storetest.Same(t, want, storetest.Answers(t, again, records))
	if err := errors.Join(again.Check(t.Context()), again.Catch(t.Context(), store.FromLedger(l)), again.Close()); err != nil {
		t.Error(err)
	}

	// What is damaged is made anew too; then the names are gone, and that is said.
	if err := os.Truncate(path, 5000); err != nil {
		t.Fatal(err)
	}
	r, err = store.Rebuild(t.Context(), path, from, retention, now)
	if err != nil || r.Entries != l.Size() || !errors.Is(r.Unnamed, store.ErrDamaged) {
		t.Fatalf("Rebuild over a damaged one = %+v, %v; want ErrDamaged told of", r, err)
	}
	last := open(t, path)
	if p, err := last.Person(t.Context(), storetest.Ref("user1")); err != nil || p.Name != "" {
		t.Errorf("Person = %+v, %v; want no name", p, err)
	}
}

// TestRebuildOverNewer: after a rollback the store is of a newer version. It is made anew with the people in it; where they cannot be read
// it is left alone, for nothing else has their names.
func TestRebuildOverNewer(t *testing.T) {
	l, dir := keep(t, storetest.Origin, storetest.Generate(25, 50)...)
	from, err := store.FromFolder(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	newer := func(change string) string {
		path := filepath.Join(t.TempDir(), "store.db")
		s := open(t, path)
		if err := errors.Join(s.Remember(t.Context(), storetest.Ref("user1"), "eve", time.Now()), s.Close()); err != nil {
			t.Fatal(err)
		}
		db := raw(t, path)
		if _, err := db.Exec(change + "; PRAGMA user_version=1000"); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := newer("ALTER TABLE people ADD COLUMN department TEXT")
	r, err := store.Rebuild(t.Context(), path, from, nil, time.Now())
	if err != nil || r.Entries != l.Size() || r.People != 1 || r.Unnamed != nil {
		t.Fatalf("Rebuild over a newer one = %+v, %v; want its one person", r, err)
	}
	if p, err := open(t, path).Person(t.Context(), storetest.Ref("user1")); err != nil || p.Name != "eve" {
		t.Errorf("Person = %+v, %v; want eve", p, err)
	}
	path = newer("ALTER TABLE people RENAME TO persons")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := store.Rebuild(t.Context(), path, from, nil, time.Now()); !errors.Is(err, store.ErrNewer) {
		t.Errorf("Rebuild over one whose people cannot be read = %+v, %v; want ErrNewer", r, err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the newer store was changed: %v", err)
	}
}

// TestForeignLedger follows another ledger than before, and a shorter one.
func TestForeignLedger(t *testing.T) {
	records := storetest.Generate(22, 300)
	l, _ := keep(t, storetest.Origin, records...)
	s := open(t, filepath.Join(t.TempDir(), "store.db"))
	if err := s.Catch(t.Context(), store.FromLedger(l)); err != nil {
		t.Fatal(err)
	}
	other, _ := keep(t, "ringfence.dev/ledger/other", records...)
	shorter, _ := keep(t, storetest.Origin, records[:200]...)
	changed, _ := keep(t, storetest.Origin, storetest.Generate(23, 400)...)
	for name, l := range map[string]*ledger.Log{"other": other, "shorter": shorter, "changed": changed} {
		stop := follow(s, l)
		time.Sleep(100 * time.Millisecond)
		if err := stop(); !errors.Is(err, store.ErrForeign) {
			t.Errorf("%s: %v; want ErrForeign", name, err)
		}
	}
}

// TestTwoFollow lets two fill one store.
func TestTwoFollow(t *testing.T) {
	l, _ := keep(t, storetest.Origin, storetest.Generate(24, 10)...)
	path := filepath.Join(t.TempDir(), "store.db")
	a, b := open(t, path), open(t, path)
	stop := follow(a, l)
	until(t, a, l.Size())
	if err := b.Follow(t.Context(), store.FromLedger(l), store.FollowOptions{}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("the second: %v; want ErrLocked", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
