package server

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"ringfence.dev/ringfence/detect/auditlog"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store"
)

// maxPeople is how many people are known to be in the store; the rest is written again.
const maxPeople = 10_000

// answers is the store beside the ledger, and who is known to be in it. It is no part of the road of evidence: where it
// fails, that is told, and everything else goes on.
type answers struct {
	log *slog.Logger
	// store is nil where its file cannot be used.
	store *store.Store
	path  string
	keep  store.Retention

	mu       sync.Mutex // guards what follows
	known    map[string]bool
	err      error // how the last try to fill the store ended
	failures uint64
}

// openAnswers opens the store in the folder for evidence, or makes it.
func openAnswers(ctx context.Context, dir string, keep store.Retention, log *slog.Logger) *answers {
	path := filepath.Join(dir, "store.db")
	a := &answers{log: log, path: path, keep: keep, known: map[string]bool{}}
	var err error
	if a.store, err = store.Open(ctx, store.Config{Path: path}); err != nil {
		a.tell(err)
		log.Error("the store is not filled; make it anew: ringfence store rebuild --ledger "+filepath.Join(dir, "ledger")+" --store "+path, "err", err)
	}
	return a
}

// run fills the store from the ledger until ctx ends, then closes it.
func (a *answers) run(ctx context.Context, from *ledger.Log, spans *traces) {
	if a.store == nil {
		return
	}
	source, tell := spans.storing(store.FromLedger(from), a.tell)
	if err := a.store.Follow(ctx, source, store.FollowOptions{Log: a.log, Keep: a.keep, Tell: tell}); err != nil && ctx.Err() == nil {
		a.log.Error("the store is no longer filled", "err", err)
		<-ctx.Done()
	}
	if err := a.store.Close(); err != nil {
		a.log.Error("the store could not be closed", "err", err)
	}
}

// remember keeps the names behind the references in what a batch told: the ledger holds none.
func (a *answers) remember(ctx context.Context, b auditlog.Batch, key []byte) {
	if a.store == nil {
		return
	}
	for _, told := range b.Events {
		if len(told.Findings) > 0 && told.Findings[0].Observed != nil {
			a.names(ctx, *told.Findings[0].Observed, key)
		}
		if told.Change != nil {
			a.names(ctx, told.Change.Observed, key)
		}
	}
}

func (a *answers) names(ctx context.Context, o finding.Observed, key []byte) {
	for _, name := range []string{o.User, o.ImpersonatedUser} {
		if name == "" || !a.fresh(name) {
			continue
		}
		if err := a.store.Remember(ctx, record.Reference(key, name), name, time.Now()); err != nil {
			a.log.Error("whom a reference means is not kept", "err", err)
			a.forget(name)
		}
	}
}

// forget takes a name as never seen.
func (a *answers) forget(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.known, name)
}

// fresh reports whether a name was not seen before, and takes it as seen.
func (a *answers) fresh(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known[name] {
		return false
	}
	if len(a.known) >= maxPeople {
		clear(a.known)
	}
	a.known[name] = true
	return true
}
