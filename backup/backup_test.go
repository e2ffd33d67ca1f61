package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"ringfence.dev/ringfence/backup"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// hub is a folder of evidence as `serve` makes it, with who can open its backups.
type hub struct {
	dir  string
	key  ledger.Key
	log  *ledger.Log
	safe *age.X25519Identity
	next int
}

func newHub(t *testing.T, entries int) *hub {
	t.Helper()
	h := &hub{dir: filepath.Join(t.TempDir(), "evidence")}
	var err error
	if h.safe, err = age.GenerateX25519Identity(); err != nil {
		t.Fatal(err)
	}
	if h.key, err = ledger.NewKey(filepath.Join(h.dir, "ledger.key"), "ringfence.dev/ledger/test"); err != nil {
		t.Fatal(err)
	}
	if h.log, err = ledger.Open(ledger.Config{Dir: filepath.Join(h.dir, "ledger"), Key: h.key}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.log.Close() })
	h.append(t, entries)
	for name, text := range map[string]string{"actor.key": strings.Repeat("ab", 32) + "\n", "catalogue": "sha256:1\n", "audit-file.cursor": "{}", "sinks/siem.cursor": "7",
		"sinks/siem.aside.jsonl": "{}\n{\"half", "witnessed/" + strings.Repeat("0a", 32) + ".checkpoint": "c\n", "portal/session": "a token that was good once", "strange": "?",
		"checkpoints/0/1.checkpoint": "c\n", "notes/one": "?", "notes/two": "?", "witness.key": "k\n"} {
		path := filepath.Join(h.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(h.dir, "store.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref := func(c string) string { return "hmac-sha256:" + strings.Repeat(c, 64) }
	if err := errors.Join(s.Catch(t.Context(), store.FromLedger(h.log)), s.Remember(t.Context(), ref("a"), "eve@bank.example", noon), s.Forget(t.Context(), ref("b"), noon)); err != nil {
		t.Fatal(err)
	}
	return h
}

// append adds entries, many at a time.
func (h *hub) append(t *testing.T, n int) {
	t.Helper()
	var all []record.Record
	for range n {
		all = append(all, record.Record{ID: fmt.Sprint("r", h.next), Cluster: "local", Producer: "audit", Seq: uint64(h.next) + 1, Time: noon, Kind: "policy-gap.v1", CatalogueDigest: "sha256:" + strings.Repeat("cd", 32),
			Body: json.RawMessage(`{"object":{"apiVersion":"v1","kind":"ValidatingAdmissionPolicy","name":"p"},"what":"missing","since":"2026-11-21T12:02:00Z","until":"2026-11-21T12:03:00Z"}`)})
		h.next++
	}
	if _, err := h.log.Append(t.Context(), all...); err != nil {
		t.Error(err)
	}
}

func (h *hub) config() backup.Config {
	return backup.Config{Dir: h.dir, Key: h.key, KeyPath: filepath.Join(h.dir, "ledger.key"), Recipients: []age.Recipient{h.safe.Recipient()}, Now: func() time.Time { return noon }}
}

func (h *hub) backup(t *testing.T) ([]byte, backup.Summary) {
	t.Helper()
	var to bytes.Buffer
	s, err := backup.Write(t.Context(), &to, h.config())
	if err != nil {
		t.Fatal(err)
	}
	return to.Bytes(), s
}

// restore puts an archive back into a folder that is not there, and holds it to be whole or nothing.
func (h *hub) restore(t *testing.T, archive []byte, checkpoints ...[]byte) (string, backup.Summary, error) {
	t.Helper()
	around := t.TempDir()
	dir := filepath.Join(around, "deep", "evidence")
	s, err := backup.Restore(t.Context(), bytes.NewReader(archive), backup.Target{Dir: dir, Identities: []age.Identity{h.safe}, Checkpoints: checkpoints, Now: func() time.Time { return noon }})
	if err == nil {
		return dir, s, nil
	}
	_ = filepath.WalkDir(around, func(path string, d fs.DirEntry, _ error) error {
		if path != around && path != filepath.Join(around, "deep") {
			t.Errorf("%s is there after a restore that failed", path)
		}
		return nil
	})
	return dir, s, err
}

// TestRoundTrip: what was backed up while the ledger grew comes back, verifies with the checkpoints from before, and goes on without a fork.
func TestRoundTrip(t *testing.T) {
	h := newHub(t, 300)
	before := h.log.Checkpoint()
	ctx, stop := context.WithCancel(t.Context())
	grown := make(chan struct{})
	go func() {
		defer close(grown)
		for ctx.Err() == nil {
			h.append(t, 40)
		}
	}()
	archive, s := h.backup(t)
	stop()
	<-grown
	if bytes.Contains(archive, []byte("PRIVATE")) || bytes.Contains(archive, []byte("eve@")) || bytes.Contains(archive, []byte(strings.Repeat("ab", 32))) {
		t.Error("the archive holds keys or names in the clear")
	}
	if s.Entries < 300 || s.People != 2 || !slices.Equal(s.Left, []string{"notes/", "strange"}) {
		t.Errorf("%+v, want 300 entries or more, 2 people, and the strange folder and file named, each once", s)
	}
	dir, r, err := h.restore(t, archive, before)
	if err != nil || r.Entries != s.Entries || r.People != 2 || r.Files != s.Files {
		t.Fatalf("restore: %+v %v, want %+v", r, err, s)
	}
	for name, want := range map[string]string{"actor.key": strings.Repeat("ab", 32) + "\n", "sinks/siem.aside.jsonl": "{}\n", "sinks/siem.cursor": "7", "witness.key": "k\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"portal", "checkpoints", "notes", "strange", "people.jsonl", "seal", "ledger/lock.new"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s came back: %v", name, err)
		}
	}
	again := *h
	if again.log, err = ledger.Open(ledger.Config{Dir: filepath.Join(dir, "ledger"), Key: h.key}); err != nil {
		t.Fatal(err)
	}
	defer again.log.Close()
	again.next = 1 << 20
	again.append(t, 600)
	ring := again.log.Keyring()
	v, err := ledger.Verify(t.Context(), again.log.Source(), ring[:1], nil)
	if err != nil || v.Tree.N != s.Entries+600 || v.Anchor(t.Context(), again.log.Source(), before) != nil {
		t.Errorf("%d entries, %v, want %d that begin with those of before", v.Tree.N, err, s.Entries+600)
	}
	made, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "store.db"), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	eve, err := made.Person(t.Context(), "hmac-sha256:"+strings.Repeat("a", 64))
	gone, err2 := made.Person(t.Context(), "hmac-sha256:"+strings.Repeat("b", 64))
	if eve.Name != "eve@bank.example" || !gone.Forgotten || err != nil || err2 != nil {
		t.Errorf("%+v %+v %v %v, want eve, and who was forgotten", eve, gone, err, err2)
	}
	if state, err := made.State(t.Context()); err != nil || int64(state.Next) != s.Entries {
		t.Errorf("the store has %d entries, %v, want %d", state.Next, err, s.Entries)
	}
}

