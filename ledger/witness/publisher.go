// Package witness publishes checkpoints of a ledger to places outside, so that whoever holds the ledger's key cannot rewrite
// history unseen: a folder, a Git repository, a bucket, another Ringfence. It is also that other Ringfence: a Witness takes
// checkpoints of logs, and refuses one that is not of the history it saw before (C2SP tlog-witness).
//
// It reads the ledger's tiles for proofs and never writes it. The control plane runs a Publisher and serves a Witness.
package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringfence.dev/ringfence/ledger"
)

const (
	// publishTimeout bounds one try of one place.
	publishTimeout = 30 * time.Second
	// firstWait and lastWait bound the time between two tries.
	firstWait, lastWait = time.Second, time.Minute
	// DefaultEvery is how often a checkpoint is published, at most; so long can history be rewritten unseen.
	DefaultEvery = time.Minute
)

// ErrConflict is wrapped where a place holds a checkpoint that is not of this history. It does not go away by itself.
var ErrConflict = errors.New("a checkpoint was published before that is not of this ledger's history")

// Place is somewhere outside that keeps checkpoints.
type Place struct {
	// Name is told to people and in metrics.
	Name string
	// Publish brings a signed checkpoint there. What is there already is no error; what contradicts it wraps ErrConflict.
	Publish func(ctx context.Context, checkpoint []byte) error
}

// Status is how far a place is.
type Status struct {
	// Name is the place's.
	Name string `json:"name"`
	// Size is how many entries the latest checkpoint counts that it took; Published is when. Both zero before the first.
	Size      int64     `json:"size"`
	Published time.Time `json:"published"`
	// Behind is for how long it has lacked a newer checkpoint; zero when it has the latest.
	Behind time.Duration `json:"behind"`
	// Failures counts tries that failed since the last that did not, and Err is what the last one said.
	Failures int    `json:"failures"`
	Err      string `json:"err"`
	// Conflict is whether the place contradicts the ledger.
	Conflict bool `json:"conflict"`
}

// Config is what a Publisher needs.
type Config struct {
	// Latest is the ledger's latest signed checkpoint.
	Latest func() []byte
	// Places are where it goes. Each has its own pace: one that hangs holds up no other.
	Places []Place
	// Every is how often it is published at most; zero is DefaultEvery.
	Every time.Duration
	// Now is the clock, Log is told when a place falls behind and when it is back.
	Now func() time.Time
	Log *slog.Logger
}

// Publisher brings checkpoints to places. A place that cannot be reached is tried again for ever, with the checkpoint that is
// latest then. Nothing is queued: the latest checkpoint stands for all before it.
type Publisher struct {
	cfg Config

	mu     sync.Mutex // guards what follows
	status []Status
	since  []time.Time // when a place began to lack a checkpoint, zero where it does not
}

// New makes a Publisher.
func New(cfg Config) (*Publisher, error) {
	if cfg.Latest == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("make the publisher of checkpoints: want a ledger, a clock and a log")
	}
	if cfg.Every <= 0 {
		cfg.Every = DefaultEvery
	}
	p := &Publisher{cfg: cfg, since: make([]time.Time, len(cfg.Places))}
	for _, place := range cfg.Places {
		if place.Name == "" || place.Publish == nil {
			return nil, errors.New("make the publisher of checkpoints: found a place without name or way to it")
		}
		p.status = append(p.status, Status{Name: place.Name})
	}
	return p, nil
}

// Run publishes until ctx ends.
func (p *Publisher) Run(ctx context.Context) {
	var group sync.WaitGroup
	for i := range p.cfg.Places {
		group.Go(func() { p.serve(ctx, i) })
	}
	group.Wait()
}

// serve keeps one place up to date.
func (p *Publisher) serve(ctx context.Context, i int) {
	wait, failed := time.Duration(0), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		err := p.publish(ctx, i)
		switch {
		case err == nil:
			wait = p.cfg.Every
		case !failed:
			wait = firstWait
		default:
			wait = min(2*wait, lastWait)
		}
		failed = err != nil
	}
}

// publish brings the latest checkpoint to one place, if it lacks it.
func (p *Publisher) publish(ctx context.Context, i int) error {
	checkpoint := p.cfg.Latest()
	_, tree, err := ledger.ParseCheckpoint(string(checkpoint))
	if err != nil {
		return err
	}
	p.mu.Lock()
	s := p.status[i]
	if !s.Published.IsZero() && s.Size == tree.N && s.Failures == 0 {
		p.mu.Unlock()
		return nil
	}
	if p.since[i].IsZero() {
		p.since[i] = p.cfg.Now()
	}
	p.mu.Unlock()
	try, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	err = p.cfg.Places[i].Publish(try, checkpoint)
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		p.failed(i, err)
		return err
	}
	if s.Failures > 0 {
		p.cfg.Log.Info("checkpoints are published again", "place", s.Name, "size", tree.N)
	}
	p.status[i] = Status{Name: s.Name, Size: tree.N, Published: p.cfg.Now().UTC()}
	p.since[i] = time.Time{}
	return nil
}

// failed notes a try that failed, and tells of the first one. p.mu is held.
func (p *Publisher) failed(i int, err error) {
	s := &p.status[i]
	conflict := errors.Is(err, ErrConflict)
	if s.Failures == 0 || conflict && !s.Conflict {
		p.cfg.Log.Error("checkpoints are not published", "place", s.Name, "err", err)
	}
	s.Failures++
	s.Err, s.Conflict = err.Error(), conflict
}

// Status is how far every place is.
func (p *Publisher) Status() []Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Status, len(p.status))
	for i, s := range p.status {
		if !p.since[i].IsZero() {
			s.Behind = p.cfg.Now().Sub(p.since[i])
		}
		out[i] = s
	}
	return out
}

// Describe implements prometheus.Collector.
func (p *Publisher) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(p, ch) }

// Collect implements prometheus.Collector.
func (p *Publisher) Collect(ch chan<- prometheus.Metric) {
	for _, s := range p.Status() {
		conflict := 0.0
		if s.Conflict {
			conflict = 1
		}
		for name, m := range map[string]struct {
			help  string
			value float64
		}{
			"ringfence_witness_behind_seconds": {"For how long a place outside has lacked the ledger's latest checkpoint.", s.Behind.Seconds()},
			"ringfence_witness_failures":       {"Tries to publish a checkpoint that failed since the last that did not.", float64(s.Failures)},
			"ringfence_witness_conflict":       {"1 while a place outside holds a checkpoint that is not of this ledger's history.", conflict},
			"ringfence_witness_size":           {"How many entries the latest published checkpoint counts.", float64(s.Size)},
		} {
			ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, m.help, []string{"place"}, nil), prometheus.GaugeValue, m.value, s.Name)
		}
	}
}

// conflict is an ErrConflict with the two sizes.
func conflict(there, here int64) error {
	return fmt.Errorf("%w: found one of %d entries there; the ledger counts %d now: verify it against that one", ErrConflict, there, here)
}
