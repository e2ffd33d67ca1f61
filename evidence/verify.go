package evidence

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"ringfence.dev/ringfence/ledger"
)

var (
	// ErrTampered is wrapped where a bundle, or what it was held to, is not what was signed.
	ErrTampered = errors.New("the evidence is not what was signed")
	// ErrUnreadable is wrapped where a file is no bundle that can be read.
	ErrUnreadable = errors.New("this is no bundle of evidence that can be read")
	// ErrNotComparable is wrapped where the bundle leaves out what a checkpoint from outside would have to be held to.
	ErrNotComparable = errors.New("the bundle cannot be held to this checkpoint")
)

// Fault is what is wrong with a bundle first. It wraps ErrTampered.
type Fault struct {
	// File is the file of the bundle in which it shows.
	File string
	// Entry says that Index and ID tell which entry it is; ID may be empty where it cannot be read.
	Entry bool
	Index uint64
	ID    string
	// What is wrong.
	What string
}

// Error implements error.
func (f *Fault) Error() string {
	if f.Entry {
		return fmt.Sprintf("%v: entry %d (id %.128q) in %s: %s", ErrTampered, f.Index, f.ID, f.File, f.What)
	}
	return fmt.Sprintf("%v: %s: %s", ErrTampered, f.File, f.What)
}

// Unwrap makes every Fault an ErrTampered.
func (f *Fault) Unwrap() error { return ErrTampered }

const (
	maxSmall = 64 << 10 // checkpoint, keyring, sums
	maxText  = 32 << 20 // manifest and page: 10,000 gaps, 1,000 rows
	// maxRatio is how much smaller than its content a bundle may be. Each entry has 32 bytes that no packer makes smaller, and
	// is 1 to 4 KB, so bundles stay below 100; zip bombs are about 1,000.
	maxRatio = 500
)

// Verification is what VerifyBundle found to be true.
type Verification struct {
	// Manifest is what the bundle says of itself; it is what its entries say.
	Manifest Manifest
	// Tree is the size and root that the checkpoint signs.
	Tree tlog.Tree
	// Keys are the key that was trusted and those that follow it in the ledger.
	Keys ledger.Keyring
}

// VerifyOptions say what a bundle is held to.
type VerifyOptions struct {
	// Trusted is the key that the reader got from elsewhere; empty takes the bundle's own first key.
	Trusted ledger.Keyring
	// Outside is a checkpoint that was published outside; empty for none.
	Outside []byte
}

// VerifyBundle verifies a bundle offline: the signature, that each entry stands at its place below it, that the readable page and
// all else say what the entries say, and that a checkpoint from outside is of the same history. Memory does not grow with the
// bundle. Errors wrap ErrTampered, ErrUnreadable or ErrNotComparable, or are ctx's.
func VerifyBundle(ctx context.Context, r io.ReaderAt, size int64, o VerifyOptions) (Verification, error) {
	files, err := openBundle(r, size)
	if err != nil {
		return Verification{}, err
	}
	b := &bundle{files: files, sums: map[string]hash.Hash{}}
	if err := b.head(o); err != nil {
		return Verification{}, err
	}
	if err := b.run(ctx); err != nil {
		return Verification{}, err
	}
	return b.v, errors.Join(b.signature(), b.anchor(o.Outside), b.readable())
}

// openBundle finds the files, and refuses what is no bundle before anything is unpacked.
func openBundle(r io.ReaderAt, size int64) (map[string]*zip.File, error) {
	archive, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; want the file that ringfence evidence export wrote, whole", ErrUnreadable, err)
	}
	files := map[string]*zip.File{}
	var packed, unpacked uint64
	for _, f := range archive.File {
		limit := uint64(maxSmall)
		switch f.Name {
		case entriesFile, treeFile:
			limit = 1 << 48
		case manifestFile, pageFile:
			limit = maxText
		}
		if files[f.Name] != nil || !slices.Contains(bundleFiles(), f.Name) || f.UncompressedSize64 > limit || f.CompressedSize64 > uint64(size) {
			return nil, fmt.Errorf("%w: found the file %.80q with %d bytes; want %s once each", ErrUnreadable, f.Name, f.UncompressedSize64, strings.Join(bundleFiles(), ", "))
		}
		files[f.Name] = f
		packed, unpacked = packed+f.CompressedSize64, unpacked+f.UncompressedSize64
	}
	for _, name := range bundleFiles() {
		if files[name] == nil {
			return nil, fmt.Errorf("%w: it has no file %s", ErrUnreadable, name)
		}
	}
	if packed > uint64(size) || unpacked > maxRatio*uint64(size)+1<<20 {
		return nil, fmt.Errorf("%w: %d bytes would become %d; want at most %d times as many: this is a zip bomb", ErrUnreadable, size, unpacked, maxRatio)
	}
	return files, nil
}

