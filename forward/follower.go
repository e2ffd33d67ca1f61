package forward

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"ringfence.dev/ringfence/finding"
)

const (
	// minBackoff doubles at each try up to maxBackoff; half of it is chance, so that followers do not march in step.
	minBackoff = time.Second
	maxBackoff = 5 * time.Minute
	// maxAfter bounds what a sink may ask for: an hour, so that a wrong header does not stop us for a year.
	maxAfter = time.Hour
	// maxSend bounds one try, whatever the sink's own deadlines: above Splunk's two minutes for an acknowledgement.
	maxSend = 5 * time.Minute
	// maxScan is how many records are looked at for one batch, so that the cursor moves although nothing is sent.
	maxScan = 10_000
	// maxAsideRun is how many messages in a row may be put aside with none taken between. Then the sink is taken to be set
	// up wrongly, and the next one waits.
	maxAsideRun = 8
)

// Options are what New needs.
type Options struct {
	// Name names the sink and its files in Dir: letters, digits and dashes.
	Name   string
	Source Source
	Sink   Sink
	Format Format
	// Kinds are the kinds that some rule reads; the rest is not sent. Empty is all.
	Kinds []string
	// Dir holds NAME.cursor, and NAME.aside.jsonl with what the sink could not take. It must exist.
	Dir string
	// Log gets what an operator must know. Never a record's text or a secret.
	Log *slog.Logger
	// Poll is how often the source is asked where Wake tells nothing; zero is 1 s.
	Poll time.Duration
	// Wake is sent to when the source has grown; nil is fine.
	Wake <-chan struct{}
	// Now is the clock, Sleep waits and returns the context's error if that ends first. Nil is the machine's.
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// Follower sends what is in a Source to one Sink, from where its cursor stands. It holds one batch in memory.
type Follower struct {
	o      Options
	cursor cursor
	path   string
	run    int // messages put aside since the sink took one

	mu    sync.Mutex // guards what follows
	stats Stats
	// oldest is when the oldest record that waits happened; zero for none.
	oldest time.Time
}

// New makes a Follower and reads its cursor. Errors are ErrForeignCursor, and of files.
func New(ctx context.Context, o Options) (*Follower, error) {
	if !nameForm.MatchString(o.Name) || o.Source == nil || o.Sink == nil || o.Format == nil || o.Log == nil {
		return nil, fmt.Errorf("follow for sink %q: want a name, a Source, a Sink, a Format and a Log", finding.Value(o.Name))
	}
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	f := &Follower{o: o, path: filepath.Join(o.Dir, o.Name+".cursor")}
	var err error
	if f.cursor, err = readCursor(f.path, o.Name); err != nil {
		return nil, err
	}
	if err := f.own(ctx); err != nil {
		return nil, err
	}
	f.stats.Next = f.cursor.Next
	return f, nil
}

// own checks that the cursor was made on this source.
func (f *Follower) own(ctx context.Context) error {
	if f.cursor.Next == 0 {
		return nil
	}
	for e, err := range f.o.Source.Read(ctx, f.cursor.Next-1) {
		if err != nil {
			return fmt.Errorf("check the cursor of sink %s: %w", f.o.Name, err)
		}
		if e.Index == f.cursor.Next-1 && e.ID == f.cursor.Last {
			return nil
		}
		break
	}
	return fmt.Errorf("sink %s: %w: record %d is not %s; fix: give the sink the ledger that it followed, or remove %s to send everything again",
		f.o.Name, ErrForeignCursor, f.cursor.Next-1, f.cursor.Last, f.path)
}

// Run follows until its context ends, which is no error. It closes the sink.
func (f *Follower) Run(ctx context.Context) error {
	defer f.o.Sink.Close()
	for failed := 0; ctx.Err() == nil; {
		items, through, last, err := f.collect(ctx)
		if err == nil && len(items) > 0 {
			err = f.deliver(ctx, items)
		}
		if err == nil && through != f.cursor.position {
			err = f.commit(ctx, through, last)
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			f.failed(err)
			_ = f.o.Sleep(ctx, backoff(failed))
			failed++
		case len(items) == 0 && f.caughtUp(ctx):
			failed = 0
			f.idle(ctx)
		default:
			failed = 0
		}
	}
	return nil
}

// Catch sends what there is now and returns; an error is one of the source or of ctx.
func (f *Follower) Catch(ctx context.Context) error {
	for {
		items, through, last, err := f.collect(ctx)
		if err == nil && len(items) > 0 {
			err = f.deliver(ctx, items)
		}
		if err == nil && through != f.cursor.position {
			err = f.commit(ctx, through, last)
		}
		if err != nil || len(items) == 0 && f.caughtUp(ctx) {
			return err
		}
	}
}

// idle waits for more.
func (f *Follower) idle(ctx context.Context) {
	timer := time.NewTimer(f.o.Poll)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-f.o.Wake:
	case <-timer.C:
	}
}

