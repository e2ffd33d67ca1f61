package witness_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/ledger/witness"
	"ringfence.dev/ringfence/record"
)

// key is a new key with a name.
func key(t *testing.T, name string) ledger.Key {
	t.Helper()
	k, err := ledger.NewKey(filepath.Join(t.TempDir(), "key"), name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// log is a new ledger with a key.
func log(t *testing.T, k ledger.Key) *ledger.Log {
	t.Helper()
	l, err := ledger.Open(ledger.Config{Dir: filepath.Join(t.TempDir(), "ledger"), Key: k})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// grow appends n records whose ids begin with prefix.
func grow(t *testing.T, l *ledger.Log, prefix string, n int) []byte {
	t.Helper()
	var records []record.Record
	for i := range n {
		records = append(records, record.Record{ID: fmt.Sprint(prefix, i), Cluster: "local", Producer: "audit", Seq: 1, Time: time.Unix(1, 0).UTC(),
			Kind: "change.v1", Body: json.RawMessage(`{}`)})
	}
	if _, err := l.Append(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
	return l.Checkpoint()
}

const origin = "ringfence.dev/ledger/test"

// served is a running witness of a ledger's key.
func served(t *testing.T, k, cosigner ledger.Key) (*witness.Witness, string) {
	t.Helper()
	w, err := witness.NewWitness(witness.WitnessConfig{Dir: t.TempDir(), Key: cosigner, Logs: map[string]ledger.Keyring{origin: {k.Public}}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	return w, server.URL
}

// TestPlaces holds every place to the same: it takes a history as it grows, twice the same checkpoint too, also from a publisher
// that was started anew, and refuses one that was rewritten, has another end, or is shorter.
func TestPlaces(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal(err)
	}
	k := key(t, origin)
	_, url := served(t, k, key(t, "witness.example"))
	folder, repo := t.TempDir(), filepath.Join(t.TempDir(), "work")
	remote := filepath.Join(t.TempDir(), "remote.git")
	if out, err := exec.Command("git", "init", "--bare", "--quiet", remote).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s3 := newFakeS3(t)
	for name, place := range map[string]func(l *ledger.Log) witness.Place{
		"bucket":  func(l *ledger.Log) witness.Place { return bucketPlace(t, s3, l) },
		"folder":  func(*ledger.Log) witness.Place { return witness.Folder(folder) },
		"git":     func(*ledger.Log) witness.Place { return witness.Git(repo, remote) },
		"witness": func(l *ledger.Log) witness.Place { return witness.Peer(http.DefaultClient, url, l.Source()) },
	} {
		t.Run(name, func(t *testing.T) {
			honest := log(t, k)
			p := place(honest)
			publish := func(checkpoint []byte) {
				t.Helper()
				if err := p.Publish(t.Context(), checkpoint); err != nil {
					t.Fatal(err)
				}
			}
			publish(honest.Checkpoint())
			publish(grow(t, honest, "a", 3))
			publish(honest.Checkpoint())
			publish(grow(t, honest, "b", 400))
			p = place(honest)
			publish(honest.Checkpoint())
			publish(grow(t, honest, "c", 1))
			short := log(t, k)
			grow(t, short, "a", 3)
			if err := place(short).Publish(t.Context(), short.Checkpoint()); !errors.Is(err, witness.ErrConflict) {
				t.Errorf("a shorter log: %v, want ErrConflict", err)
			}
			other := log(t, k)
			if err := place(other).Publish(t.Context(), grow(t, other, "x", 404)); !errors.Is(err, witness.ErrConflict) {
				t.Errorf("another log of the same size: %v, want ErrConflict", err)
			}
			if name == "witness" || name == "bucket" { // a place without proofs takes it, and an auditor finds it
				if err := place(other).Publish(t.Context(), grow(t, other, "y", 10)); !errors.Is(err, witness.ErrConflict) {
					t.Errorf("another log that is longer: %v, want ErrConflict", err)
				}
			}
		})
	}
	files := 0
	if err := filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files++
		}
		return err
	}); err != nil || files != 4 {
		t.Errorf("the folder holds %d files, %v; want one for each of 4 checkpoints", files, err)
	}
	if out, err := exec.Command("git", "-C", remote, "rev-list", "--count", "main").Output(); err != nil || strings.TrimSpace(string(out)) != "4" {
		t.Errorf("the remote holds %s commits, %v; want 4", out, err)
	}
}

// TestWitnessRefuses sends what C2SP tlog-witness says must be refused.
func TestWitnessRefuses(t *testing.T) {
	k, cosigner := key(t, origin), key(t, "witness.example")
	w, url := served(t, k, cosigner)
	l, stranger, unknown := log(t, k), log(t, key(t, origin)), log(t, key(t, "other.example"))
	send := func(body string) (int, string) {
		t.Helper()
		response, err := http.Post(url+"/add-checkpoint", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(text)
	}
	first := grow(t, l, "a", 5)
	code, line := send("old 0\n\n" + string(first))
	if code != 200 {
		t.Fatalf("the first checkpoint: %d %s", code, line)
	}
	checkCosignature(t, cosigner, first, line)
	second := grow(t, l, "b", 5)
	for name, c := range map[string]struct {
		body string
		want int
	}{
		"another size before":  {"old 0\n\n" + string(second), 409},
		"no proof":             {"old 5\n\n" + string(second), 422},
		"a wrong proof":        {"old 5\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n\n" + string(second), 422},
		"a stranger's key":     {"old 5\n\n" + string(grow(t, stranger, "a", 6)), 403},
		"a log nobody knows":   {"old 0\n\n" + string(unknown.Checkpoint()), 404},
		"old above the size":   {"old 6\n\n" + string(first), 400},
		"no form":              {"hello", 400},
		"a number that is not": {"old 05\n\n" + string(first), 400},
		"too much":             {"old 0\n\n" + strings.Repeat("x", 1<<20), 413},
	} {
		if code, text := send(c.body); code != c.want {
			t.Errorf("%s: %d %s; want %d", name, code, text, c.want)
		}
	}
	if kept, err := w.Latest(origin); err != nil || !bytes.Equal(kept, first) {
		t.Errorf("the witness keeps %s, %v; want the first checkpoint", kept, err)
	}
}

// checkCosignature verifies a line as C2SP tlog-cosignature says, without the code that wrote it.
func checkCosignature(t *testing.T, k ledger.Key, checkpoint []byte, line string) {
	t.Helper()
	fields := strings.Fields(line)
	raw, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
	if err != nil || len(fields) != 3 || fields[0] != "—" || fields[1] != k.Name() || len(raw) != 4+8+64 {
		t.Fatalf("the cosignature is %q", line)
	}
	text, _, _ := strings.Cut(string(checkpoint), "\n\n")
	public, err := base64.StdEncoding.DecodeString(k.Public[strings.LastIndex(k.Public[:len(k.Public)-44], "+")+1:])
	if err != nil {
		t.Fatal(err)
	}
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s\n", binary.BigEndian.Uint64(raw[4:12]), text)
	if !ed25519.Verify(public[1:], []byte(message), raw[12:]) {
		t.Error("the cosignature does not verify")
	}
}

// TestPublisher shows that a place that fails is tried again, is told with its age, and holds up no other.
func TestPublisher(t *testing.T) {
	l := log(t, key(t, origin))
	checkpoint := grow(t, l, "a", 3)
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		var tries atomic.Int32
		refuse := func(context.Context, []byte) error {
			tries.Add(1)
			if up.Load() {
				return nil
			}
			return errors.New("connection refused")
		}
		p, err := witness.New(witness.Config{
			Latest: func() []byte { return checkpoint }, Now: time.Now, Log: slog.New(slog.DiscardHandler),
			Places: []witness.Place{{Name: "down", Publish: refuse}, witness.Folder(folder)},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan bool)
		go func() { p.Run(ctx); close(done) }()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if s := p.Status(); s[0].Behind != 10*time.Minute || s[0].Err != "connection refused" || s[1].Size != 3 || s[1].Behind != 0 {
			t.Errorf("Status = %+v; want the first ten minutes behind and the second not", s)
		}
		if n := tries.Load(); n < 10 || n > 30 {
			t.Errorf("tried %d times in ten minutes; want about one a minute and some at first", n)
		}
		up.Store(true)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if s := p.Status(); s[0].Behind != 0 || s[0].Size != 3 || s[0].Err != "" {
			t.Errorf("Status = %+v; want it back", s[0])
		}
		cancel()
		<-done
	})
	if _, err := os.Stat(folder); err != nil {
		t.Fatal(err)
	}
}