// bundle is a bundle while it is verified.
type bundle struct {
	files   map[string]*zip.File
	sums    map[string]hash.Hash
	v       Verification
	signed  []byte
	ring    ledger.Keyring // as the bundle has it
	before  int            // how many keys of ring come before the trusted one
	passed  int            // how many rotations of those were read
	outside tlog.Tree      // N is -1 for none
	seen    *tlog.Hash     // the root over the entries that outside counts
	forest  forest
	page    *page
	filter  Filter
}

// open reads a file and takes its sum.
func (b *bundle) open(name string) (io.ReadCloser, error) {
	f, err := b.files[name].Open()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreadable, name, err)
	}
	b.sums[name] = sha256.New()
	return struct {
		io.Reader
		io.Closer
	}{io.TeeReader(f, b.sums[name]), f}, nil
}

// read is a small file whole.
func (b *bundle) read(name string) ([]byte, error) {
	f, err := b.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f) // as long as openBundle allowed: package zip reads no more than was declared
	if err != nil {
		return nil, &Fault{File: name, What: "cannot be read: " + err.Error()}
	}
	return data, nil
}

// head reads what must be known before the entries.
func (b *bundle) head(o VerifyOptions) error {
	var err error
	if b.signed, err = b.read(checkpointFile); err != nil {
		return err
	}
	text, err := b.read(keyringFile)
	if err != nil {
		return err
	}
	if b.ring, err = ledger.ParseKeyring(text); err != nil || !bytes.Equal(keyringText(b.ring), text) {
		return &Fault{File: keyringFile, What: fmt.Sprintf("want one verifier key a line: %v", err)}
	}
	b.v.Keys = b.ring[:1]
	if len(o.Trusted) > 0 {
		b.v.Keys = o.Trusted[:1]
		if b.before = slices.Index(b.ring, o.Trusted[0]); b.before < 0 {
			return &Fault{File: checkpointFile, What: "it is not signed by the key that you gave, nor by one that followed it"}
		}
	}
	if b.v.Tree, err = ledger.OpenCheckpoint(b.signed, b.ring); err != nil {
		return &Fault{File: checkpointFile, What: err.Error()}
	}
	b.outside.N = -1
	if len(o.Outside) > 0 {
		if _, b.outside, err = ledger.ParseCheckpoint(string(o.Outside)); err != nil {
			return fmt.Errorf("%w: read the checkpoint from outside: %w", ErrTampered, err)
		}
	}
	return b.readManifest()
}

// run holds the entries to the tree, in one pass over both.
func (b *bundle) run(ctx context.Context) error {
	tree, err := b.open(treeFile)
	if err != nil {
		return err
	}
	defer tree.Close()
	entries, err := b.open(entriesFile)
	if err != nil {
		return err
	}
	defer entries.Close()
	lines, statements := bufio.NewReaderSize(tree, 4096), bufio.NewReaderSize(entries, ledger.MaxEntry+1)
	for b.forest.end() < uint64(b.v.Tree.N) {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := b.forest.end()
		b.note(at)
		text, err := lines.ReadSlice('\n')
		if err != nil {
			return &Fault{File: treeFile, Entry: true, Index: at, What: fmt.Sprintf("its hash cannot be read: %v", err)}
		}
		n, held, err := parseLine(string(text[:len(text)-1]), at)
		if err != nil || n.at+n.size > uint64(b.v.Tree.N) {
			return &Fault{File: treeFile, Entry: true, Index: at, What: fmt.Sprintf("found %.120q; %v", text, errLine)}
		}
		if held {
			if err := b.entry(n, statements); err != nil {
				return err
			}
		}
		b.forest.add(n)
	}
	b.note(b.forest.end())
	for name, rest := range map[string]*bufio.Reader{treeFile: lines, entriesFile: statements} {
		if _, err := rest.ReadByte(); err != io.EOF {
			return &Fault{File: name, What: fmt.Sprintf("there is more in it than the checkpoint counts, or it is damaged: %v", err)}
		}
	}
	if b.forest.root() != b.v.Tree.Hash {
		return &Fault{File: treeFile, What: "entries and hashes agree with each other, and are not what the checkpoint signs; the first bad one is among all of them"}
	}
	return nil
}

