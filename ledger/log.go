package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/record"
)

const (
	checkpointFile = "checkpoint"
	keyringFile    = "keyring"
	lockFile       = "lock"
	// recentIDs is how many entries back an id is known: five minutes at 60 records/s, about 2 MB of memory.
	recentIDs = 1 << 14
	// maxBatch is how many entries are made durable at once, at most; more wait for the next time.
	maxBatch = 4096
	// repairEvery is how long an Append fails at once after a failed write, before the folder is read anew.
	repairEvery = time.Second
)

var (
	// ErrLocked is wrapped by Open where another process has the ledger open.
	ErrLocked = errors.New("another process has this ledger open")
	// ErrDamaged is wrapped where what lies in the folder is not what its checkpoint says.
	ErrDamaged = errors.New("the ledger is damaged")
	// ErrClosed is returned by Append after Close.
	ErrClosed = errors.New("the ledger is closed")
)

// Config says where a ledger lies and who signs it.
type Config struct {
	// Dir is the ledger's folder, on a file system of this machine. It is made where it is missing. Nothing else may
	// write in it.
	Dir string
	// Key signs checkpoints. It must be the last of the folder's keyring; a new ledger takes it as the first.
	Key Key
}

// Log is an open ledger. It is safe for many goroutines.
type Log struct {
	dir  folder
	lock *os.File

	pendingMu sync.Mutex // guards pending
	pending   []*request

	turn   chan struct{} // holds one value while somebody commits; guards what follows
	key    Key
	edge   edge
	part   *os.File // the bundle that is not full yet
	end    int64    // how many bytes of it are entries
	recent *recent
	last   lasts
	// lastSaved is the size of what was last written of last.
	lastSaved int64
	broken    error     // set by a failed write: the folder is read anew before the next
	failed    time.Time // when that was
	closed    bool

	mu         sync.RWMutex // guards what is published
	tree       tlog.Tree
	checkpoint []byte
	ring       Keyring
}

// request is one call of Append.
type request struct {
	records []record.Record
	entries [][]byte
	indexes []uint64
	err     error
	done    chan struct{}
}

// Open opens or makes the ledger in a folder. Entries that were written and not acknowledged when the last process ended are
// kept where they are whole, and cut off where they are not. Errors wrap ErrLocked, ErrWrongKey or ErrDamaged; nothing is
// ever started anew over what is there.
func Open(cfg Config) (*Log, error) {
	if cfg.Dir == "" || cfg.Key.Signer == nil || cfg.Key.Public == "" {
		return nil, errors.New("open the ledger: want a folder and a key")
	}
	l := &Log{dir: folder(cfg.Dir), key: cfg.Key, turn: make(chan struct{}, 1)}
	if err := l.dir.mkdir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("make the ledger's folder: %w; want a folder that this user may write", err)
	}
	lock, err := durable.Lock(l.dir.path(lockFile), fileMode)
	if errors.Is(err, durable.ErrLocked) {
		err = ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("open the ledger in %s: %w", cfg.Dir, err)
	}
	l.lock = lock
	if err := l.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the ledger in %s: %w", cfg.Dir, err), lock.Close())
	}
	return l, nil
}

// Append adds records and returns their indexes. When it returns without an error every one of them is on the disk, below a
// signed checkpoint that is on the disk too. Records that can never be taken wrap record.ErrRejected, and none of the call is
// added. After an error, also that of ctx, a record may or may not be in the ledger: the
// caller tries again with the same id. An id that one of the latest 16,384 entries has is not added again; its index is
// returned. Calls that run at the same time share one trip to the disk.
func (l *Log) Append(ctx context.Context, records ...record.Record) ([]uint64, error) {
	r := &request{done: make(chan struct{})}
	for _, rec := range records {
		entry, err := Encode(rec)
		if err != nil {
			return nil, fmt.Errorf("append to the ledger: %w: %w", record.ErrRejected, err)
		}
		r.records, r.entries = append(r.records, rec), append(r.entries, entry)
	}
	if len(r.entries) == 0 {
		return nil, nil
	}
	l.pendingMu.Lock()
	l.pending = append(l.pending, r)
	l.pendingMu.Unlock()
	for {
		select {
		case <-r.done:
			return r.indexes, r.err
		case <-ctx.Done():
			return nil, fmt.Errorf("append to the ledger: %w", ctx.Err())
		case l.turn <- struct{}{}:
			l.commit(l.batch())
			<-l.turn
		}
	}
}

// Sink is Append as a record.Queue wants it.
func (l *Log) Sink(ctx context.Context, records []record.Record) error {
	_, err := l.Append(ctx, records...)
	return err
}

var _ record.Sink = (*Log)(nil).Sink

// batch takes waiting requests, at most maxBatch entries unless the first alone has more.
func (l *Log) batch() []*request {
	l.pendingMu.Lock()
	defer l.pendingMu.Unlock()
	n, entries := 0, 0
	for n < len(l.pending) && (n == 0 || entries+len(l.pending[n].entries) <= maxBatch) {
		entries += len(l.pending[n].entries)
		n++
	}
	batch := l.pending[:n:n]
	l.pending = l.pending[n:]
	return batch
}

// commit makes a batch durable and answers it.
func (l *Log) commit(batch []*request) {
	if len(batch) == 0 {
		return
	}
	err := l.ready()
	if err == nil {
		if err = l.write(batch); err != nil {
			l.broken, l.failed = err, time.Now()
		}
	}
	for _, r := range batch {
		if err != nil {
			r.indexes, r.err = nil, fmt.Errorf("append to the ledger in %s: %w", l.dir, err)
		}
		close(r.done)
	}
}

