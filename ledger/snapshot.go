package ledger

import (
	"bytes"
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Snapshot hands over every file of a ledger as it is below its latest checkpoint, also while another process writes it: what
// is handed over is a ledger that opens and verifies. What is read is held to the
// checkpoint, so that no copy of a damaged ledger passes for a good one; errors wrap ErrCheckpoint or ErrDamaged then.
func Snapshot(ctx context.Context, dir string, each func(name string, data []byte) error) (Keyring, tlog.Tree, error) {
	from := Folder(dir)
	ring, tree, err := head(ctx, from, each)
	if err != nil {
		return nil, tree, fmt.Errorf("copy the ledger in %s: %w", dir, err)
	}
	var copied edge
	for copied.size < tree.N {
		n := copied.size / width
		have := filled(tree.N, 0, n)
		name := tilePath(-1, n, width)
		if have < width {
			name += partSuffix
		}
		data, err := from(ctx, tilePath(-1, n, have))
		if err != nil {
			return nil, tree, fmt.Errorf("copy the ledger in %s: %w: %w", dir, ErrDamaged, err)
		}
		entries, rest := split(data)
		if len(entries) != have || len(rest) > 0 {
			return nil, tree, fmt.Errorf("copy the ledger in %s: %w: %s has %d whole entries; want %d", dir, ErrDamaged, name, len(entries), have)
		}
		if err := each(name, data); err != nil {
			return nil, tree, err
		}
		for _, entry := range entries {
			if err := copied.add(tlog.RecordHash(entry), func(level int, n int64, computed []byte) error {
				name := tilePath(level, n, width)
				if stored, err := from(ctx, name); err != nil || !bytes.Equal(stored, computed) {
					return fmt.Errorf("copy the ledger in %s: %w: %s is not what its entries hash to", dir, ErrDamaged, name)
				}
				return each(name, computed)
			}); err != nil {
				return nil, tree, err
			}
		}
	}
	if copied.tree() != tree {
		return nil, tree, fmt.Errorf("copy the ledger in %s: %w: its %d entries are not what the checkpoint signs", dir, ErrDamaged, tree.N)
	}
	return ring, tree, nil
}

// head hands over keyring and checkpoint, which say what else there is.
func head(ctx context.Context, from Source, each func(name string, data []byte) error) (Keyring, tlog.Tree, error) {
	var tree tlog.Tree
	text, err := from(ctx, keyringFile)
	if err != nil {
		return nil, tree, err
	}
	ring, err := ParseKeyring(text)
	if err != nil {
		return nil, tree, err
	}
	signed, err := from(ctx, checkpointFile)
	if err != nil {
		return nil, tree, err
	}
	if tree, err = OpenCheckpoint(signed, ring); err != nil {
		return nil, tree, err
	}
	if err := each(keyringFile, text); err != nil {
		return nil, tree, err
	}
	return ring, tree, each(checkpointFile, signed)
}
