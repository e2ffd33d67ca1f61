package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	// batch is how many entries one transaction adds at most: about 1 MB, and 100 ms of a busy machine.
	batch = 1024
	// firstWait doubles up to lastWait while filling fails.
	firstWait, lastWait = 100 * time.Millisecond, 10 * time.Second
	// defaultPoll is how long what was recorded waits at most to be seen; the bar from recorded to queryable is 2 s.
	defaultPoll = 200 * time.Millisecond
)

// FollowOptions are how to follow.
type FollowOptions struct {
	// Poll is how often the ledger is asked whether it has grown; 0 is 200 ms.
	Poll time.Duration
	// Wake is sent to when it has; nil is fine.
	Wake <-chan struct{}
	// Keep is what Retain is given, at the start and then every hour; nil keeps all.
	Keep Retention
	// Now is the clock; nil is the machine's.
	Now func() time.Time
	// Log gets what an operator must know.
	Log *slog.Logger
	// Tell is told after every round how it ended, nil for well; nil tells nobody.
	Tell func(error)
}

// Follow fills the store from a ledger until ctx ends, which is no error. Where filling fails for a time it tries again.
// Errors wrap ErrForeign, ErrLocked or ErrDamaged, after which only somebody's decision helps; the ledger is not harmed.
func (s *Store) Follow(ctx context.Context, from Source, o FollowOptions) error {
	if o.Poll <= 0 {
		o.Poll = defaultPoll
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Tell == nil {
		o.Tell = func(error) {}
	}
	lock, err := lock(s.path)
	if err != nil {
		err = fmt.Errorf("follow the ledger: %w; fix: stop the other process that fills %s", err, s.path)
		o.Tell(err)
		return err
	}
	defer lock.Close()
	wait, retained := firstWait, time.Time{}
	for ctx.Err() == nil {
		err := s.Catch(ctx, from)
		if now := o.Now(); err == nil && o.Keep != nil && now.Sub(retained).Abs() >= time.Hour {
			_, err = s.Retain(ctx, o.Keep, now)
			retained = now
		}
		if ctx.Err() == nil {
			o.Tell(err)
		}
		pause := o.Poll
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrForeign), errors.Is(err, ErrDamaged):
			return err
		case err != nil:
			o.Log.Error("the store is not filled; trying again", "err", err)
			pause, wait = wait, min(2*wait, lastWait)
		default:
			wait = firstWait
		}
		select {
		case <-ctx.Done():
		case <-o.Wake:
		case <-time.After(pause):
		}
	}
	return nil
}

// Catch adds what the ledger has and the store has not, and returns. It first makes sure that the store was filled from this
// ledger: the entry before is the one it saw last.
func (s *Store) Catch(ctx context.Context, from Source) error {
	state, err := s.own(ctx, from)
	if err != nil {
		return err
	}
	size, next := from.Count(), state.Next
	for next < size {
		var some []Entry
		for uint64(len(some)) < min(batch, size-next) {
			page, err := from.Page(ctx, next+uint64(len(some)), batch-len(some))
			if err != nil {
				return fmt.Errorf("read the ledger: %w", err)
			}
			if len(page) == 0 {
				return fmt.Errorf("read the ledger: %w: it has %d entries, and none at %d", ErrForeign, size, next+uint64(len(some)))
			}
			some = append(some, page...)
		}
		if err := s.Append(ctx, from.Origin, some); err != nil {
			return err
		}
		next += uint64(len(some))
	}
	return nil
}

// own makes sure that the store was filled from a ledger.
func (s *Store) own(ctx context.Context, from Source) (State, error) {
	state, err := s.State(ctx)
	if err != nil || state.Next == 0 {
		return state, err
	}
	foreign := func(what string, args ...any) error {
		return fmt.Errorf("the store %s: %w: %s; fix: name its ledger, or make the store anew with ringfence store rebuild", s.path, ErrForeign, fmt.Sprintf(what, args...))
	}
	if state.Origin != from.Origin {
		return state, foreign("found the origin %q, want %q", from.Origin, state.Origin)
	}
	if size := from.Count(); size < state.Next {
		return state, foreign("it has %d entries, the store was filled up to %d", size, state.Next)
	}
	page, err := from.Page(ctx, state.Next-1, 1)
	if err != nil {
		return state, fmt.Errorf("read the ledger: %w", err)
	}
	if len(page) == 0 || page[0].ID != state.LastID || hex.EncodeToString(page[0].Digest[:]) != state.LastDigest {
		return state, foreign("entry %d is not %s, or was changed", state.Next-1, state.LastID)
	}
	return state, nil
}
