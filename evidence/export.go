package evidence

import (
	"archive/zip"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"ringfence.dev/ringfence/ledger"
)

// The files of a bundle, in their order.
const (
	entriesFile    = "entries.jsonl"
	treeFile       = "tree"
	checkpointFile = "checkpoint"
	keyringFile    = "keyring"
	manifestFile   = "bundle.json"
	pageFile       = "index.html"
	sumsFile       = "SHA256SUMS"
)

// bundleFiles are all files of a bundle: each there once, and no other.
func bundleFiles() []string {
	return []string{entriesFile, treeFile, checkpointFile, keyringFile, manifestFile, pageFile, sumsFile}
}

// Format is the form of a bundle. Another form has another name.
const Format = "ringfence.dev/evidence-bundle/v1"

// Manifest says what is in a bundle. It is not signed: a verifier makes it again from the entries and the filter.
type Manifest struct {
	// Format is the constant Format.
	Format string `json:"format"`
	// Origin is the ledger's name.
	Origin string `json:"origin"`
	// Size is how many entries the checkpoint counts.
	Size uint64 `json:"size"`
	// Filter says which of them were asked for.
	Filter ManifestFilter `json:"filter"`
	// Entries is how many are in the bundle, Matching how many of them the filter itself wants. The others tell of gaps and keys.
	Entries  uint64 `json:"entries"`
	Matching uint64 `json:"matching"`
	// Gaps are the times of which something is unknown, and MoreGaps how many more there are.
	Gaps     []Gap  `json:"gaps"`
	MoreGaps uint64 `json:"moreGaps"`
}

// ManifestFilter is a Filter as it is written: empty where it wants all.
type ManifestFilter struct {
	Since     string `json:"since"`
	Until     string `json:"until"`
	Tenant    string `json:"tenant"`
	Namespace string `json:"namespace"`
	Control   string `json:"control"`
	Kind      string `json:"kind"`
}

func (f Filter) manifest() ManifestFilter {
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return stamp(t)
	}
	return ManifestFilter{at(f.Since), at(f.Until), f.Tenant, f.Namespace, f.Control, f.Kind}
}

// filter reads it again. Times that are not as stamp writes them are an error.
func (m ManifestFilter) filter() (Filter, error) {
	f := Filter{Tenant: m.Tenant, Namespace: m.Namespace, Control: m.Control, Kind: m.Kind}
	for text, at := range map[*string]*time.Time{&m.Since: &f.Since, &m.Until: &f.Until} {
		if *text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, *text)
		if err != nil {
			return f, fmt.Errorf("filter: found the time %.40q", *text)
		}
		*at = t.UTC()
	}
	if f.manifest() != m {
		return f, errors.New("filter: found times in another form")
	}
	return f, nil
}

// Options say what Export takes out of which ledger.
type Options struct {
	// From is the ledger.
	From ledger.Source
	// Trusted is the first key of it that is trusted; later ones are taken from its rotations.
	Trusted ledger.Keyring
	// Filter says which entries are wanted.
	Filter Filter
	// Outside are checkpoints that were published outside. The ledger is held to each, and the bundle can be.
	Outside [][]byte
	// Dir is a folder for a temporary file of about 80 bytes an entry. Empty is the system's.
	Dir string
}

// Export verifies a whole ledger and writes a bundle of the entries that are wanted, as a zip file that is the same for the
// same ledger and options. Memory does not grow with the ledger. What was written is no bundle where there is an error.
func Export(ctx context.Context, w io.Writer, o Options) (Manifest, error) {
	m, err := export(ctx, w, o)
	if err != nil {
		return m, fmt.Errorf("export evidence: %w", err)
	}
	return m, nil
}

func export(ctx context.Context, w io.Writer, o Options) (Manifest, error) {
	from, signed, err := pin(ctx, o.From)
	if err != nil {
		return Manifest{}, err
	}
	spool, err := os.CreateTemp(o.Dir, ".ringfence-tree-*")
	if err != nil {
		return Manifest{}, err
	}
	defer os.Remove(spool.Name())
	defer spool.Close()
	e := &exporter{filter: o.Filter, tree: bufio.NewWriter(spool), zip: newArchive(w), page: newPage(o.Filter)}
	for _, text := range o.Outside {
		_, tree, err := ledger.ParseCheckpoint(string(text))
		if err != nil {
			return Manifest{}, err
		}
		e.cuts = append(e.cuts, uint64(tree.N))
	}
	if e.entries, err = e.zip.create(entriesFile); err != nil {
		return Manifest{}, err
	}
	v, err := ledger.Verify(ctx, from, o.Trusted, e.add)
	if err != nil {
		return Manifest{}, err
	}
	for _, text := range o.Outside {
		if err := v.Anchor(ctx, from, text); err != nil {
			return Manifest{}, err
		}
	}
	return e.finish(spool, v, signed)
}

