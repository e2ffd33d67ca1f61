package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/store"
)

// stagingSuffix ends the name of the folder in which a restore works until everything is verified.
const stagingSuffix = ".restoring"

var (
	// ErrTaken is wrapped where something lies in the folder that a restore is to make.
	ErrTaken = errors.New("a restore never replaces what is there")
	// ErrNewer is wrapped where a newer version of Ringfence made the archive.
	ErrNewer = errors.New("the backup was made by a newer version of ringfence")
)

// Target says where an archive is put back, and what it must be.
type Target struct {
	// Dir is the folder to make, for `serve --evidence`. It must not be there, or be empty, and is no mount itself.
	Dir string
	// Identities open the archive.
	Identities []age.Identity
	// Checkpoints are those of the ledger from places outside; each must be of the history that comes back.
	Checkpoints [][]byte
	// Keep is how long the store keeps records of a kind; nil for ever.
	Keep store.Retention
	// Now is the clock.
	Now func() time.Time
}

// Restore puts an archive back: all of it, verified, or nothing. Errors wrap ErrArchive, ErrNewer, ErrTaken, ledger.ErrDamaged, or
// ledger.ErrRewritten where a checkpoint from outside counts entries that are not in the archive, or others.
func Restore(ctx context.Context, from io.Reader, t Target) (Summary, error) {
	if err := free(t.Dir); err != nil {
		return Summary{}, err
	}
	dir := filepath.Clean(t.Dir) + stagingSuffix
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return Summary{}, fmt.Errorf("restore: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) {
		return Summary{}, fmt.Errorf("restore %s: %w: %s is there, of a restore that runs or was killed; fix: delete it and run this again", t.Dir, ErrTaken, dir)
	} else if err != nil {
		return Summary{}, fmt.Errorf("restore: %w", err)
	}
	s, err := restore(ctx, from, dir, t)
	if err == nil {
		err = settle(dir, t.Dir)
	}
	if err != nil {
		return Summary{}, errors.Join(fmt.Errorf("restore %s: %w", t.Dir, err), os.RemoveAll(dir))
	}
	return s, nil
}

// free refuses a folder in which something lies.
func free(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if len(entries) == 0 {
		return nil
	}
	runs := ""
	if held, err := ledger.Hold(filepath.Join(dir, "ledger")); err == nil {
		_ = held.Close()
	} else if errors.Is(err, ledger.ErrLocked) {
		runs = ", and Ringfence runs on it"
	}
	return fmt.Errorf("restore: %w: found %s in %s%s; fix: stop Ringfence, move the folder aside and keep it", ErrTaken, entries[0].Name(), dir, runs)
}

// settle gives a folder that is whole its name, once it is on the disk.
func settle(staging, dir string) error {
	if err := filepath.WalkDir(staging, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return durable.SyncFolder(path)
	}); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // it is empty, or this fails
		return fmt.Errorf("%w: %w; want a folder below the mount, which this can make", ErrTaken, err)
	}
	if err := os.Rename(staging, dir); err != nil {
		return err
	}
	return durable.SyncFolder(filepath.Dir(dir))
}

// restore unpacks an archive into a folder that nobody uses yet, and verifies it.
func restore(ctx context.Context, from io.Reader, dir string, t Target) (Summary, error) {
	root, err := os.OpenRoot(dir) // nothing that is written through it can lie elsewhere, whatever its name is
	if err != nil {
		return Summary{}, err
	}
	defer root.Close()
	u := &unpacker{root: root, sums: map[string]string{}}
	s, err := u.all(ctx, from, t.Identities)
	if err != nil {
		return s, err
	}
	ring, err := u.history(ctx, filepath.Join(dir, "ledger"), t.Checkpoints, &s)
	if err != nil {
		return s, err
	}
	if err := u.key(filepath.Join(dir, ledgerKeyFile), ring, s.Head); err != nil {
		return s, err
	}
	return s, u.index(ctx, dir, t, &s)
}

// unpacker writes the files of an archive.
type unpacker struct {
	root   *os.Root
	sums   map[string]string // SHA-256 in hexadecimal, by name
	order  bytes.Buffer      // as SHA256SUMS must be
	people []byte
	sealed []byte // SHA256SUMS
	seal   []byte
}

// all reads an archive to its end, and holds it to its sums.
func (u *unpacker) all(ctx context.Context, from io.Reader, identities []age.Identity) (s Summary, err error) {
	plain, err := age.Decrypt(from, identities...)
	if none := (*age.NoIdentityMatchError)(nil); errors.As(err, &none) {
		return s, fmt.Errorf("%w: none of the %d identities opens it; give the file with the private key of one of its recipients", ErrArchive, len(identities))
	}
	if err != nil {
		return s, fmt.Errorf("%w: %w", ErrArchive, err)
	}
	files := tar.NewReader(plain)
	for {
		header, err := files.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = u.file(header, files, &s)
		}
		if errors.Is(err, ErrNewer) {
			return s, err
		}
		if err != nil {
			return s, fmt.Errorf("%w: %w", ErrArchive, err)
		}
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(plain, 1<<20)); err != nil || n == 1<<20 { // also what follows was encrypted whole
		return s, fmt.Errorf("%w: after its last file come %d bytes: %w", ErrArchive, n, err)
	}
	if u.seal == nil {
		return s, fmt.Errorf("%w: it ends after %d files without a seal: it was cut short", ErrArchive, s.Files)
	}
	return s, nil
}

