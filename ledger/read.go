package ledger

import (
	"context"
	"fmt"

	"ringfence.dev/ringfence/record"
)

// Entry is one entry of a ledger.
type Entry struct {
	// Index counts from 0.
	Index uint64
	// Statement is the entry as it was hashed: an in-toto Statement in canonical JSON.
	Statement []byte
}

// Record reads the entry's record. Errors wrap ErrEntry.
func (e Entry) Record() (record.Record, error) { return Decode(e.Statement) }

// Read returns entries of a ledger of size entries, from an index on: at most n, and at most to the end of the bundle they
// lie in, so a reader calls it until it returns none. It verifies nothing.
func Read(ctx context.Context, from Source, size, index uint64, n int) ([]Entry, error) {
	if index >= size || n <= 0 {
		return nil, nil
	}
	number := int64(index / width)
	have := filled(int64(size), 0, number)
	path := tilePath(-1, number, have)
	data, err := from(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("read entry %d: %w", index, err)
	}
	statements, rest := split(data)
	if len(statements) != have || len(rest) > 0 {
		return nil, fmt.Errorf("read entry %d: %w: %s has %d whole entries; want %d", index, ErrDamaged, path, len(statements), have)
	}
	var out []Entry
	for i := int(index % width); i < have && len(out) < n; i++ {
		out = append(out, Entry{Index: uint64(number)*width + uint64(i), Statement: statements[i]})
	}
	return out, nil
}