// pin makes a source keep to the checkpoint that it has now.
func pin(ctx context.Context, from ledger.Source) (ledger.Source, []byte, error) {
	signed, err := from(ctx, checkpointFile)
	if err != nil {
		return nil, nil, fmt.Errorf("read the ledger's checkpoint: %w", err)
	}
	return func(ctx context.Context, path string) ([]byte, error) {
		if path == checkpointFile {
			return signed, nil
		}
		return from(ctx, path)
	}, signed, nil
}

// exporter takes entries in their order.
type exporter struct {
	filter  Filter
	cuts    []uint64
	zip     *archive
	entries io.Writer
	tree    *bufio.Writer
	skipped forest // since the last entry that was taken
	page    *page
}

func (e *exporter) add(entry ledger.Entry) error {
	for _, cut := range e.cuts {
		if cut == entry.Index {
			if err := e.skip(); err != nil {
				return err
			}
		}
	}
	i, err := ItemOf(entry)
	if err != nil {
		return err
	}
	leaf := node{entry.Index, 1, tlog.RecordHash(entry.Statement)}
	if !e.filter.Wants(i) && !e.filter.Beside(i) {
		e.skipped.add(leaf)
		return nil
	}
	if err := e.skip(); err != nil {
		return err
	}
	e.page.add(i)
	_, err = e.tree.WriteString(leaf.line(true))
	_, err2 := e.entries.Write(append(entry.Statement[:len(entry.Statement):len(entry.Statement)], '\n'))
	return errors.Join(err, err2)
}

// skip writes what was skipped.
func (e *exporter) skip() error {
	for _, n := range e.skipped {
		if _, err := e.tree.WriteString(n.line(false)); err != nil {
			return err
		}
	}
	e.skipped = e.skipped[:0]
	return nil
}

// finish writes the other files.
func (e *exporter) finish(spool *os.File, v ledger.Verified, signed []byte) (Manifest, error) {
	m := e.page.manifest(v.Keys.Origin(), uint64(v.Tree.N))
	if err := errors.Join(e.skip(), e.tree.Flush()); err != nil {
		return m, err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return m, err
	}
	file, err := e.zip.create(treeFile)
	if err == nil {
		_, err = io.Copy(file, spool)
	}
	return m, errors.Join(err, e.zip.put(checkpointFile, signed), e.zip.put(keyringFile, keyringText(v.Keys)),
		e.zip.put(manifestFile, m.text()), e.zip.put(pageFile, e.page.html(m)), e.zip.close())
}

// text is the manifest as a file.
func (m Manifest) text() []byte {
	text, _ := json.MarshalIndent(m, "", "  ") // strings, numbers and times
	return append(text, '\n')
}

func keyringText(keys ledger.Keyring) []byte { return []byte(strings.Join(keys, "\n") + "\n") }

// archive writes a zip file without times, and the sums of its files.
type archive struct {
	zip  *zip.Writer
	sums strings.Builder
	name string
	hash hash.Hash
}

func newArchive(w io.Writer) *archive { return &archive{zip: zip.NewWriter(w)} }

// create begins a file; the one before is done.
func (a *archive) create(name string) (io.Writer, error) {
	a.sum()
	w, err := a.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
	if err != nil {
		return nil, err
	}
	a.name, a.hash = name, sha256.New()
	return io.MultiWriter(w, a.hash), nil
}

// sum adds the line of the file that is done, as sha256sum writes it.
func (a *archive) sum() {
	if a.hash != nil {
		a.sums.WriteString(hex.EncodeToString(a.hash.Sum(nil)) + "  " + a.name + "\n")
	}
	a.hash = nil
}

func (a *archive) put(name string, data []byte) error {
	w, err := a.create(name)
	if err == nil {
		_, err = w.Write(data)
	}
	return err
}

func (a *archive) close() error {
	a.sum()
	return errors.Join(a.put(sumsFile, []byte(a.sums.String())), a.zip.Close())
}