// item is a message of a batch and where the cursor stands once it was taken.
type item struct {
	Message
	index uint64
	after position
	// last is the id of the record before after.Next.
	last string
	// never says why the sink cannot take it; then Data is the record.
	never string
}

// collect reads the next batch: its items, and how far the source was read for it, which is beyond them where the records
// that follow are not for this sink. One record that makes more than fits is sent in several batches.
func (f *Follower) collect(ctx context.Context) (items []item, through position, last string, err error) {
	limits := f.o.Sink.Limits()
	through, last = f.cursor.position, f.cursor.Last
	bytes, scanned := 0, 0
	var oldest time.Time
	for e, err := range f.o.Source.Read(ctx, f.cursor.Next) {
		if err != nil {
			return nil, f.cursor.position, "", fmt.Errorf("read the ledger from %d: %w", f.cursor.Next, err)
		}
		if scanned++; scanned > maxScan {
			break
		}
		if !f.takes(e.Kind) {
			f.skipped(len(e.Body))
			through, last = position{Next: e.Index + 1}, e.ID
			continue
		}
		if oldest.IsZero() {
			oldest = e.Time
		}
		before, full := last, false
		made := f.items(e)
		for i, it := range made {
			if i < f.cursor.Message && e.Index == f.cursor.Next {
				continue
			}
			size := len(it.Data) + limits.Overhead
			if it.never == "" && size > limits.Bytes {
				it.never = fmt.Sprintf("%d bytes; the sink takes %d", size, limits.Bytes)
				size = 0
			}
			if len(items) > 0 && (bytes+size > limits.Bytes || len(items) >= limits.Messages) {
				full = true
				break
			}
			it.after, it.last = position{Next: e.Index, Message: i + 1}, before
			if i == len(made)-1 {
				it.after, it.last = position{Next: e.Index + 1}, e.ID
			}
			items, bytes = append(items, it), bytes+size
		}
		if full {
			break
		}
		through, last = position{Next: e.Index + 1}, e.ID
	}
	if n := len(items); n > 0 && items[n-1].after.Next >= through.Next {
		through, last = items[n-1].after, items[n-1].last
	}
	f.mu.Lock()
	f.oldest = oldest
	f.mu.Unlock()
	return items, through, last, ctx.Err()
}

// items formats a record.
func (f *Follower) items(e Entry) []item {
	messages, err := f.o.Format(e.Record)
	if err == nil {
		var out []item
		for _, m := range messages {
			out = append(out, item{Message: m, index: e.Index})
		}
		return out
	}
	data, encodeErr := json.Marshal(e.Record)
	if encodeErr != nil {
		data = []byte("null")
	}
	return []item{{Message: Message{ID: e.ID, Kind: e.Kind, Time: e.Time, Data: data}, index: e.Index, never: err.Error()}}
}

// takes reports whether the sink wants a kind.
func (f *Follower) takes(kind string) bool {
	return len(f.o.Kinds) == 0 || slices.Contains(f.o.Kinds, kind)
}

