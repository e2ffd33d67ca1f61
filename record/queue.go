package record

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"
)

const (
	// DefaultQueue is how many records wait at most: ten seconds of 1,000 a second.
	DefaultQueue = 10_000
	// maxQueued is how many bytes of bodies wait at most, 64 MiB.
	maxQueued = 64 << 20
	// maxDelivery is how many records the sink gets at once.
	maxDelivery = 500
	// firstWait and lastWait bound the time between two tries of a sink that fails.
	firstWait, lastWait = 100 * time.Millisecond, 5 * time.Second
	// outage is how long the sink must have failed for it to be recorded though nothing was lost.
	outage = 10 * time.Second
	// drainTime bounds how long Run goes on after its context has ended.
	drainTime = 10 * time.Second
	// self is the producer of the queue's own records.
	self = "record"
)

var (
	// ErrFull is returned by Put for a record that found no room, and is counted.
	ErrFull = errors.New("the queue of records is full")
	// ErrRejected is wrapped by a sink for records that it will never take, and by Put for what is not valid.
	ErrRejected = errors.New("the record can never be kept")
)

// Sink keeps records for ever: when it returns nil all of them are durable. It may be given a record again, with the same
// id, after an error. An error that wraps ErrRejected says that at least one of them can never be taken.
type Sink func(ctx context.Context, records []Record) error

// Last is the latest that the sink holds of one producer.
type Last struct {
	// Seq is the latest sequence number.
	Seq uint64
	// Time is the time of that record.
	Time time.Time
}

// QueueConfig is what a Queue needs. Zero values that are not said to be allowed are refused.
type QueueConfig struct {
	// Cluster is the cluster of all records.
	Cluster string
	// Sink keeps them.
	Sink Sink
	// Last says for each producer where it stopped; sequence numbers go on from there. Empty for a new ledger.
	Last map[string]Last
	// Capacity is how many records wait at most; zero is DefaultQueue.
	Capacity int
	// Now is the clock.
	Now func() time.Time
	// Log is told of losses and silence.
	Log *slog.Logger
}

// Queue takes records from producers and hands them to one sink, in order. It never blocks a producer: when it is full a
// record is counted and lost, its sequence number stays a hole, and as soon as there is room an overflow.v1 record says how many,
// whose and since when. A producer that promised to be heard and is not, leaves silence.v1 records. It is safe for many
// goroutines; Run must run.
type Queue struct {
	cfg  QueueConfig
	wake chan struct{} // holds one value when there is something to do

	mu        sync.Mutex // guards what follows
	waiting   []*waiting
	bytes     int
	producers map[string]*producer
	outages   map[outageKey]*lost
	written   uint64
	closed    bool
}

// waiting is one record in the queue.
type waiting struct {
	record Record
	done   chan error // nil where nobody waits; has room for one
	since  time.Time
}

// producer is what is known of one.
type producer struct {
	seq      uint64
	heard    time.Time     // with the monotonic clock: a wall clock that is set changes nothing
	promised time.Duration // zero for none
	silent   bool
	lost     map[string]uint64 // by why, since the start
}

// outageKey is whose loss it is and why.
type outageKey struct{ producer, why string }

// lost is a loss that is not recorded yet.
type lost struct {
	n            uint64
	since, until time.Time
	err          string
}

// NewQueue makes a queue. A producer that is in Last and makes a promise leaves a silence.v1 record for the time since.
func NewQueue(cfg QueueConfig) (*Queue, error) {
	if !nameForm.MatchString(cfg.Cluster) || cfg.Sink == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, fmt.Errorf("make the queue of records: found cluster %.80q; want a name in lower case, a sink, a clock and a log", cfg.Cluster)
	}
	if cfg.Capacity <= 0 {
		cfg.Capacity = DefaultQueue
	}
	cfg.Last = maps.Clone(cfg.Last)
	q := &Queue{cfg: cfg, wake: make(chan struct{}, 1), producers: map[string]*producer{}, outages: map[outageKey]*lost{}}
	for name, last := range cfg.Last {
		q.producers[name] = &producer{seq: last.Seq, lost: map[string]uint64{}}
	}
	return q, nil
}

// Add puts records of one producer into the queue and returns at once. Cluster, Producer and Seq are set by the queue; an
// empty Time is now. It reports how many found no room or were not valid; they are counted and their loss is recorded.
func (q *Queue) Add(producer string, records ...Record) (refused int) {
	for _, r := range records {
		if err := q.push(producer, r, nil); err != nil {
			refused++
		}
	}
	return refused
}