// ready reads the folder anew where a write failed: what came to the disk then is not known otherwise.
func (l *Log) ready() error {
	if l.closed {
		return ErrClosed
	}
	if l.broken == nil {
		return nil
	}
	if time.Since(l.failed) < repairEvery {
		return fmt.Errorf("it failed less than %v ago: %w", repairEvery, l.broken)
	}
	l.failed = time.Now()
	if err := l.load(); err != nil {
		l.broken = err
		return err
	}
	l.broken = nil
	return nil
}

// write adds the entries of a batch that are new: entries first, then the checkpoint that counts them.
func (l *Log) write(batch []*request) error {
	var buf []byte
	before := l.edge.size
	for _, r := range batch {
		r.indexes = make([]uint64, len(r.entries))
		for i, entry := range r.entries {
			if index, known := l.recent.index[r.records[i].ID]; known {
				r.indexes[i] = index
				continue
			}
			r.indexes[i] = uint64(l.edge.size)
			l.recent.add(r.records[i].ID, uint64(l.edge.size))
			l.last.add(r.records[i])
			buf = bundle(buf, entry)
			var tiles []tile
			if err := l.edge.add(tlog.RecordHash(entry), func(level int, n int64, data []byte) error {
				tiles = append(tiles, tile{level, n, data})
				return nil
			}); err != nil {
				return err
			}
			if len(tiles) > 0 {
				if err := l.fill(buf, tiles); err != nil {
					return err
				}
				buf = nil
			}
		}
	}
	if l.edge.size == before {
		return nil
	}
	if err := l.extend(buf); err != nil {
		return err
	}
	if err := l.sign(); err != nil {
		return err
	}
	l.saveLast(false)
	return nil
}

// tile is a tile that has become full.
type tile struct {
	level int
	n     int64
	data  []byte
}

// fill ends the bundle with the last of its entries, and keeps the tiles that became full with it.
func (l *Log) fill(buf []byte, tiles []tile) error {
	if err := l.extend(buf); err != nil {
		return err
	}
	name := tilePath(-1, tiles[0].n, width)
	if err := l.closePart(); err != nil {
		return err
	}
	if err := os.Rename(l.dir.path(name+partSuffix), l.dir.path(name)); err != nil {
		return err
	}
	for _, t := range tiles {
		if err := l.dir.replace(tilePath(t.level, t.n, width), t.data); err != nil {
			return err
		}
	}
	return l.openPart()
}

// extend adds bytes to the bundle that is not full, and does not return before they are on the disk.
func (l *Log) extend(buf []byte) error {
	if len(buf) == 0 {
		return nil
	}
	if _, err := l.part.WriteAt(buf, l.end); err != nil {
		return err
	}
	l.end += int64(len(buf))
	return l.part.Sync()
}

// sign writes and publishes the checkpoint of all entries.
func (l *Log) sign() error {
	tree := l.edge.tree()
	signed, err := signCheckpoint(l.key, tree)
	if err != nil {
		return err
	}
	if err := l.dir.replace(checkpointFile, signed); err != nil {
		return err
	}
	l.publish(tree, signed)
	return nil
}

func (l *Log) publish(tree tlog.Tree, signed []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tree, l.checkpoint = tree, signed
}

// Checkpoint is the latest signed checkpoint: everything that was acknowledged is below it.
func (l *Log) Checkpoint() []byte {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.checkpoint
}

// Size is how many entries the latest checkpoint counts.
func (l *Log) Size() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return uint64(l.tree.N)
}

// Keyring are the keys that signed this ledger, oldest first.
func (l *Log) Keyring() Keyring {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.ring
}

// Source reads the files of this ledger.
func (l *Log) Source() Source { return Folder(string(l.dir)) }

// Read returns entries from an index on, at most n and at most to the end of the bundle they lie in; none at the end of
// the log. A durable cursor is the last entry's index and 1.
func (l *Log) Read(ctx context.Context, from uint64, n int) ([]Entry, error) {
	return Read(ctx, l.Source(), l.Size(), from, n)
}

// Known are those of some ids that one of the latest 16,384 entries has. What is being written at this moment may be missing.
func (l *Log) Known(ids []string) map[string]bool {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	known := map[string]bool{}
	for _, id := range ids {
		if _, found := l.recent.index[id]; found && l.broken == nil {
			known[id] = true
		}
	}
	return known
}

// Close waits for what is being written and lets another process open the ledger.
func (l *Log) Close() error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if l.closed {
		return nil
	}
	l.closed = true
	if l.broken == nil {
		l.saveLast(true)
	}
	return errors.Join(l.closePart(), l.lock.Close())
}

// recent are the ids of the latest entries.
type recent struct {
	index map[string]uint64
	ring  []string
	next  int
}

func newRecent() *recent { return &recent{index: map[string]uint64{}} }

func (r *recent) add(id string, index uint64) {
	if len(r.ring) < recentIDs {
		r.ring = append(r.ring, id)
	} else {
		delete(r.index, r.ring[r.next])
		r.ring[r.next] = id
		r.next = (r.next + 1) % recentIDs
	}
	r.index[id] = index
}

// closePart closes the bundle that is not full.
func (l *Log) closePart() error {
	part := l.part
	l.part = nil
	if part == nil {
		return nil
	}
	return part.Close()
}
