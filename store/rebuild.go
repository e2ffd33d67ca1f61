package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"ringfence.dev/ringfence/internal/durable"
)

// Rebuilt is what Rebuild did.
type Rebuilt struct {
	// Entries is how many entries of the ledger were read.
	Entries uint64
	// People is how many references were taken over from the store before, those of the forgotten too.
	People int
	// Unnamed is why none could be taken over; nil where they were, or where there was no store before. Names of people are not in
	// the ledger: without the store before, nobody can say any more whom a reference means.
	Unnamed error
}

// Rebuild makes a store anew from a ledger, beside the one that is there, and puts it in its place when it is whole: asked
// the same, it answers the same. Whoever has the old one open must open it again. keep may be nil. Errors wrap ErrLocked where a
// process fills the store, and ErrNewer where a newer version keeps names of people as this one cannot read them: then it stays as it is.
func Rebuild(ctx context.Context, path string, from Source, keep Retention, now time.Time) (r Rebuilt, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return r, fmt.Errorf("make the store anew: %w", err)
	}
	lock, err := lock(path)
	if err != nil {
		return r, fmt.Errorf("make the store %s anew: %w; fix: stop the process that fills it", path, err)
	}
	defer lock.Close()
	if err := rebuild(ctx, path, from, keep, now, &r); err != nil {
		return r, fmt.Errorf("make the store %s anew: %w", path, err)
	}
	return r, nil
}

func rebuild(ctx context.Context, path string, from Source, keep Retention, now time.Time, r *Rebuilt) error {
	fresh := path + ".new"
	if err := remove(fresh); err != nil {
		return err
	}
	s, err := Open(ctx, Config{Path: fresh})
	if err != nil {
		return err
	}
	err = s.Catch(ctx, from)
	if err == nil && len(keep) > 0 {
		_, err = s.Retain(ctx, keep, now)
	}
	if err == nil {
		var state State
		state, err = s.State(ctx)
		r.Entries = state.Next
	}
	if err == nil {
		err = s.carry(ctx, path, r)
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	for _, beside := range []string{path + "-wal", path + "-shm"} { // they are of the old file, which has all of it by now
		if err := os.Remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	return durable.SyncFolder(filepath.Dir(path))
}

// carry takes people over from the store before, also from one of a newer version: after a rollback it is the only place that has them.
func (s *Store) carry(ctx context.Context, path string, r *Rebuilt) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	people, err := everybodyIn(ctx, Config{Path: path})
	if errors.Is(err, ErrNewer) {
		var unread error
		if people, unread = everybodyIn(ctx, Config{Path: path, newer: true}); unread != nil {
			return fmt.Errorf("names of people, which are nowhere else, cannot be read by this version: %w: %w", unread, err)
		}
		err = nil
	}
	if err != nil {
		r.Unnamed = err
		return nil
	}
	r.People = len(people)
	return s.Admit(ctx, people)
}

// everybodyIn are the people of a store that is to be replaced.
func everybodyIn(ctx context.Context, cfg Config) ([]Acquaintance, error) {
	old, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	people, err := old.Everybody(ctx)
	if err == nil {
		err = old.shorten(ctx)
	}
	return people, errors.Join(err, old.Close())
}

// remove removes a store's files.
func remove(path string) error {
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
