package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/ledger/witness"
	"ringfence.dev/ringfence/record"
)

// LocalCluster is the name of the cluster in records, while there is one.
const LocalCluster = "local"

// evidence is the road of records: into the ledger, and from there to sinks; and of checkpoints to places outside.
type evidence struct {
	log       *slog.Logger
	ledger    *ledger.Log
	queue     *record.Queue
	sinks     *sinks
	publisher *witness.Publisher
	answers   *answers
	appends   *appendMetrics
	traces    *traces // nil for none
	flights   flights
	actorKey  []byte
	catalogue string // its digest
	dir       string
}

// openEvidence opens the ledger in a folder, or makes it: ledger/, ledger.key that signs it where no other key does, and actor.key, without which nobody
// can tell whom a reference in a record means.
func openEvidence(cfg Config, places []place, catalogue string, spans *traces, log *slog.Logger) (*evidence, error) {
	dir := cfg.Evidence
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for evidence: %w", err)
	}
	e := &evidence{log: log, catalogue: catalogue, dir: dir, flights: flights{byID: map[string]*flight{}}, appends: newAppendMetrics(), traces: spans}
	key, err := OpenLedgerKey(context.Background(), dir, cfg.LedgerKey)
	if err != nil {
		return nil, err
	}
	if e.actorKey, err = actorKey(filepath.Join(dir, "actor.key")); err != nil {
		return nil, err
	}
	if e.ledger, err = ledger.Open(ledger.Config{Dir: filepath.Join(dir, "ledger"), Key: key}); err != nil {
		return nil, err
	}
	if err := e.wire(cfg, places); err != nil {
		return nil, errors.Join(err, e.ledger.Close())
	}
	return e, nil
}

// wire joins what writes the ledger and what reads it.
func (e *evidence) wire(cfg Config, places []place) (err error) {
	opened := make([]forward.Opened, len(cfg.Sinks))
	for i, o := range cfg.Sinks {
		o.Sink = e.traces.sending(o.Name, o.Sink)
		opened[i] = o
	}
	if e.sinks, err = openSinks(context.Background(), opened, sinksDir(cfg.Evidence), e.ledger, e.log); err != nil {
		return err
	}
	e.answers = openAnswers(context.Background(), cfg.Evidence, cfg.StoreKeep, e.log)
	if e.publisher, err = newPublisher(places, cfg.WitnessEvery, e.ledger, e.log); err != nil {
		return err
	}
	e.queue, err = record.NewQueue(record.QueueConfig{Cluster: LocalCluster, Sink: e.traces.keeping(e.sinks.after(e.appends.timed(e.ledger.Sink))), Last: e.ledger.Last(LocalCluster), Now: time.Now, Log: e.log})
	return err
}

// loadOrMakeKey reads a key, or makes one whose name is prefix and chance.
func loadOrMakeKey(path, prefix string) (ledger.Key, error) {
	key, err := ledger.LoadKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ledger.NewKey(path, newName(prefix))
	}
	return key, err
}

// actorKey reads the key of references to people, or makes it.
func actorKey(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, 32)
		_, _ = rand.Read(key)                                                          // it never fails
		return key, durable.Replace(path, []byte(hex.EncodeToString(key)+"\n"), 0o600) // before any record is made with it
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of references: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("read %s: want 64 hexadecimal digits", path)
	}
	return key, nil
}

// run writes records until ctx ends and what waits is written, then closes the ledger. Sinks and places outside are served
// until then.
func (e *evidence) run(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { return e.sinks.run(ctx) })
	group.Go(func() error { e.publisher.Run(ctx); return nil })
	group.Go(func() error { e.answers.run(ctx, e.ledger, e.traces); return nil })
	group.Go(func() error {
		if err := e.recordCatalogue(ctx, e.dir); err != nil && ctx.Err() == nil {
			e.log.Error("which catalogue is in force is not recorded", "err", err)
		}
		return nil
	})
	err := e.queue.Run(ctx)
	return errors.Join(err, group.Wait(), e.ledger.Close())
}
