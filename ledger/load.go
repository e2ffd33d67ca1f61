package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"ringfence.dev/ringfence/internal/durable"
)

// load reads what lies in the folder and makes the log ready to be written.
func (l *Log) load() error {
	ring, err := l.loadKeyring()
	if err != nil {
		return err
	}
	tree, signed, err := l.loadCheckpoint(ring)
	if err != nil {
		return err
	}
	if known := int64(l.Size()); tree.N < known {
		return fmt.Errorf("%w: found a checkpoint of %d entries; %d were written before; put back what was there", ErrDamaged, tree.N, known)
	}
	if l.edge, err = l.loadEdge(tree); err != nil {
		return err
	}
	if signed == nil { // a new ledger: its checkpoint comes before its first tile, or a kill between them would look like damage
		if err := l.sign(); err != nil {
			return err
		}
		signed = l.Checkpoint()
	}
	if err := l.loadTail(tree.N); err != nil {
		return err
	}
	if err := errors.Join(l.loadRecent(), l.loadLast()); err != nil {
		return err
	}
	l.mu.Lock()
	l.ring = ring
	l.mu.Unlock()
	if _, err := OpenCheckpoint(signed, ring[len(ring)-1:]); err != nil || l.edge.size > tree.N {
		return l.sign()
	}
	l.publish(tree, signed)
	return nil
}