// TestRollback: an archive that lacks what a checkpoint from outside counts, or is of another history, comes not back.
func TestRollback(t *testing.T) {
	h := newHub(t, 3)
	archive, _ := h.backup(t)
	h.append(t, 2)
	if _, _, err := h.restore(t, archive, h.log.Checkpoint()); !errors.Is(err, ledger.ErrRewritten) || !strings.Contains(err.Error(), "has 3 entries") {
		t.Errorf("%v, want ErrRewritten with both counts", err)
	}
	if _, _, err := h.restore(t, archive, newHub(t, 2).log.Checkpoint()); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("with another ledger's checkpoint: %v, want ErrCheckpoint", err)
	}
}

// TestTaken: nothing is replaced; a hub that runs is named; a mount is no folder to make; what a killed restore left is named.
func TestTaken(t *testing.T) {
	h := newHub(t, 3)
	archive, _ := h.backup(t)
	at := func(dir string) error {
		_, err := backup.Restore(t.Context(), bytes.NewReader(archive), backup.Target{Dir: dir, Identities: []age.Identity{h.safe}, Now: time.Now})
		return err
	}
	if err := at(h.dir); !errors.Is(err, backup.ErrTaken) || !strings.Contains(err.Error(), "Ringfence runs on it") {
		t.Errorf("over a live hub: %v", err)
	}
	if err := h.log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := at(h.dir); !errors.Is(err, backup.ErrTaken) || strings.Contains(err.Error(), "runs") {
		t.Errorf("over a hub that stands still: %v", err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := errors.Join(os.Mkdir(empty, 0o700), os.Mkdir(empty+".restoring", 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := at(empty); !errors.Is(err, backup.ErrTaken) || !strings.Contains(err.Error(), ".restoring") {
		t.Errorf("beside a restore that was killed: %v", err)
	}
	if err := errors.Join(os.Remove(empty+".restoring"), at(empty)); err != nil {
		t.Errorf("into an empty folder: %v", err)
	}
}

// TestNoBackup: a ledger that does not verify, and a key that is not its own, give no backup.
func TestNoBackup(t *testing.T) {
	h := newHub(t, 600)
	cfg := h.config()
	var err error
	if cfg.Key, err = ledger.NewKey(filepath.Join(t.TempDir(), "other"), "ringfence.dev/ledger/test"); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Write(t.Context(), io.Discard, cfg); !errors.Is(err, ledger.ErrWrongKey) {
		t.Errorf("with another key: %v", err)
	}
	for _, name := range []string{"tile/entries/000", "tile/0/001", "tile/entries/002.part"} {
		path := filepath.Join(h.dir, "ledger", name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(text)
		bad[len(bad)/2] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := backup.Write(t.Context(), io.Discard, h.config()); !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("with a byte of %s changed: %v, want ErrDamaged", name, err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// opened are the files of an archive.
func (h *hub) opened(t *testing.T, archive []byte) (headers []*tar.Header, texts [][]byte) {
	t.Helper()
	plain, err := age.Decrypt(bytes.NewReader(archive), h.safe)
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(plain); ; {
		header, err := files.Next()
		if err == io.EOF {
			return headers, texts
		}
		text, err2 := io.ReadAll(files)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		headers, texts = append(headers, header), append(texts, text)
	}
}

// closed is an archive of files, encrypted to who can open it, as anybody can make one.
func (h *hub) closed(t *testing.T, headers []*tar.Header, texts [][]byte) []byte {
	t.Helper()
	var to bytes.Buffer
	sealed, err := age.Encrypt(&to, h.safe.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	files := tar.NewWriter(sealed)
	for i, header := range headers {
		if header.Typeflag == tar.TypeReg {
			header.Size = int64(len(texts[i]))
		}
		if err := files.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Write(texts[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(files.Close(), sealed.Close()); err != nil {
		t.Fatal(err)
	}
	return to.Bytes()
}

// TestHostileArchive: what was cut, changed, made by another or is none at all leaves nothing behind, anywhere.
func TestHostileArchive(t *testing.T) {
	h := newHub(t, 300)
	archive, _ := h.backup(t)
	fails := func(what string, archive []byte, want error, says string) {
		t.Helper()
		if _, _, err := h.restore(t, archive); !errors.Is(err, want) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %v that says %q", what, err, want, says)
		}
	}
	for _, n := range []int{0, 10, 300, len(archive) / 2, len(archive) - 1} {
		fails(fmt.Sprintf("cut to %d bytes", n), archive[:n], backup.ErrArchive, "")
	}
	for _, at := range []int{30, 150, 400, len(archive) / 2, len(archive) - 1} {
		bad := bytes.Clone(archive)
		bad[at] ^= 1
		fails(fmt.Sprintf("byte %d changed", at), bad, backup.ErrArchive, "")
	}
	fails("more after its end", append(bytes.Clone(archive), "more"...), backup.ErrArchive, "")
	fails("no archive", []byte("PK\x03\x04 a zip file"), backup.ErrArchive, "")
	fails("for somebody else", func() []byte { a, _ := newHub(t, 1).backup(t); return a }(), backup.ErrArchive, "none of the 1 identities")

	edit := func(change func(*[]*tar.Header, *[][]byte)) []byte {
		headers, texts := h.opened(t, archive)
		change(&headers, &texts)
		return h.closed(t, headers, texts)
	}
	put := func(at int, header tar.Header, text string) []byte {
		return edit(func(hs *[]*tar.Header, ts *[][]byte) {
			*hs = append((*hs)[:at:at], append([]*tar.Header{&header}, (*hs)[at:]...)...)
			*ts = append((*ts)[:at:at], append([][]byte{[]byte(text)}, (*ts)[at:]...)...)
		})
	}
	if _, _, err := h.restore(t, edit(func(*[]*tar.Header, *[][]byte) {})); err != nil {
		t.Fatalf("packed anew as it was: %v", err)
	}
	for _, name := range []string{"../evil", "/etc/evil", "ledger/../../evil", "ledger/tile/0/../../evil", "sinks/../../evil.cursor", "sinks/..", "ledger\\evil", "portal/session", "", "ledger/tile/entries/000/evil"} {
		fails("a file "+name, put(1, tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600}, "evil"), backup.ErrArchive, "")
	}
	fails("a link", put(1, tar.Header{Typeflag: tar.TypeSymlink, Name: "sinks", Linkname: "/tmp"}, ""), backup.ErrArchive, "of type")
	fails("a folder", put(1, tar.Header{Typeflag: tar.TypeDir, Name: "sinks/"}, ""), backup.ErrArchive, "of type")
	fails("a file twice", put(2, tar.Header{Typeflag: tar.TypeReg, Name: "actor.key", Mode: 0o600}, "evil"), backup.ErrArchive, "twice")
	fails("a file more", put(1, tar.Header{Typeflag: tar.TypeReg, Name: "sinks/more.cursor", Mode: 0o600}, "1"), backup.ErrArchive, "SHA256SUMS")
	fails("a newer version", edit(func(_ *[]*tar.Header, ts *[][]byte) { (*ts)[0] = []byte(`{"format":2,"ringfence":"v9.0.0"}`) }), backup.ErrNewer, "v9.0.0")
	fails("no head", edit(func(hs *[]*tar.Header, ts *[][]byte) { *hs, *ts = (*hs)[1:], (*ts)[1:] }), backup.ErrArchive, "first")
	fails("no seal", edit(func(hs *[]*tar.Header, ts *[][]byte) { *hs, *ts = (*hs)[:len(*hs)-1], (*ts)[:len(*ts)-1] }), backup.ErrArchive, "cut short")
	fails("a file after the seal", edit(func(hs *[]*tar.Header, ts *[][]byte) {
		*hs, *ts = append(*hs, &tar.Header{Typeflag: tar.TypeReg, Name: "sinks/z.cursor", Mode: 0o600}), append(*ts, []byte("1"))
	}), backup.ErrArchive, "after the seal")
	other := newHub(t, 5)
	other.safe = h.safe
	theirs, _ := other.backup(t)
	headers, texts := other.opened(t, theirs)
	fails("sealed by another's key", edit(func(_ *[]*tar.Header, ts *[][]byte) { (*ts)[len(*ts)-1] = texts[len(texts)-1] }), backup.ErrArchive, "did not seal")
	if _, _, err := h.restore(t, h.closed(t, headers, texts), h.log.Checkpoint()); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("another ledger, whole and sealed: %v, want ErrCheckpoint", err)
	}
}

// FuzzRestore: whatever an archive that anybody encrypted holds, nothing appears, and nothing panics.
func FuzzRestore(f *testing.F) {
	f.Add([]byte("backup.json"))
	safe, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		var to bytes.Buffer
		sealed, err := age.Encrypt(&to, safe.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sealed.Write(plain); err != nil || sealed.Close() != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "evidence")
		if _, err := backup.Restore(t.Context(), &to, backup.Target{Dir: dir, Identities: []age.Identity{safe}, Now: time.Now}); err == nil {
			t.Error("it was restored")
		}
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v, want no folder", err)
		}
	})
}