// note keeps the root over the entries that the checkpoint from outside counts.
func (b *bundle) note(at uint64) {
	if b.outside.N >= 0 && at == uint64(b.outside.N) && b.seen == nil {
		root := b.forest.root()
		b.seen = &root
	}
}

// entry holds one entry to its hash, its form and the filter.
func (b *bundle) entry(n node, from *bufio.Reader) error {
	fault := &Fault{File: entriesFile, Entry: true, Index: n.at}
	text, err := from.ReadSlice('\n')
	if err != nil {
		fault.What = fmt.Sprintf("it cannot be read, or is missing: %v", err)
		return fault
	}
	e := ledger.Entry{Index: n.at, Statement: text[:len(text)-1]}
	i, err := ItemOf(e)
	fault.ID = i.ID
	if tlog.RecordHash(e.Statement) != n.hash {
		fault.What = "this is not the entry that was signed at this place"
		return fault
	}
	if err == nil {
		_, err = e.Record()
	}
	if err != nil {
		fault.What = err.Error()
		return fault
	}
	if !b.filter.Wants(i) && !b.filter.Beside(i) {
		fault.What = "it is not what " + manifestFile + " says was asked for"
		return fault
	}
	b.page.add(i)
	if i.Kind != ledger.RotationKind {
		return nil
	}
	if b.passed < b.before { // the reader trusts a later key, and so does not have to follow the earlier ones
		if b.passed++; i.About.New != b.ring[b.passed] {
			fault.What = "this rotation is not to the key that " + keyringFile + " names next"
			return fault
		}
		return nil
	}
	if b.v.Keys, err = b.v.Keys.Follow(i.Record); err != nil {
		fault.What = err.Error()
		return fault
	}
	return nil
}

// signature holds the checkpoint to the keys that follow from the trusted one.
func (b *bundle) signature() error {
	if len(b.ring) < len(b.v.Keys) || !slices.Equal(b.ring[len(b.ring)-len(b.v.Keys):], b.v.Keys) {
		return &Fault{File: keyringFile, What: "it is not the key that is trusted and those that followed it in the ledger"}
	}
	if _, err := ledger.OpenCheckpoint(b.signed, b.v.Keys[len(b.v.Keys)-1:]); err != nil {
		return &Fault{File: checkpointFile, What: err.Error()}
	}
	return nil
}

// anchor holds the bundle to the checkpoint from outside.
func (b *bundle) anchor(signed []byte) error {
	if len(signed) == 0 {
		return nil
	}
	switch _, err := ledger.OpenCheckpoint(signed, b.ring); {
	case err != nil:
		return fmt.Errorf("%w: read the checkpoint from outside: %w", ErrTampered, err)
	case b.outside.N > b.v.Tree.N:
		return fmt.Errorf("%w: the checkpoint from outside counts %d entries and the bundle's %d: entries were cut off, or the bundle is older; export it again, or name an older checkpoint", ErrTampered, b.outside.N, b.v.Tree.N)
	case b.seen == nil:
		return fmt.Errorf("%w: it counts %d entries, and the bundle leaves out those round the last of them; export again with --checkpoint and this one", ErrNotComparable, b.outside.N)
	case *b.seen != b.outside.Hash:
		return fmt.Errorf("%w: %w: the first %d entries are not those of the checkpoint from outside", ErrTampered, ledger.ErrRewritten, b.outside.N)
	}
	return nil
}

// readable holds everything that people read to what the entries say.
func (b *bundle) readable() error {
	if m := b.page.manifest(b.v.Keys.Origin(), uint64(b.v.Tree.N)); !bytes.Equal(m.text(), b.v.Manifest.text()) {
		return &Fault{File: manifestFile, What: "it is not what the entries say"}
	}
	page, err := b.read(pageFile)
	if err != nil {
		return err
	}
	if !bytes.Equal(page, b.page.html(b.v.Manifest)) {
		return &Fault{File: pageFile, What: "the readable page is not what the entries say; read " + entriesFile}
	}
	sums, err := b.read(sumsFile)
	if err != nil {
		return err
	}
	var want strings.Builder
	for _, name := range bundleFiles()[:len(bundleFiles())-1] {
		want.WriteString(hex.EncodeToString(b.sums[name].Sum(nil)) + "  " + name + "\n")
	}
	if want.String() != string(sums) {
		return &Fault{File: sumsFile, What: "it does not have the sums of the files beside it"}
	}
	return nil
}