// deliver sends items in order until each is taken or put aside, or ctx ends.
func (f *Follower) deliver(ctx context.Context, items []item) error {
	if at := slices.IndexFunc(items, func(it item) bool { return it.never != "" }); at >= 0 {
		if at > 0 {
			if err := f.deliver(ctx, items[:at]); err != nil {
				return err
			}
		}
		if err := f.putAside(ctx, items[at], items[at].never); err != nil {
			return err
		}
		if at+1 < len(items) {
			return f.deliver(ctx, items[at+1:])
		}
		return nil
	}
	for try := 0; ; try++ {
		err := f.send(ctx, items)
		if err == nil {
			f.run = 0
			f.took(items)
			last := items[len(items)-1]
			return f.commit(ctx, last.after, last.last)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fault := faultOf(err)
		switch {
		case fault.Refused && len(items) > 1:
			return f.split(ctx, items, fault.At)
		case fault.Refused && f.run < maxAsideRun:
			f.run++
			return f.putAside(ctx, items[0], fault.Error())
		}
		f.retry(fault, try)
		if err := f.o.Sleep(ctx, pause(fault, try)); err != nil {
			return err
		}
	}
}

// split delivers a refused batch in parts: around the message the sink named, else in halves.
func (f *Follower) split(ctx context.Context, items []item, at int) error {
	parts := [][]item{items[:len(items)/2], items[len(items)/2:]}
	if at >= 0 && at < len(items) {
		parts = [][]item{items[:at], items[at : at+1], items[at+1:]}
	}
	for _, part := range parts {
		if len(part) == 0 {
			continue
		}
		if err := f.deliver(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// send is one try.
func (f *Follower) send(ctx context.Context, items []item) error {
	ctx, cancel := context.WithTimeout(ctx, maxSend)
	defer cancel()
	batch := make([]Message, len(items))
	for i, it := range items {
		batch[i] = it.Message
	}
	return f.o.Sink.Send(ctx, batch)
}

// putAside writes what the sink cannot take to a file, tells of it, and moves on.
func (f *Follower) putAside(ctx context.Context, it item, reason string) error {
	data := json.RawMessage(it.Data)
	if !json.Valid(data) {
		data, _ = json.Marshal(string(it.Data)) // a text always has a form in JSON
	}
	path := filepath.Join(f.o.Dir, f.o.Name+".aside.jsonl")
	line := aside{f.o.Now().UTC().Format(time.RFC3339), f.o.Name, it.index, it.ID, finding.Clean(reason), data}
	if err := f.durably(ctx, func() error { return appendAside(path, line) }); err != nil {
		return err
	}
	f.o.Log.Error("a record cannot be forwarded and was put aside", "sink", f.o.Name, "id", it.ID, "file", filepath.Base(path), "err", line.Reason)
	f.mu.Lock()
	f.stats.Aside++
	f.mu.Unlock()
	return f.commit(ctx, it.after, it.last)
}

// commit moves the cursor, durably.
func (f *Follower) commit(ctx context.Context, to position, last string) error {
	next := cursor{Sink: f.o.Name, position: to, Last: last}
	if err := f.durably(ctx, func() error { return next.write(f.path) }); err != nil {
		return err
	}
	f.cursor = next
	f.mu.Lock()
	f.stats.Next = to.Next
	f.mu.Unlock()
	return nil
}

// durably tries until a file is written: a full disk is no reason to lose a record or to send it for ever.
func (f *Follower) durably(ctx context.Context, write func() error) error {
	for try := 0; ; try++ {
		err := write()
		if err == nil {
			return nil
		}
		f.failed(err)
		if err := f.o.Sleep(ctx, backoff(try)); err != nil {
			return err
		}
	}
}

// pause is how long to wait before the next try.
func pause(fault *Fault, try int) time.Duration {
	return max(backoff(try), min(fault.After, maxAfter))
}

// backoff doubles from minBackoff to maxBackoff; between a half and the whole of it is drawn.
func backoff(try int) time.Duration {
	d := maxBackoff
	if try < 9 {
		d = min(d, minBackoff<<try)
	}
	return d/2 + rand.N(d/2+1)
}

// sleep waits by the machine's clock.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Dir makes the directory of cursors, readable by its owner alone.
func Dir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make the directory of cursors: %w", err)
	}
	return nil
}
