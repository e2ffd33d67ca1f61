package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"ringfence.dev/ringfence/record"
)

// keptTiles is how many tiles a proof keeps in memory, 8 KiB each.
const keptTiles = 512

// ErrRewritten is wrapped where two checkpoints are not of one history: entries that the older one counts are gone or
// other ones now.
var ErrRewritten = errors.New("the ledger's history was rewritten")

// Fault says which entries of a ledger are not what its checkpoint says. It wraps ErrDamaged.
type Fault struct {
	// First and Last are the entries among which the first bad one is; the same where it is known.
	First, Last uint64
	// Path is the file in which it shows.
	Path string
	// What is wrong with it.
	What string
}

// Error implements error.
func (f *Fault) Error() string {
	if f.First == f.Last {
		return fmt.Sprintf("%v: entry %d in %s: %s", ErrDamaged, f.First, f.Path, f.What)
	}
	return fmt.Sprintf("%v: entries %d to %d, %s: %s", ErrDamaged, f.First, f.Last, f.Path, f.What)
}

// Unwrap makes every Fault an ErrDamaged.
func (f *Fault) Unwrap() error { return ErrDamaged }

// Verified is what Verify found to be true.
type Verified struct {
	// Tree is the size and root that the checkpoint signs.
	Tree tlog.Tree
	// Keys are the trusted keys and those that the log itself says replaced them, oldest first.
	Keys Keyring
}

// Verify reads a whole ledger and verifies every entry, every full tile, and that its checkpoint signs them. trusted is
// the key that the reader got from elsewhere; the keys after it are taken from the log's key rotations, each signed by the
// key before. each, where it is not nil, is called with every entry in order. Memory does not grow with the log. Errors
// are a *Fault, or wrap ErrCheckpoint or ErrDamaged; where the ledger could not be reached they are the source's, and say nothing of it.
func Verify(ctx context.Context, from Source, trusted Keyring, each func(Entry) error) (Verified, error) {
	v := Verified{Keys: slices.Clone(trusted)}
	signed, err := from(ctx, checkpointFile)
	if err != nil {
		return v, fmt.Errorf("verify the ledger: read its checkpoint: %w", err)
	}
	_, tree, err := ParseCheckpoint(string(signed[:min(len(signed), MaxCheckpoint)])) // the keys are known at the end
	if err != nil {
		return v, fmt.Errorf("verify the ledger: %w", err)
	}
	v.Tree = tree
	pass := &pass{from: from, each: each, v: &v}
	if err := pass.run(ctx); err != nil {
		return v, fmt.Errorf("verify the ledger: %w", err)
	}
	if _, err := OpenCheckpoint(signed, v.Keys[max(0, len(v.Keys)-1):]); err != nil { // a key that was replaced signs no more
		return v, fmt.Errorf("verify the ledger: %w", err)
	}
	return v, nil
}

// Anchor verifies that a checkpoint from outside is of the history that was verified. Errors wrap ErrCheckpoint or
// ErrRewritten.
func (v Verified) Anchor(ctx context.Context, from Source, outside []byte) error {
	old, err := OpenCheckpoint(outside, v.Keys)
	if err != nil {
		return fmt.Errorf("read the checkpoint from outside: %w", err)
	}
	return VerifyGrowth(ctx, from, old, v.Tree)
}

// unreached reports an error of the way to a ledger, or that whoever asked has gone: nothing follows from it of the ledger itself.
func unreached(ctx context.Context, err error) bool {
	if err == nil {
		return false
	}
	_, network := errors.AsType[net.Error](err)
	_, status := errors.AsType[statusError](err)
	return ctx.Err() != nil || network || status || errors.Is(err, fs.ErrPermission)
}

// pass is one reading of a whole ledger.
type pass struct {
	from Source
	each func(Entry) error
	v    *Verified
	edge edge
	tile *Fault // the first tile that differs; its entries may be right
}