// Put is Add of one record for a producer that can try again: it returns nil when the sink holds the record, ErrFull at once
// where there is no room, ErrRejected where it can never be kept. When ctx ends first the record may still be kept.
func (q *Queue) Put(ctx context.Context, producer string, r Record) error {
	done, err := q.Begin(producer, r)
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("keep record %s: %w", r.ID, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("keep record %s: %w", r.ID, ctx.Err())
	}
}

// Begin is Put that does not wait: one value comes on the channel when the sink holds the record, or when it is known that it
// never will. Errors are those of Put.
func (q *Queue) Begin(producer string, r Record) (<-chan error, error) {
	done := make(chan error, 1)
	if err := q.push(producer, r, done); err != nil {
		return nil, fmt.Errorf("keep record %.128q: %w", r.ID, err)
	}
	return done, nil
}

// Waiting is how many records are not written yet.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// Promise says that a producer will Add, Put or Beat at least once in every while; what was promised before is replaced. A
// producer counts as heard when it promises.
func (q *Queue) Promise(name string, every time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.producer(name)
	p.promised, p.heard = every, q.cfg.Now()
	if last := q.cfg.Last[name]; !last.Time.IsZero() {
		q.own(silence(name, every, last.Time, p.heard, "restart"))
		delete(q.cfg.Last, name)
	}
}

// Beat says that a producer is alive and has nothing to record.
func (q *Queue) Beat(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.hear(name)
}

// hear notes that a producer was heard, and records the end of its silence. q.mu is held.
func (q *Queue) hear(name string) *producer {
	p, now := q.producer(name), q.cfg.Now()
	if p.silent {
		p.silent = false
		q.own(silence(name, p.promised, p.heard, now, "quiet"))
	}
	p.heard = now
	return p
}

// producer is that of a name. q.mu is held.
func (q *Queue) producer(name string) *producer {
	p := q.producers[name]
	if p == nil {
		p = &producer{lost: map[string]uint64{}}
		q.producers[name] = p
	}
	return p
}

// push gives a record its number and its place.
func (q *Queue) push(name string, r Record, done chan error) error {
	if !nameForm.MatchString(name) || name == self {
		return fmt.Errorf("%w: found producer %.80q; want a name in lower case, and not %s", ErrRejected, name, self)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.hear(name)
	p.seq++
	if q.closed { // the hole in the numbers is all that can still be kept of it
		p.lost["queue-full"]++
		return ErrFull
	}
	r.Cluster, r.Producer, r.Seq = q.cfg.Cluster, name, p.seq
	if r.Time.IsZero() {
		r.Time = p.heard
	}
	r.Time = r.Time.UTC()
	if err := valid(r); err != nil {
		q.lose(r, "rejected", err)
		return fmt.Errorf("%w: %w", ErrRejected, err)
	}
	if len(q.waiting) >= q.cfg.Capacity || q.bytes+len(r.Body) > maxQueued {
		q.lose(r, "queue-full", nil)
		return ErrFull
	}
	q.enqueue(&waiting{record: r, done: done})
	return nil
}

// valid holds a record to its envelope and to the kinds there are.
func valid(r Record) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if _, ok := KindSchema(r.Kind); !ok {
		return fmt.Errorf("%w: kind is %q; want the name of a file in record/kinds without .json", ErrInvalid, r.Kind)
	}
	return nil
}

// enqueue adds to the end. q.mu is held.
func (q *Queue) enqueue(w *waiting) {
	w.since = q.cfg.Now()
	q.waiting = append(q.waiting, w)
	q.bytes += len(w.record.Body)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// lose counts a record that is not kept. q.mu is held.
func (q *Queue) lose(r Record, why string, err error) {
	q.producer(r.Producer).lost[why]++
	if r.Producer == self { // a record about a record that is rejected would be the next one
		q.cfg.Log.Error("a record of the queue itself is rejected", "id", r.ID, "err", err)
		return
	}
	q.note(r.Producer, why, 1, q.cfg.Now(), err)
}

// note adds to a loss that is to be recorded. q.mu is held.
func (q *Queue) note(producer, why string, n uint64, since time.Time, err error) {
	key := outageKey{producer, why}
	l := q.outages[key]
	if l == nil {
		l = &lost{since: since}
		q.outages[key] = l
		q.cfg.Log.Error("records are lost or late", "producer", producer, "why", why, "err", err)
	}
	l.n += n
	l.until = q.cfg.Now()
	if err != nil {
		l.err = err.Error()
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// own enqueues a record of the queue itself; these are few, and need no room. q.mu is held.
func (q *Queue) own(r Record) {
	p := q.producer(self)
	p.seq++
	r.Cluster, r.Producer, r.Seq = q.cfg.Cluster, self, p.seq
	r.Time = q.cfg.Now().UTC()
	q.enqueue(&waiting{record: r})
}
