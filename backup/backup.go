// Package backup copies what a hub of Ringfence holds into one encrypted file, while Ringfence runs, and puts it back on
// another machine: the ledger, whom its references mean, the keys, and how far sinks have come. The index over the ledger is
// not copied: it is made anew. What is put back is held to what was sealed, to the ledger's signatures and to checkpoints
// from outside before a folder appears; there is no half of it.
//
// The file is a tar archive encrypted with age (age-encryption.org), which its own program opens too, so keys never lie in the
// clear. It reads no cluster: Platform and Tenants are the bank's. The command line calls it.
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
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/store"
)

const (
	// Format is the version of the archive that this program writes, and the newest that it reads.
	Format = 1
	// headFile is the first file of an archive, sumsFile the last but one, sealFile the last.
	headFile, sumsFile, sealFile = "backup.json", "SHA256SUMS", "seal"
	peopleFile, ledgerKeyFile    = "people.jsonl", "ledger.key"
	// sealText is the first line of what the ledger's key signs: no checkpoint begins like it.
	sealText = "ringfence.dev/backup/v1"
	// maxFile is 512 MiB: the largest bundle of a ledger has 256 entries of a megabyte; what sinks put aside is cut to it.
	maxFile = 512 << 20
	// maxFiles is how many files an archive may have: a ledger of 2,500 million entries.
	maxFiles = 10_000_000
)

// ErrArchive is wrapped where a file is no backup, or not as it was sealed.
var ErrArchive = errors.New("this is no sound backup of ringfence")

// Head is the first file of an archive.
type Head struct {
	// Format is the version of the archive.
	Format int `json:"format"`
	// Ringfence is the version of the program that made it, "" for one of a working tree.
	Ringfence string `json:"ringfence"`
	// Made is when, by the clock of that machine.
	Made time.Time `json:"made"`
	// Ledger is the ledger's name.
	Ledger string `json:"ledger"`
	// KeyInToken says that the ledger's private key is in a token, and not in the archive.
	KeyInToken bool `json:"keyInToken"`
}

// Config says what is copied.
type Config struct {
	// Dir is the folder of `serve --evidence`.
	Dir string
	// Key signs the ledger; it seals the archive.
	Key ledger.Key
	// KeyPath is the file of Key, "" where it is in a token.
	KeyPath string
	// Recipients are the public keys of those who can open the archive; at least one.
	Recipients []age.Recipient
	// Version is that of the program.
	Version string
	// Now is the clock.
	Now func() time.Time
}

// Summary says what an archive holds.
type Summary struct {
	Head
	// Entries is how many the ledger's checkpoint counts.
	Entries int64
	// Files is how many files there are, People how many references to people.
	Files, People int
	// Left are files of the folder that are not copied, and that were not known to be without worth; a folder of them ends in a slash.
	Left []string
}

// copied are the files beside the ledger, by their paths; all are small.
var copied = regexp.MustCompile(`^(actor\.key|witness\.key|catalogue|audit-file\.cursor|witnessed/[0-9a-f]{64}\.checkpoint|sinks/[A-Za-z0-9._-]{1,253}\.(cursor|aside\.jsonl))$`)

// worthless are files that are made anew, or that must not come back: sessions and tokens that were revoked would be good again. Into
// checkpoints `ringfence up` publishes: beside the key they prove nothing.
var worthless = regexp.MustCompile(`^(store\.db.*|portal|checkpoints|ledger|ledger\.key|.*\.new|.*lock)$`)

// folders are those that hold what is copied. Of another one only its name is told: it may hold any number of files.
var folders = regexp.MustCompile(`^(\.|witnessed|sinks)$`)

// tiles are the files of a ledger.
var tiles = regexp.MustCompile(`^ledger/(keyring|checkpoint|tile/([0-5]|entries)/(x[0-9]{3}/){0,5}[0-9]{3}(\.part)?)$`)

