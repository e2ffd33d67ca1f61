package store

import (
	"context"
	"crypto/sha256"
	"fmt"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

// Entry is a record with its place in the ledger.
type Entry struct {
	// Index counts from 0 without a gap.
	Index uint64
	// Digest is the SHA-256 of the entry as it lies in the ledger.
	Digest [sha256.Size]byte
	record.Record
}

// Source is a ledger as a store reads it.
type Source struct {
	// Origin is the ledger's name, the first line of its checkpoints.
	Origin string
	// Count is the index after the newest entry.
	Count func() uint64
	// Page returns entries from index on, at most n and at least one where there is one.
	Page func(ctx context.Context, from uint64, n int) ([]Entry, error)
}

// FromLedger is the Source of a ledger that this process has open.
func FromLedger(l *ledger.Log) Source {
	return Source{Origin: l.Keyring().Origin(), Count: l.Size, Page: func(ctx context.Context, from uint64, n int) ([]Entry, error) {
		entries, err := l.Read(ctx, from, n)
		return decode(entries, err)
	}}
}

// FromFolder is the Source of a ledger's folder, up to the checkpoint that it has now. The checkpoint must be signed with the
// keyring beside it; whether that is the bank's, and every entry what was signed, ringfence evidence verify says.
func FromFolder(ctx context.Context, dir string) (Source, error) {
	from := ledger.Folder(dir)
	ring, err := from(ctx, "keyring")
	if err != nil {
		return Source{}, fmt.Errorf("read the ledger in %s: %w; want the folder of a ledger", dir, err)
	}
	signed, err := from(ctx, "checkpoint")
	if err != nil {
		return Source{}, fmt.Errorf("read the ledger in %s: %w", dir, err)
	}
	keys, err := ledger.ParseKeyring(ring)
	if err != nil {
		return Source{}, fmt.Errorf("read the ledger in %s: %w", dir, err)
	}
	tree, err := ledger.OpenCheckpoint(signed, keys)
	if err != nil {
		return Source{}, fmt.Errorf("read the ledger in %s: %w", dir, err)
	}
	size := uint64(tree.N)
	return Source{Origin: keys.Origin(), Count: func() uint64 { return size }, Page: func(ctx context.Context, at uint64, n int) ([]Entry, error) {
		entries, err := ledger.Read(ctx, from, size, at, n)
		return decode(entries, err)
	}}, nil
}

// decode reads the records of entries.
func decode(entries []ledger.Entry, err error) ([]Entry, error) {
	if err != nil {
		return nil, err
	}
	out := make([]Entry, len(entries))
	for i, e := range entries {
		r, err := e.Record()
		if err != nil {
			return nil, fmt.Errorf("read entry %d: %w; fix: find out with ringfence evidence verify what happened to the ledger", e.Index, err)
		}
		out[i] = Entry{Index: e.Index, Digest: sha256.Sum256(e.Statement), Record: r}
	}
	return out, nil
}
