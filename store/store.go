// Package store answers questions about evidence: what was refused, what stands open, what is not known. It
// is an index over the ledger in one SQLite file, made by following the ledger and made anew from it at any time; the
// only thing in it that the ledger does not hold is whom a reference means.
//
// The named queries are methods of Store; package storetest says what any implementation of them must do. It decides
// nothing, verifies nothing (ledger does) and sends nothing on. The control plane fills it, the command line asks it.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"modernc.org/sqlite"

	"ringfence.dev/ringfence/internal/durable"
)

var (
	// ErrDamaged is wrapped where the file is not a sound store.
	ErrDamaged = errors.New("the store is damaged")
	// ErrNewer is wrapped by Open where a newer version of Ringfence made the store.
	ErrNewer = errors.New("the store was made by a newer version of ringfence")
	// ErrForeign is wrapped where the store was filled from another ledger, or from more of it than there is now.
	ErrForeign = errors.New("the store was not filled from this ledger")
	// ErrLocked is wrapped where another process fills or writes the store.
	ErrLocked = errors.New("another process writes this store")
	// ErrQuery is wrapped by queries for what cannot be asked.
	ErrQuery = errors.New("this cannot be asked")
)

// wayBack ends the errors of a store that cannot be used any more.
const wayBack = "fix: make it anew with ringfence store rebuild"

// busy is how long a writer waits for another one.
const busy = 5 * time.Second

// Config says where a store lies.
type Config struct {
	// Path is the file, on a file system of this machine; SQLite adds -wal and -shm beside it. It is made where it is
	// missing, readable by its owner alone.
	Path string
	// ReadOnly opens only what is there, for questions.
	ReadOnly bool

	// newer lets a store of a newer version be opened as it is. Rebuild alone does, for the people in it.
	newer bool
}

// Store is an open store. It is safe for many goroutines: one connection writes, others read and never wait for it.
type Store struct {
	path  string
	file  os.FileInfo // what lay at path when it was opened
	write *sql.DB     // one connection; nil where ReadOnly
	read  *sql.DB

	mu    sync.Mutex // held by who writes; guards words
	words map[string]int64
}

// Open opens a store, makes it where it is missing, and brings an older one to this version. Errors wrap ErrDamaged or
// ErrNewer, or are of files.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the store %s: %w", cfg.Path, err)
	}
	return s, nil
}

func open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Path == "" {
		return nil, errors.New("want the path of a file")
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, err
	}
	file, err := look(path, cfg.ReadOnly)
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, file: file, words: map[string]int64{}}
	if !cfg.ReadOnly {
		if s.write, err = connect(path, "rwc", 1); err != nil {
			return nil, err
		}
		if err := s.migrate(ctx); err != nil && !(cfg.newer && errors.Is(err, ErrNewer)) {
			return nil, errors.Join(explain(err), s.Close())
		}
	}
	if s.read, err = connect(path, "ro", max(4, runtime.NumCPU())); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.current(ctx); err != nil && !(cfg.newer && errors.Is(err, ErrNewer)) {
		return nil, errors.Join(explain(err), s.Close())
	}
	return s, nil
}

// connect makes a pool of connections. A commit is on the disk when it returns: names of people come from no ledger.
func connect(path, mode string, n int) (*sql.DB, error) {
	q := url.Values{"mode": {mode}, "_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()), "synchronous(FULL)", "secure_delete(ON)", "trusted_schema(OFF)",
		"cache_size(-16384)", "temp_store(MEMORY)"}}
	if mode == "ro" {
		q.Set("_txlock", "deferred")
		q.Add("_pragma", "query_only(ON)")
	}
	// With POSIX locks any close of the file in this process would drop SQLite's own. Where there is no other kind, they stay.
	_, _ = sqlite.OFDLocking(true)
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// look finds out without SQLite what cannot be a store, and makes the file so that nobody else can read it.
func look(path string, readOnly bool) (os.FileInfo, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) && !readOnly {
		return create(path)
	}
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: it is no file; want the path of a file", ErrDamaged)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("its mode is %04o, and it holds names of people; fix: chmod 600 %s", info.Mode().Perm(), path)
	case info.Size() == 0 && readOnly:
		return nil, fmt.Errorf("%w: the file is empty; %s", ErrDamaged, wayBack)
	case info.Size() == 0:
		return info, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 100)
	if _, err := f.ReadAt(head, 0); err != nil || string(head[:16]) != "SQLite format 3\x00" {
		return nil, fmt.Errorf("%w: this is no SQLite file; name another one, or %s", ErrDamaged, wayBack)
	}
	if wal, err := os.Stat(path + "-wal"); err == nil && wal.Size() > 0 {
		return info, nil // what the file lacks may be there
	}
	size := int64(head[16])<<8 | int64(head[17])
	if size == 1 {
		size = 1 << 16
	}
	pages := int64(head[28])<<24 | int64(head[29])<<16 | int64(head[30])<<8 | int64(head[31])
	if info.Size() < size*pages {
		return nil, fmt.Errorf("%w: it has %d bytes and should have %d: it was cut off; %s", ErrDamaged, info.Size(), size*pages, wayBack)
	}
	return info, nil
}

// create makes an empty file.
func create(path string) (os.FileInfo, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	return info, errors.Join(err, f.Close())
}

// Close lets go of the file.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Check reads the whole file and says whether it is sound. It takes seconds for each gigabyte. The error wraps ErrDamaged.
func (s *Store) Check(ctx context.Context) error {
	var answer string
	if err := s.read.QueryRowContext(ctx, sqlCheck).Scan(&answer); err != nil {
		return fmt.Errorf("check the store: %w", explain(err))
	}
	if answer != "ok" {
		return fmt.Errorf("check the store %s: %w: %.200s; %s", s.path, ErrDamaged, answer, wayBack)
	}
	return nil
}

// SQLite's result codes that have a way back; sqlite.org/rescode.html.
const (
	codeBusy     = 5
	codeReadOnly = 8
	codeIO       = 10
	codeCorrupt  = 11
	codeFull     = 13
	codeCantOpen = 14
	codeNotADB   = 26
)

// explain gives SQLite's errors words and a way back.
func explain(err error) error {
	e := (*sqlite.Error)(nil)
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case codeCorrupt, codeNotADB:
		return fmt.Errorf("%w: %w; %s", ErrDamaged, err, wayBack)
	case codeBusy:
		return fmt.Errorf("%w for more than %v: %w; fix: stop one of the two", ErrLocked, busy, err)
	case codeReadOnly, codeCantOpen:
		return fmt.Errorf("the file or its folder cannot be written: %w; fix: give it a folder that this user may write, on a disk that is not read-only", err)
	case codeFull, codeIO:
		return fmt.Errorf("the disk is full or fails: %w; fix: make room; nothing is lost, the ledger has it", err)
	}
	return err
}

// change runs one transaction of the only writer.
func (s *Store) change(ctx context.Context, do func(*sql.Tx) error) error {
	if s.write == nil {
		return errors.New("the store is open for questions only")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return explain(err)
	}
	if err = do(tx); err == nil {
		err = tx.Commit()
	}
	if err != nil {
		_ = tx.Rollback() // after a commit it does nothing
		clear(s.words)    // what was new in them is gone
		return explain(err)
	}
	return nil
}

// lock keeps other processes from filling the store of a path, until it is closed.
func lock(path string) (*os.File, error) {
	f, err := durable.Lock(path+".lock", 0o600)
	if errors.Is(err, durable.ErrLocked) {
		err = ErrLocked
	}
	return f, err
}