// Write copies a hub's folder into an archive, also while Ringfence runs on it. The archive is whole only where no error is
// returned. Errors wrap ledger.ErrDamaged where the ledger does not verify, and ledger.ErrWrongKey.
func Write(ctx context.Context, to io.Writer, cfg Config) (s Summary, err error) {
	if len(cfg.Recipients) == 0 || cfg.Key.Signer == nil {
		return s, errors.New("back up: want whom the archive is for, and the ledger's key")
	}
	sealed, err := age.Encrypt(to, cfg.Recipients...)
	if err != nil {
		return s, fmt.Errorf("back up %s: encrypt: %w", cfg.Dir, err)
	}
	s.Head = Head{Format: Format, Ringfence: cfg.Version, Made: cfg.Now().UTC().Truncate(time.Second), Ledger: cfg.Key.Name(), KeyInToken: cfg.KeyPath == ""}
	w := &writer{tar: tar.NewWriter(sealed), made: s.Made}
	if err := w.all(ctx, cfg, &s); err != nil {
		return s, fmt.Errorf("back up %s: %w", cfg.Dir, err)
	}
	s.Files = w.files
	return s, errors.Join(w.tar.Close(), sealed.Close())
}

// writer writes the files of an archive and their sums.
type writer struct {
	tar   *tar.Writer
	made  time.Time
	sums  bytes.Buffer
	files int
}

// all writes an archive. Cursors come before the ledger: so none says more than the ledger has.
func (w *writer) all(ctx context.Context, cfg Config, s *Summary) error {
	head, err := json.Marshal(s.Head)
	if err == nil {
		err = w.add(headFile, head)
	}
	if err == nil {
		err = w.beside(ctx, cfg.Dir, s)
	}
	if err == nil {
		err = w.people(ctx, filepath.Join(cfg.Dir, "store.db"), s)
	}
	if err == nil && cfg.KeyPath != "" {
		err = w.copy(cfg.KeyPath, ledgerKeyFile)
	}
	if err != nil {
		return err
	}
	ring, tree, err := ledger.Snapshot(ctx, filepath.Join(cfg.Dir, "ledger"), func(name string, data []byte) error { return w.add("ledger/"+name, data) })
	if err != nil {
		return err
	}
	if last := ring[len(ring)-1]; last != cfg.Key.Public {
		return fmt.Errorf("%w: found %s; want %s", ledger.ErrWrongKey, cfg.Key.Public, last)
	}
	s.Entries = tree.N
	sums := w.sums.Bytes()
	seal, err := note.Sign(&note.Note{Text: sealOf(sums)}, cfg.Key)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return errors.Join(w.add(sumsFile, sums), w.add(sealFile, seal))
}

// sealOf is what is signed of an archive.
func sealOf(sums []byte) string { return fmt.Sprintf("%s\n%x\n", sealText, sha256.Sum256(sums)) }

// add writes a file.
func (w *writer) add(name string, data []byte) error {
	fmt.Fprintf(&w.sums, "%x  %s\n", sha256.Sum256(data), name)
	w.files++
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o600, ModTime: w.made, Format: tar.FormatPAX}
	if err := w.tar.WriteHeader(header); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := w.tar.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// beside copies the files beside ledger and store.
func (w *writer) beside(ctx context.Context, dir string, s *Summary) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != dir { // it went away meanwhile
			return nil
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		switch {
		case worthless.MatchString(name) && d.IsDir():
			return fs.SkipDir
		case d.IsDir() && !folders.MatchString(name):
			s.Left = append(s.Left, name+"/")
			return fs.SkipDir
		case d.IsDir() || worthless.MatchString(name):
			return nil
		case !copied.MatchString(name) || !d.Type().IsRegular():
			s.Left = append(s.Left, name)
			return nil
		}
		return w.copy(path, name)
	})
}

// copy copies a small file. What is appended to is copied up to its last whole line.
func (w *writer) copy(path, name string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && name != ledgerKeyFile {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes; fix: send or delete what the sink put aside", path, maxFile)
	}
	if err != nil {
		return err
	}
	if strings.HasSuffix(name, ".jsonl") {
		data = data[:bytes.LastIndexByte(data, '\n')+1]
	}
	return w.add(name, data)
}

// people copies whom references mean: the ledger does not say.
func (w *writer) people(ctx context.Context, path string, s *Summary) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	from, err := store.Open(ctx, store.Config{Path: path, ReadOnly: true})
	if err != nil {
		return fmt.Errorf("copy names of people: %w", err)
	}
	all, err := from.Everybody(ctx)
	if err = errors.Join(err, from.Close()); err != nil {
		return fmt.Errorf("copy names of people: %w", err)
	}
	var text bytes.Buffer
	lines := json.NewEncoder(&text)
	for _, a := range all {
		if err := lines.Encode(a); err != nil {
			return err
		}
	}
	s.People = len(all)
	return w.add(peopleFile, text.Bytes())
}
