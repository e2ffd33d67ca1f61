package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

// sinks follow the ledger, each from its own cursor. One that is down waits alone: nothing else waits for it.
type sinks struct {
	followers []*forward.Follower
	wake      []chan struct{}
}

// openSinks makes a follower for each sink, with its cursor in dir. An error is one of a cursor, or of the ledger.
func openSinks(ctx context.Context, opened []forward.Opened, dir string, log *ledger.Log, logger *slog.Logger) (*sinks, error) {
	s := &sinks{}
	if len(opened) == 0 {
		return s, nil
	}
	if err := forward.Dir(dir); err != nil {
		return nil, err
	}
	source := forward.Pages{Count: log.Size, Page: func(ctx context.Context, from uint64, n int) ([]forward.Entry, error) {
		return page(ctx, log, from, n)
	}}
	for _, o := range opened {
		wake := make(chan struct{}, 1)
		f, err := forward.New(ctx, forward.Options{Name: o.Name, Source: source, Sink: o.Sink, Format: o.Make, Kinds: o.Kinds, Dir: dir, Log: logger, Wake: wake})
		if err != nil {
			return nil, err
		}
		s.followers, s.wake = append(s.followers, f), append(s.wake, wake)
	}
	return s, nil
}

// page reads records out of the ledger.
func page(ctx context.Context, log *ledger.Log, from uint64, n int) ([]forward.Entry, error) {
	entries, err := log.Read(ctx, from, n)
	if err != nil {
		return nil, err
	}
	out := make([]forward.Entry, len(entries))
	for i, e := range entries {
		r, err := e.Record()
		if err != nil {
			return nil, fmt.Errorf("read entry %d: %w", e.Index, err)
		}
		out[i] = forward.Entry{Index: e.Index, Record: r}
	}
	return out, nil
}

// after is a record.Sink that wakes the followers once the ledger holds records.
func (s *sinks) after(keep record.Sink) record.Sink {
	return func(ctx context.Context, records []record.Record) error {
		if err := keep(ctx, records); err != nil {
			return err
		}
		for _, w := range s.wake {
			select {
			case w <- struct{}{}:
			default:
			}
		}
		return nil
	}
}

// run follows until ctx ends.
func (s *sinks) run(ctx context.Context) error {
	var group errgroup.Group
	for _, f := range s.followers {
		group.Go(func() error { return f.Run(ctx) })
	}
	return group.Wait()
}

// sinksDir is where the cursors of sinks lie, and what they could not take.
func sinksDir(evidence string) string { return filepath.Join(evidence, "sinks") }

// closeSinks closes sinks that nothing follows.
func closeSinks(opened []forward.Opened) error {
	var errs []error
	for _, o := range opened {
		errs = append(errs, o.Sink.Close())
	}
	return errors.Join(errs...)
}