func (p *pass) run(ctx context.Context) error {
	tree := p.v.Tree
	for p.edge.size < tree.N {
		entries, err := Read(ctx, p.from, uint64(tree.N), uint64(p.edge.size), width)
		if unreached(ctx, err) {
			return err
		}
		if err != nil {
			first := uint64(p.edge.size)
			path := tilePath(-1, p.edge.size/width, filled(tree.N, 0, p.edge.size/width))
			return &Fault{First: first, Last: min(first+width, uint64(tree.N)) - 1, Path: path, What: err.Error()}
		}
		for _, e := range entries {
			if err := p.entry(ctx, e); err != nil {
				return err
			}
		}
	}
	if p.edge.tree() == tree {
		if p.tile != nil {
			p.tile.What = "the tile is not what its entries hash to; the entries are those that were signed"
			return p.tile
		}
		return nil
	}
	if p.tile == nil {
		return &Fault{First: 0, Last: uint64(max(1, tree.N) - 1), Path: checkpointFile, What: "entries and tiles agree, and are not what the checkpoint signs"}
	}
	p.blame(ctx)
	return p.tile
}

// entry verifies the form of an entry and adds it to the tree.
func (p *pass) entry(ctx context.Context, e Entry) error {
	r, err := e.Record()
	if err != nil {
		return &Fault{First: e.Index, Last: e.Index, Path: tilePath(-1, int64(e.Index/width), filled(p.v.Tree.N, 0, int64(e.Index/width))), What: err.Error()}
	}
	if r.Kind == RotationKind {
		if err := p.v.rotate(r); err != nil {
			return &Fault{First: e.Index, Last: e.Index, Path: keyringFile, What: err.Error()}
		}
	}
	if p.each != nil {
		if err := p.each(e); err != nil {
			return err
		}
	}
	return p.edge.add(tlog.RecordHash(e.Statement), func(level int, n int64, computed []byte) error {
		path := tilePath(level, n, width)
		stored, err := p.from(ctx, path)
		if unreached(ctx, err) {
			return err
		}
		if p.tile != nil || err == nil && bytes.Equal(stored, computed) {
			return nil
		}
		at := 0
		for at < width-1 && len(stored) == len(computed) &&
			bytes.Equal(stored[at*tlog.HashSize:(at+1)*tlog.HashSize], computed[at*tlog.HashSize:(at+1)*tlog.HashSize]) {
			at++
		}
		below := uint64(1) << (tileHeight * level)
		first := (uint64(n)*width + uint64(at)) * below
		p.tile = &Fault{First: first, Last: first + below - 1, Path: path, What: "the tile is not what its entries hash to"}
		if err != nil {
			p.tile.What = err.Error()
		}
		return nil
	})
}

// blame says whether it is the entry that is wrong or its tile, where the tiles above can tell.
func (p *pass) blame(ctx context.Context) {
	hashes := tlog.TileHashReader(p.v.Tree, &tiles{ctx: ctx, from: p.from})
	if p.tile.First == p.tile.Last {
		if _, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(p.tile.First))}); err == nil {
			p.tile.Path = tilePath(-1, int64(p.tile.First/width), width)
			p.tile.What = "this is not the entry that was signed at this place"
			return
		}
	}
	p.tile.What = "neither the tile nor the entries are what the checkpoint signs"
}

// rotate takes a key rotation into the keys.
func (v *Verified) rotate(r record.Record) error {
	ring, err := v.Keys.Follow(r)
	if err == nil {
		v.Keys = ring
	}
	return err
}

// VerifyGrowth verifies from the tiles of a ledger that the newer tree begins with the entries of the older one. Errors wrap
// ErrRewritten, or are those of the source.
func VerifyGrowth(ctx context.Context, from Source, older, newer tlog.Tree) error {
	proof, err := Consistency(ctx, from, older.N, newer)
	if err != nil {
		return err
	}
	return CheckGrowth(proof, older, newer)
}