// file takes one file of an archive.
func (u *unpacker) file(h *tar.Header, from io.Reader, s *Summary) error {
	name := h.Name
	switch {
	case h.Typeflag != tar.TypeReg || h.Size < 0 || h.Size > maxFile:
		return fmt.Errorf("%.80q is of type %q with %d bytes; want a file of at most %d", name, h.Typeflag, h.Size, maxFile)
	case u.seal != nil || s.Files >= maxFiles:
		return fmt.Errorf("%.80q comes after the seal; want nothing", name)
	case (s.Files == 0) != (name == headFile):
		return fmt.Errorf("file %d is %.80q; want %s first, and once", s.Files, name, headFile)
	case u.sealed != nil && name != sealFile:
		return fmt.Errorf("%.80q comes after the sums; want the seal", name)
	case u.sums[name] != "":
		return fmt.Errorf("%.80q is there twice", name)
	}
	s.Files++
	kept := tiles.MatchString(name) || copied.MatchString(name) || name == ledgerKeyFile
	if !kept && name != headFile && name != peopleFile && name != sumsFile && name != sealFile {
		return fmt.Errorf("%.80q is no file of a backup", name)
	}
	data, err := io.ReadAll(from)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	switch name {
	case sumsFile:
		if u.sealed = data; !bytes.Equal(data, u.order.Bytes()) {
			return errors.New("its files are not those of its SHA256SUMS")
		}
		return nil
	case sealFile:
		u.seal = data
		return nil
	}
	u.sums[name] = fmt.Sprintf("%x", sha256.Sum256(data))
	fmt.Fprintf(&u.order, "%s  %s\n", u.sums[name], name)
	if name == headFile {
		return readHead(data, &s.Head)
	}
	if name == peopleFile {
		u.people = data
		return nil
	}
	return u.write(name, data)
}

// readHead reads what an archive says of itself.
func readHead(data []byte, head *Head) error {
	if err := json.Unmarshal(data, head); err != nil {
		return fmt.Errorf("read %s: %w", headFile, err)
	}
	if head.Format > Format {
		return fmt.Errorf("%w: found format %d, of ringfence %.40q; this one reads %d: use that version", ErrNewer, head.Format, head.Ringfence, Format)
	}
	if head.Format != Format {
		return fmt.Errorf("read %s: found format %d; want %d", headFile, head.Format, Format)
	}
	return nil
}

// write writes a file that was not there, on the disk when it returns.
func (u *unpacker) write(name string, data []byte) error {
	if err := u.root.MkdirAll(path.Dir(name), 0o750); err != nil {
		return err
	}
	mode := fs.FileMode(0o600)
	if strings.HasPrefix(name, "ledger/") {
		mode = 0o640 // a group of readers verifies
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// history verifies the ledger, that its key sealed the archive, and that checkpoints from outside are of it.
func (u *unpacker) history(ctx context.Context, dir string, outside [][]byte, s *Summary) (ledger.Keyring, error) {
	from := ledger.Folder(dir)
	text, err := from(ctx, "keyring")
	if err != nil {
		return nil, fmt.Errorf("%w: it has no ledger: %w", ErrArchive, err)
	}
	ring, err := ledger.ParseKeyring(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrArchive, err)
	}
	verifier, err := note.NewVerifier(ring[len(ring)-1])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrArchive, err)
	}
	sealed, err := note.Open(u.seal, note.VerifierList(verifier))
	if err != nil || sealed.Text != sealOf(u.sealed) {
		return nil, fmt.Errorf("%w: the ledger's key did not seal it as it is: %w", ErrArchive, err)
	}
	v, err := ledger.Verify(ctx, from, ring[:1], nil)
	if err != nil {
		return nil, err
	}
	s.Entries = v.Tree.N
	for _, checkpoint := range outside {
		if err := v.Anchor(ctx, from, checkpoint); err != nil {
			return nil, fmt.Errorf("the backup of %s has %d entries: %w", s.Made.Format(time.RFC3339), v.Tree.N, err)
		}
	}
	return ring, nil
}

// key makes sure that whoever goes on can sign.
func (u *unpacker) key(file string, ring ledger.Keyring, head Head) error {
	if head.KeyInToken {
		return nil
	}
	key, err := ledger.LoadKey(file)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrArchive, err)
	}
	if last := ring[len(ring)-1]; key.Public != last {
		return fmt.Errorf("%w: %w: found %s; want %s", ErrArchive, ledger.ErrWrongKey, key.Public, last)
	}
	return nil
}

// index makes the store anew of the ledger, and tells it whom references mean.
func (u *unpacker) index(ctx context.Context, dir string, t Target, s *Summary) error {
	var people []store.Acquaintance
	lines := json.NewDecoder(bytes.NewReader(u.people))
	for lines.More() {
		var a store.Acquaintance
		if err := lines.Decode(&a); err != nil {
			return fmt.Errorf("%w: read %s: %w", ErrArchive, peopleFile, err)
		}
		people = append(people, a)
	}
	from, err := store.FromFolder(ctx, filepath.Join(dir, "ledger"))
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "store.db")
	if _, err := store.Rebuild(ctx, file, from, t.Keep, t.Now()); err != nil {
		return err
	}
	made, err := store.Open(ctx, store.Config{Path: file})
	if err != nil {
		return err
	}
	s.People = len(people)
	return errors.Join(made.Admit(ctx, people), made.Close())
}