// loadKeyring reads the keyring, makes that of a new ledger, and holds the key to it.
func (l *Log) loadKeyring() (Keyring, error) {
	text, err := l.dir.read(keyringFile)
	if errors.Is(err, fs.ErrNotExist) && len(l.Keyring()) > 0 { // it was read before: a disk that went away is no new ledger
		return nil, fmt.Errorf("%w: %s is gone since it was opened; put the folder back", ErrDamaged, keyringFile)
	}
	if errors.Is(err, fs.ErrNotExist) {
		for _, name := range []string{checkpointFile, "tile"} {
			if _, err := os.Lstat(l.dir.path(name)); err == nil {
				return nil, fmt.Errorf("%w: %s is there and %s is missing; put back a copy of it", ErrDamaged, name, keyringFile)
			}
		}
		ring := Keyring{l.key.Public}
		return ring, l.dir.replace(keyringFile, ring.text())
	}
	if err != nil {
		return nil, err
	}
	ring, err := ParseKeyring(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	switch at := slices.Index(ring, l.key.Public); at {
	case len(ring) - 1:
		return ring, nil
	case -1:
		return nil, fmt.Errorf("%w: found %s; want %s, or rotate the key first", ErrWrongKey, l.key.Public, ring[len(ring)-1])
	default:
		return nil, fmt.Errorf("%w: %s was rotated out; want %s", ErrWrongKey, l.key.Public, ring[len(ring)-1])
	}
}

// loadCheckpoint reads the checkpoint; a ledger without one that has a tile is damaged, and never a new one.
func (l *Log) loadCheckpoint(ring Keyring) (tlog.Tree, []byte, error) {
	signed, err := l.dir.read(checkpointFile)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(l.dir.path("tile")); err == nil {
			return tlog.Tree{}, nil, fmt.Errorf("%w: its checkpoint is missing; put back the latest one that was published outside", ErrDamaged)
		}
		empty := edge{}
		return empty.tree(), nil, nil
	}
	if err != nil {
		return tlog.Tree{}, nil, err
	}
	tree, err := OpenCheckpoint(signed, ring)
	if err != nil {
		return tlog.Tree{}, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return tree, signed, nil
}

// loadEdge reads the right edge of a tree, and holds it to the root.
func (l *Log) loadEdge(tree tlog.Tree) (edge, error) {
	e := edge{size: tree.N}
	for level := range e.hashes {
		n := tree.N >> (tileHeight * level)
		if n%width == 0 {
			continue
		}
		data, err := l.dir.tile(level, n/width, int(n%width))
		if err != nil {
			return e, fmt.Errorf("%w: the checkpoint counts %d entries: %w", ErrDamaged, tree.N, err)
		}
		e.hashes[level] = unpack(data)
	}
	if found := e.tree(); found != tree {
		return e, fmt.Errorf("%w: its last entries and tiles have the root %v; want %v, which was signed", ErrDamaged, found.Hash, tree.Hash)
	}
	return e, nil
}

// loadTail adds the entries that came to the disk after the checkpoint. They were not acknowledged; but a checkpoint that
// counts them may have been seen before it was lost with the power, so what is whole is kept.
func (l *Log) loadTail(signed int64) error {
	for {
		n, skip := l.edge.size/width, int(l.edge.size%width)
		name := tilePath(-1, n, width)
		data, err := l.dir.read(name)
		full := err == nil
		if errors.Is(err, fs.ErrNotExist) {
			data, err = l.dir.read(name + partSuffix)
		}
		if errors.Is(err, fs.ErrNotExist) && skip == 0 {
			return l.openPart()
		}
		if err != nil {
			return err
		}
		entries, rest := split(data)
		whole := min(skip, len(entries))
		for whole < min(len(entries), width) && intact(entries[whole]) {
			whole++
		}
		if whole < skip || full && (whole < width || len(rest) > 0) {
			return fmt.Errorf("%w: %s has %d whole entries of %d", ErrDamaged, name, whole, len(entries))
		}
		if !full && (whole > skip || len(entries) > whole || len(rest) > 0) {
			if err := l.keepPart(name, entries[:whole]); err != nil {
				return err
			}
		}
		if err := l.addTail(entries[skip:whole]); err != nil {
			return err
		}
		if whole < width {
			return l.openPart()
		}
		if !full {
			if err := os.Rename(l.dir.path(name+partSuffix), l.dir.path(name)); err != nil {
				return err
			}
		}
	}
}

// intact reports whether bytes are a whole entry: its digest says so.
func intact(entry []byte) bool {
	_, err := Decode(entry)
	return err == nil
}

// keepPart writes the last bundle anew: after a failed fsync the kernel may show bytes that are not on the disk.
func (l *Log) keepPart(name string, entries [][]byte) error {
	var buf []byte
	for _, e := range entries {
		buf = bundle(buf, e)
	}
	return l.dir.replace(name+partSuffix, buf)
}

// addTail adds entries that lie on the disk already.
func (l *Log) addTail(entries [][]byte) error {
	for _, entry := range entries {
		if err := l.edge.add(tlog.RecordHash(entry), func(level int, n int64, data []byte) error {
			return l.dir.replace(tilePath(level, n, width), data)
		}); err != nil {
			return err
		}
	}
	return nil
}

// openPart opens the bundle that takes the next entry.
func (l *Log) openPart() error {
	if err := l.closePart(); err != nil {
		return err
	}
	path := l.dir.path(tilePath(-1, l.edge.size/width, width) + partSuffix)
	if err := l.dir.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	part, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	l.part = part
	info, err := part.Stat()
	if err != nil {
		return err
	}
	l.end = info.Size()
	return durable.SyncFolder(filepath.Dir(path))
}

// loadRecent reads the ids of the latest entries.
func (l *Log) loadRecent() error {
	l.recent = newRecent()
	for at := max(0, l.edge.size-recentIDs) / width * width; at < l.edge.size; at += width {
		have := filled(l.edge.size, 0, at/width)
		data, err := l.dir.bundle(at/width, have)
		if err != nil {
			return err
		}
		entries, _ := split(data)
		for i, entry := range entries[:min(have, len(entries))] {
			r, err := Decode(entry)
			if err != nil {
				return fmt.Errorf("%w: entry %d: %w", ErrDamaged, at+int64(i), err)
			}
			l.recent.add(r.ID, uint64(at)+uint64(i))
		}
	}
	return nil
}
