package ledger_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

const origin = "ringfence.dev/ledger/test"

// sample is a record with an id.
func sample(id string) record.Record {
	return record.Record{ID: id, Cluster: "local", Producer: "audit", Seq: 1, Time: time.Unix(1_800_000_000, 5).UTC(), Kind: "native-refusal.v1",
		CatalogueDigest: "sha256:" + strings.Repeat("ab", 32), Body: json.RawMessage(`{"z":1,"a":["<é>",1e3,null]}`)}
}

// newKey makes a key beside the ledger.
func newKey(t testing.TB) ledger.Key {
	t.Helper()
	key, err := ledger.NewKey(filepath.Join(t.TempDir(), "key"), origin)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// open opens a ledger until the test ends.
func open(t testing.TB, dir string, key ledger.Key) *ledger.Log {
	t.Helper()
	l, err := ledger.Open(ledger.Config{Dir: dir, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// fill appends n records whose ids are prefix and a number.
func fill(t testing.TB, l *ledger.Log, prefix string, n int) {
	t.Helper()
	for from := 0; from < n; from += 100 {
		var records []record.Record
		for i := from; i < min(n, from+100); i++ {
			records = append(records, sample(fmt.Sprint(prefix, i)))
		}
		if _, err := l.Append(t.Context(), records...); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAppendReadAndReopen(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	for _, size := range []int{0, 1, 2, 255, 256, 257, 511, 512, 513, 1200} {
		l := open(t, dir, key)
		fill(t, l, "a", size) // those that are there already are not added again
		if got := l.Size(); got != uint64(size) {
			t.Fatalf("Size = %d, want %d", got, size)
		}
		seen := 0
		v, err := ledger.Verify(t.Context(), ledger.Folder(dir), ledger.Keyring{key.Public}, func(e ledger.Entry) error {
			r, err := e.Record()
			if want := fmt.Sprint("a", seen); err != nil || r.ID != want || e.Index != uint64(seen) {
				t.Errorf("entry %d holds %s, %v; want %s", e.Index, r.ID, err, want)
			}
			seen++
			return nil
		})
		if err != nil || seen != size || v.Tree.N != int64(size) {
			t.Fatalf("Verify = %+v, %v after %d entries; want %d", v.Tree, err, seen, size)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAppendTogether(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	l := open(t, dir, key)
	var wait sync.WaitGroup
	indexes := make([]uint64, 700)
	for i := range indexes {
		wait.Go(func() {
			got, err := l.Append(t.Context(), sample(fmt.Sprint("t", i)), sample("same"))
			if err != nil {
				t.Error(err)
				return
			}
			indexes[i] = got[0]
		})
	}
	wait.Wait()
	if l.Size() != 701 {
		t.Errorf("Size = %d, want 701: one for each call and one that all had", l.Size())
	}
	for i, index := range indexes {
		entries, err := l.Read(t.Context(), index, 1)
		if err != nil || len(entries) != 1 {
			t.Fatalf("Read(%d) = %d entries, %v", index, len(entries), err)
		}
		if r, err := entries[0].Record(); err != nil || r.ID != fmt.Sprint("t", i) {
			t.Errorf("entry %d holds %s, %v; want t%d", index, r.ID, err, i)
		}
	}
}

func TestProofs(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	ring := ledger.Keyring{key.Public}
	l := open(t, dir, key)
	server := httptest.NewServer(ledger.Handler(l))
	defer server.Close()
	var older [][]byte
	for _, size := range []int{1, 3, 256, 300, 600} {
		fill(t, l, "p", size)
		older = append(older, l.Checkpoint())
	}
	tree, err := ledger.OpenCheckpoint(l.Checkpoint(), ring)
	if err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]ledger.Source{"folder": l.Source(), "http": ledger.HTTP(server.Client(), server.URL)} {
		v, err := ledger.Verify(t.Context(), source, ring, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, outside := range older {
			if err := v.Anchor(t.Context(), source, outside); err != nil {
				t.Errorf("%s: Anchor: %v", name, err)
			}
		}
		for _, index := range []uint64{0, 255, 256, 599} {
			e, proof, err := ledger.Inclusion(t.Context(), source, tree, index)
			if err != nil {
				t.Errorf("%s: Inclusion(%d): %v", name, index, err)
			}
			e.Statement = bytes.Replace(e.Statement, []byte("local"), []byte("other"), 1)
			if err := ledger.CheckInclusion(proof, tree, e); !errors.Is(err, ledger.ErrDamaged) {
				t.Errorf("%s: CheckInclusion of another entry at %d = %v, want ErrDamaged", name, index, err)
			}
		}
	}
	for _, path := range []string{"/tile/0/002.p/89", "/tile/entries/002", "/tile/0/x000/000", "/tile/9/000", "/lock", "/tile/entries/../../lock", "/tile/0/2"} {
		if response, err := server.Client().Get(server.URL + path); err != nil || response.StatusCode != 404 {
			t.Errorf("GET %s = %v, %v; want 404", path, response.StatusCode, err)
		}
	}
}

// TestInsider drops a record and signs the log anew with the right key: it verifies by itself, and not against any
// checkpoint that was published before.
func TestInsider(t *testing.T) {
	key := newKey(t)
	ring := ledger.Keyring{key.Public}
	honest := open(t, t.TempDir(), key)
	var outside [][]byte
	for _, size := range []int{50, 60, 300} {
		fill(t, honest, "r", size)
		outside = append(outside, honest.Checkpoint())
	}
	forged := open(t, t.TempDir(), key)
	for i := range 320 {
		if i != 42 { // the refusal that was not to be seen
			if _, err := forged.Append(t.Context(), sample(fmt.Sprint("r", i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	v, err := ledger.Verify(t.Context(), forged.Source(), ring, nil)
	if err != nil {
		t.Fatalf("Verify = %v; the forged log is sound by itself", err)
	}
	for _, checkpoint := range outside {
		if err := v.Anchor(t.Context(), forged.Source(), checkpoint); !errors.Is(err, ledger.ErrRewritten) {
			t.Errorf("Anchor = %v, want ErrRewritten", err)
		}
	}
	short := open(t, t.TempDir(), key)
	fill(t, short, "r", 290)
	v, err = ledger.Verify(t.Context(), short.Source(), ring, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Anchor(t.Context(), short.Source(), outside[2]); !errors.Is(err, ledger.ErrRewritten) {
		t.Errorf("Anchor of a log that lost its end = %v, want ErrRewritten", err)
	}
}

// TestEveryBit flips one bit in many places of every file: Verify finds each, and names the entry where it can.
func TestEveryBit(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	l := open(t, dir, key)
	fill(t, l, "b", 600)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ring := ledger.Keyring{key.Public}
	for _, name := range []string{"checkpoint", "tile/0/000", "tile/0/001", "tile/entries/000", "tile/entries/001", "tile/entries/002.part"} {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		step := max(1, len(data)/30)
		for at := 0; at < len(data); at += step {
			wrong := bytes.Clone(data)
			wrong[at] ^= 1 << (at % 8)
			if err := os.WriteFile(path, wrong, 0o640); err != nil {
				t.Fatal(err)
			}
			_, err := ledger.Verify(t.Context(), ledger.Folder(dir), ring, nil)
			if !errors.Is(err, ledger.ErrDamaged) && !errors.Is(err, ledger.ErrCheckpoint) {
				t.Errorf("bit %d of byte %d of %s flipped: Verify = %v, want ErrDamaged", at%8, at, name, err)
			}
			var fault *ledger.Fault
			if strings.HasPrefix(name, "tile/entries") && (!errors.As(err, &fault) || fault.Last-fault.First >= 256) {
				t.Errorf("byte %d of %s: Verify = %v, want a fault within the bundle", at, name, err)
			}
		}
		if err := os.WriteFile(path, data, 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSwapped changes entries for other sound ones, so that only hashes can tell.
func TestSwapped(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	l := open(t, dir, key)
	fill(t, l, "s", 600)
	l.Close()
	for index, name := range map[uint64]string{300: "tile/entries/001", 599: "tile/entries/002.part"} {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		r := sample(fmt.Sprint("s", index))
		was, _ := ledger.Encode(r)
		r.Producer = "guard"
		is, _ := ledger.Encode(r)
		if len(was) != len(is) || !bytes.Contains(data, was) {
			t.Fatalf("%s does not hold %s", name, was)
		}
		if err := os.WriteFile(path, bytes.Replace(data, was, is, 1), 0o640); err != nil {
			t.Fatal(err)
		}
		_, err = ledger.Verify(t.Context(), ledger.Folder(dir), ledger.Keyring{key.Public}, nil)
		var fault *ledger.Fault
		if !errors.As(err, &fault) || fault.First > index || fault.Last < index || index < 512 && fault.First != fault.Last {
			t.Errorf("entry %d changed: Verify = %v, want a fault that names it", index, err)
		}
		os.WriteFile(path, data, 0o640)
	}
}

func TestRotation(t *testing.T) {
	dir, first := t.TempDir(), newKey(t)
	l := open(t, dir, first)
	fill(t, l, "k", 10)
	before := l.Checkpoint()
	second, third := newKey(t), newKey(t)
	for i, next := range []ledger.Key{second, third} {
		if err := l.Rotate(next, "local", time.Unix(1_800_000_000, 0)); err != nil {
			t.Fatal(err)
		}
		fill(t, l, fmt.Sprint("after", i, "-"), 10)
	}
	l.Close()
	for _, old := range []ledger.Key{first, second, newKey(t)} {
		if _, err := ledger.Open(ledger.Config{Dir: dir, Key: old}); !errors.Is(err, ledger.ErrWrongKey) {
			t.Errorf("Open with a key that was rotated out, or an unknown one = %v, want ErrWrongKey", err)
		}
	}
	l = open(t, dir, third)
	v, err := ledger.Verify(t.Context(), l.Source(), ledger.Keyring{first.Public}, nil)
	if err != nil || !slices.Equal(v.Keys, ledger.Keyring{first.Public, second.Public, third.Public}) {
		t.Fatalf("Verify with the first key = %v, %v; want all three keys", v.Keys, err)
	}
	if err := v.Anchor(t.Context(), l.Source(), before); err != nil {
		t.Errorf("Anchor of a checkpoint of the first key: %v", err)
	}
	if _, err := ledger.Verify(t.Context(), l.Source(), ledger.Keyring{newKey(t).Public}, nil); err == nil {
		t.Error("Verify with a key that never signed = nil, want an error")
	}
}

func TestFaultsAtOpen(t *testing.T) {
	for name, c := range map[string]struct {
		break_ func(dir string) error
		want   error
	}{
		"no checkpoint":    {func(dir string) error { return os.Remove(filepath.Join(dir, "checkpoint")) }, ledger.ErrDamaged},
		"no keyring":       {func(dir string) error { return os.Remove(filepath.Join(dir, "keyring")) }, ledger.ErrDamaged},
		"no last bundle":   {func(dir string) error { return os.Remove(filepath.Join(dir, "tile/entries/001.part")) }, ledger.ErrDamaged},
		"last bundle cut":  {func(dir string) error { return os.Truncate(filepath.Join(dir, "tile/entries/001.part"), 1000) }, ledger.ErrDamaged},
		"no tile":          {func(dir string) error { return os.Remove(filepath.Join(dir, "tile/0/000")) }, ledger.ErrDamaged},
		"empty checkpoint": {func(dir string) error { return os.Truncate(filepath.Join(dir, "checkpoint"), 0) }, ledger.ErrDamaged},
		"clock an hour back": {func(dir string) error {
			return os.Chtimes(filepath.Join(dir, "checkpoint"), time.Time{}, time.Now().Add(time.Hour))
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir, key := t.TempDir(), newKey(t)
			l := open(t, dir, key)
			fill(t, l, "f", 300)
			if _, err := ledger.Open(ledger.Config{Dir: dir, Key: key}); !errors.Is(err, ledger.ErrLocked) {
				t.Errorf("Open twice = %v, want ErrLocked", err)
			}
			l.Close()
			if err := c.break_(dir); err != nil {
				t.Fatal(err)
			}
			l, err := ledger.Open(ledger.Config{Dir: dir, Key: key})
			if !errors.Is(err, c.want) {
				t.Fatalf("Open = %v, want %v", err, c.want)
			}
			if err == nil {
				fill(t, l, "g", 1)
				if tree, err := ledger.OpenCheckpoint(l.Checkpoint(), l.Keyring()); err != nil || tree.N != 301 {
					t.Errorf("the checkpoint counts %d, %v; want 301", tree.N, err)
				}
				l.Close()
			}
		})
	}
}

// TestTornTail shows that what a killed process left half-written is cut off, and what is whole is kept and signed.
func TestTornTail(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	l := open(t, dir, key)
	fill(t, l, "f", 300)
	l.Close()
	whole, err := ledger.Encode(sample("whole"))
	if err != nil {
		t.Fatal(err)
	}
	frame := append([]byte{byte(len(whole) >> 8), byte(len(whole))}, whole...)
	for name, tail := range map[string][]byte{"half": frame[:len(frame)/2], "zeros": make([]byte, 5000), "one byte": {0}, "other bytes": append([]byte{0, 3}, "abc"...)} {
		path := filepath.Join(dir, "tile/entries/001.part")
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(append(bytes.Clone(frame), tail...)); err != nil {
			t.Fatal(err)
		}
		f.Close()
		l := open(t, dir, key)
		before := l.Size()
		if _, err := l.Append(t.Context(), sample("after "[:5]+strings.ReplaceAll(name, " ", "-"))); err != nil {
			t.Fatal(err)
		}
		l.Close()
		if v, err := ledger.Verify(t.Context(), ledger.Folder(dir), ledger.Keyring{key.Public}, nil); err != nil || v.Tree.N != int64(before)+1 || before < 301 {
			t.Errorf("%s: Verify = %d entries, %v; want %d", name, v.Tree.N, err, before+1)
		}
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	key, err := ledger.NewKey(path, origin)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ledger.LoadKey(path); err != nil || again.Public != key.Public {
		t.Errorf("LoadKey = %s, %v; want %s", again.Public, err, key.Public)
	}
	if _, err := ledger.NewKey(path, origin); !errors.Is(err, os.ErrExist) {
		t.Errorf("NewKey over a key = %v, want ErrExist", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.LoadKey(path); !errors.Is(err, ledger.ErrKey) {
		t.Errorf("LoadKey of a file that others may read = %v, want ErrKey", err)
	}
	secret := "PRIVATE+KEY+a+00000000+AAAA"
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil || os.Chmod(path, 0o600) != nil {
		t.Fatal(err)
	}
	if _, err := ledger.LoadKey(path); !errors.Is(err, ledger.ErrKey) || strings.Contains(err.Error(), "AAAA") {
		t.Errorf("LoadKey of no key = %v, want ErrKey without the secret", err)
	}
}

func TestTooLarge(t *testing.T) {
	l := open(t, t.TempDir(), newKey(t))
	r := sample("large")
	r.Body = json.RawMessage(`{"a":"` + strings.Repeat("x", ledger.MaxEntry) + `"}`)
	if _, err := l.Append(context.Background(), r); !errors.Is(err, ledger.ErrTooLarge) {
		t.Errorf("Append = %v, want ErrTooLarge", err)
	}
}

// TestLast shows that numbers go on where they stopped, whether the file that saves time is there, old or wrong.
func TestLast(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	for i, text := range []string{"", "-", `{"size":1,"last":{"local/audit":{"Seq":1}}}`, `{"size":9999}`, "{"} {
		if text != "" && text != "-" {
			if err := os.WriteFile(filepath.Join(dir, "last"), []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
		} else if text == "-" {
			os.Remove(filepath.Join(dir, "last"))
		}
		l := open(t, dir, key)
		last := l.Last("local")["audit"]
		if last.Seq != uint64(i) || i > 0 && !last.Time.Equal(sample("").Time) || len(l.Last("other")) > 0 {
			t.Errorf("%s: Last = %+v, want %d", text, last, i)
		}
		r := sample(fmt.Sprint("l", i))
		r.Seq = last.Seq + 1
		if _, err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}

// TestSink joins a queue and a ledger, as the control plane does.
func TestSink(t *testing.T) {
	l := open(t, t.TempDir(), newKey(t))
	q, err := record.NewQueue(record.QueueConfig{Cluster: "local", Now: time.Now, Log: slog.New(slog.DiscardHandler), Sink: l.Sink})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	large := sample("large")
	large.Body = json.RawMessage(`{"a":"` + strings.Repeat("x", ledger.MaxEntry) + `"}`)
	if n := q.Add("audit", sample("a"), large, sample("b")); n != 0 {
		t.Errorf("Add refused %d", n)
	}
	if err := q.Put(ctx, "audit", sample("c")); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	var got []string
	for at := uint64(0); ; {
		entries, err := l.Read(t.Context(), at, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			r, err := e.Record()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s/%d", r.Producer, r.Seq))
			at = e.Index + 1
		}
	}
	if want := "audit/1 audit/3 audit/4 record/1"; strings.Join(got, " ") != want {
		t.Errorf("the ledger holds %v, want %s: the large one is a hole, and the loss a record", got, want)
	}
}