// CheckGrowth verifies a proof that Consistency made. Errors wrap ErrRewritten.
func CheckGrowth(proof tlog.TreeProof, older, newer tlog.Tree) error {
	switch {
	case older.N > newer.N:
		return fmt.Errorf("%w: a checkpoint counted %d entries; found %d now", ErrRewritten, older.N, newer.N)
	case older.N == newer.N && older.Hash != newer.Hash:
		return fmt.Errorf("%w: found two checkpoints of %d entries with other roots", ErrRewritten, newer.N)
	case older.N == 0 || older.N == newer.N:
		return nil
	}
	if err := tlog.CheckTree(proof, newer.N, newer.Hash, older.N, older.Hash); err != nil {
		return fmt.Errorf("%w: the first %d of %d entries are not those of the older checkpoint", ErrRewritten, older.N, newer.N)
	}
	return nil
}

// Consistency proves that a tree begins with its first n entries; the proof is empty where there is nothing to prove.
func Consistency(ctx context.Context, from Source, n int64, tree tlog.Tree) (tlog.TreeProof, error) {
	if n <= 0 || n >= tree.N {
		return nil, nil
	}
	proof, err := tlog.ProveTree(tree.N, n, tlog.TileHashReader(tree, &tiles{ctx: ctx, from: from}))
	if unreached(ctx, err) {
		return nil, fmt.Errorf("prove that %d entries begin with %d: %w", tree.N, n, err)
	}
	if err != nil {
		return nil, fmt.Errorf("prove that %d entries begin with %d: %w: %w", tree.N, n, ErrDamaged, err)
	}
	return proof, nil
}

// Inclusion reads one entry and proves that a tree holds it. CheckInclusion verifies the proof.
func Inclusion(ctx context.Context, from Source, tree tlog.Tree, index uint64) (Entry, tlog.RecordProof, error) {
	entries, err := Read(ctx, from, uint64(tree.N), index, 1)
	if err != nil {
		return Entry{}, nil, err
	}
	if len(entries) == 0 {
		return Entry{}, nil, fmt.Errorf("read entry %d: the checkpoint counts %d", index, tree.N)
	}
	proof, err := tlog.ProveRecord(tree.N, int64(index), tlog.TileHashReader(tree, &tiles{ctx: ctx, from: from}))
	if unreached(ctx, err) {
		return Entry{}, nil, fmt.Errorf("prove entry %d: %w", index, err)
	}
	if err != nil {
		return Entry{}, nil, fmt.Errorf("prove entry %d: %w: %w", index, ErrDamaged, err)
	}
	return entries[0], proof, CheckInclusion(proof, tree, entries[0])
}

// CheckInclusion verifies that a tree holds an entry. The error is a *Fault.
func CheckInclusion(proof tlog.RecordProof, tree tlog.Tree, e Entry) error {
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, int64(e.Index), tlog.RecordHash(e.Statement)); err != nil {
		return &Fault{First: e.Index, Last: e.Index, Path: tilePath(-1, int64(e.Index/width), filled(tree.N, 0, int64(e.Index/width))),
			What: "this is not the entry that was signed at this place"}
	}
	return nil
}

// tiles reads tiles for proofs and keeps some.
type tiles struct {
	ctx  context.Context // of the one call that this serves
	from Source
	kept map[string][]byte
}

// Height implements tlog.TileReader.
func (t *tiles) Height() int { return tileHeight }

// SaveTiles implements tlog.TileReader; what ReadTiles kept is enough.
func (t *tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadTiles implements tlog.TileReader.
func (t *tiles) ReadTiles(want []tlog.Tile) ([][]byte, error) {
	if t.kept == nil {
		t.kept = map[string][]byte{}
	}
	var out [][]byte
	for _, tile := range want {
		path := tilePath(tile.L, tile.N, tile.W)
		data, ok := t.kept[path]
		if !ok {
			var err error
			if data, err = t.from(t.ctx, path); err != nil {
				return nil, err
			}
			if len(data) != tile.W*tlog.HashSize {
				return nil, fmt.Errorf("read %s: found %d bytes; want %d", path, len(data), tile.W*tlog.HashSize)
			}
			if len(t.kept) >= keptTiles {
				clear(t.kept)
			}
			t.kept[path] = data
		}
		out = append(out, data)
	}
	return out, nil
}

var _ tlog.TileReader = (*tiles)(nil)
var _ note.Signer = Key{}
