package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/store"
	"ringfence.dev/ringfence/store/storetest"
)

// raw is the file without the store.
func raw(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// made is a closed store with some records.
func made(t testing.TB, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path)
	storetest.Fill(t, s, storetest.Generate(1, n), 100)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBadFiles(t *testing.T) {
	change := func(do func(data []byte) []byte) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, do(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	run := func(text string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			if _, err := raw(t, path).Exec(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		harm func(t *testing.T, path string)
		want error
		text string
	}{
		"cut off":        {change(func(d []byte) []byte { return d[:len(d)/2] }), store.ErrDamaged, "ringfence store rebuild"},
		"cut to a bit":   {change(func(d []byte) []byte { return d[:50] }), store.ErrDamaged, "ringfence store rebuild"},
		"another format": {change(func([]byte) []byte { return []byte(strings.Repeat("hello ", 1000)) }), store.ErrDamaged, "no SQLite file"},
		"first pages":    {change(func(d []byte) []byte { clear(d[100:9000]); return d }), store.ErrDamaged, "ringfence store rebuild"},
		"newer":          {run("PRAGMA user_version=1000"), store.ErrNewer, "use that version"},
		"another program": {func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			run("CREATE TABLE a (b); PRAGMA user_version=1")(t, path)
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, store.ErrDamaged, "another program"},
		"readable by others": {func(t *testing.T, path string) {
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
		}, nil, "chmod 600"},
		"a folder": {func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, store.ErrDamaged, "no file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := made(t, 200)
			c.harm(t, path)
			before, _ := os.ReadFile(path)
			for _, readOnly := range []bool{false, true} {
				s, err := store.Open(t.Context(), store.Config{Path: path, ReadOnly: readOnly})
				if err == nil {
					err = errors.Join(s.Check(t.Context()), s.Close())
				}
				if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
					t.Errorf("Open, ReadOnly %v: %v; want %v with %q", readOnly, err, c.want, c.text)
				}
			}
			if after, _ := os.ReadFile(path); name != "first pages" && !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

// TestDamageWithin flips bytes in the middle: the check finds it, or a query says so.
func TestDamageWithin(t *testing.T) {
	path := made(t, 500)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 4096; at < len(data)-4096; at += 7 * 4096 {
		clear(data[at : at+2048])
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), store.Config{Path: path, ReadOnly: true})
	if err == nil {
		err = errors.Join(s.Check(t.Context()), s.Close())
	}
	if !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Check: %v; want ErrDamaged", err)
	}
}

func TestFileIsPrivateAndQuestionsDoNotWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a?b#c%20d", "store.db")
	s := open(t, path)
	storetest.Fill(t, s, storetest.Generate(1, 50), 100)
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want 0600", name, info, err)
		}
	}
	hold, err := raw(t, strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if got, _, err := s.Records(t.Context(), store.RecordFilter{}); err != nil || len(got) < 40 || time.Since(start) > 4*time.Second { // a writer waits for five
		t.Errorf("Records while another writes: %d, %v after %v", len(got), err, time.Since(start))
	}
	if err := s.Remember(t.Context(), storetest.Ref("eve"), "eve", time.Now()); !errors.Is(err, store.ErrLocked) {
		t.Errorf("Remember while another writes: %v; want ErrLocked", err)
	}
	if err := hold.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := store.Open(t.Context(), store.Config{Path: path, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Remember(t.Context(), storetest.Ref("eve"), "eve", time.Now()); err == nil {
		t.Error("a store that is open for questions was written")
	}
}

// TestReadOnlyDisk writes where only reading is allowed. SQLite is told by the file's open mode, so root is told too.
func TestReadOnlyDisk(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	path := made(t, 20)
	if err := errors.Join(os.Chmod(path, 0o400), os.Chmod(filepath.Dir(path), 0o500)); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(filepath.Dir(path), 0o700)
	if _, err := store.Open(t.Context(), store.Config{Path: path}); err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("Open: %v; want that it cannot be written", err)
	}
}

// TestForgottenIsGone looks for a name in the bytes of all files.
func TestForgottenIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path)
	holds := func() (where []string) {
		files, _ := filepath.Glob(path + "*")
		for _, name := range files {
			if data, err := os.ReadFile(name); err != nil || bytes.Contains(data, []byte("mallory@bank")) {
				where = append(where, filepath.Base(name))
			}
		}
		return where
	}
	for i := range 50 {
		if err := s.Remember(t.Context(), storetest.Ref(fmt.Sprint(i)), fmt.Sprintf("mallory@bank.example %d", i), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if len(holds()) == 0 {
		t.Fatal("the name is not there; want it there before")
	}
	for i := range 50 {
		if err := s.Forget(t.Context(), storetest.Ref(fmt.Sprint(i)), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if where := holds(); len(where) > 0 {
		t.Errorf("the name is still in %q", where)
	}
}

// old is a store of an earlier version.
func old(t *testing.T, version int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("testdata/v%d.sql", version))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "old.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := raw(t, path).Exec(string(text)); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOldWaivers: version 4 takes waivers, which earlier ones did not keep, of the bodies of records.
func TestOldWaivers(t *testing.T) {
	path := old(t, 3)
	r := storetest.Request("w", 1000, storetest.Start(), "CREATE", "ns", "app", "eve", false, storetest.Fail{Control: "RF-A", Outcome: "Fail", Action: "Warn"},
		storetest.Fail{Control: "RF-B", Outcome: "Fail", Action: "Warn", Waiver: "by-ticket"}, storetest.Fail{Control: "RF-C", Outcome: "Fail", Action: "Warn", Waiver: `it's "debt"`})
	db := raw(t, path)
	for _, err := range []error{
		run(db, "INSERT INTO records VALUES (1000, 'w', 1, 2, 1000, 0, 0, 8, 1, 0, ?)", []byte(r.Body)),
		run(db, "INSERT INTO records VALUES (1001, 'x', 1, 2, 1001, 0, 0, 8, 1, 0, ?)", []byte(`{"waiver":`)), // no ledger has it
		run(db, "INSERT INTO decisions VALUES (1000, 0, 8, 0, 'CREATE', 1, 1, 1), (1001, 0, 8, 0, 'CREATE', 1, 1, 1)"),
		run(db, "INSERT INTO findings SELECT i, n, 0, 0, 1, 1, 1, 'Fail', 'Warn', '', '' FROM (SELECT 1000 AS i, 0 AS n UNION SELECT 1000, 1 UNION SELECT 1000, 2 UNION SELECT 1001, 0)"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, _, err := open(t, path).Findings(t.Context(), store.FindingFilter{Range: store.Range{Until: time.Unix(1, 0)}})
	var waivers []string
	for _, f := range got {
		waivers = append(waivers, f.Waiver)
	}
	if want := []string{"", "by-ticket", `it's "debt"`, ""}; err != nil || !slices.Equal(waivers, want) {
		t.Errorf("the waivers are %q, %v; want %q", waivers, err, want)
	}
}

func run(db *sql.DB, text string, args ...any) error {
	_, err := db.Exec(text, args...)
	return err
}

// TestOldVersions opens stores of every earlier version, from their text, and gets the answers of a new one.
func TestOldVersions(t *testing.T) {
	records := storetest.Generate(11, 40)
	fresh := open(t, filepath.Join(t.TempDir(), "fresh.db"))
	storetest.Fill(t, fresh, records, 100)
	want := storetest.Answers(t, fresh, records)
	for v := 1; v < store.Version(); v++ {
		path := old(t, v)
		if _, err := store.Open(context.Background(), store.Config{Path: path, ReadOnly: true}); err == nil {
			t.Errorf("version %d was opened for questions without being brought here", v)
		}
		s := open(t, path)
		storetest.Same(t, want, storetest.Answers(t, s, records))
		more := append(records, storetest.Generate(12, 80)[40:]...)
		storetest.Fill(t, s, more, 100)
		storetest.Fill(t, fresh, more, 100)
		storetest.Same(t, storetest.Answers(t, fresh, more), storetest.Answers(t, s, more))
	}
}
