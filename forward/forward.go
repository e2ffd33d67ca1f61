// Package forward sends records on to the places where a bank's security people look: a SIEM, a syslog server, a webhook,
// a file. Each sink has a Follower with a durable cursor of its own, so that a sink that was down goes on where it stopped.
//
// What is promised: in the order of the ledger, at least once, and with an identity that is the same at every delivery.
// A record that a sink can never take is put aside in a file, counted and told of. Nothing here changes a verdict or holds
// up the ledger. The formats (ocsf, syslog's CEF) and the sinks are sub-packages, chosen in a literal of cli (sinks.go).
package forward

import (
	"context"
	"errors"
	"iter"
	"time"

	"ringfence.dev/ringfence/forward/wire"
	"ringfence.dev/ringfence/record"
)

// Entry is a record with its place in the ledger.
type Entry struct {
	// Index counts from 0 without a gap.
	Index uint64
	record.Record
}

// Source is the ledger as a Follower sees it. It must be safe for many goroutines.
type Source interface {
	// Read yields the entries from index on, in order, and ends at the newest. It yields an error at most once, as its
	// last. From beyond the newest it yields nothing.
	Read(ctx context.Context, from uint64) iter.Seq2[Entry, error]
	// Size is the index after the newest entry.
	Size(ctx context.Context) (uint64, error)
}

// Pages is a Source over a ledger that is read a page at a time.
type Pages struct {
	// Count is the index after the newest entry.
	Count func() uint64
	// Page returns entries from index on, at most n and at least one where there is one.
	Page func(ctx context.Context, from uint64, n int) ([]Entry, error)
}

var _ Source = Pages{}

// pageSize is what a tile of the ledger holds.
const pageSize = 256

// Read implements Source.
func (p Pages) Read(ctx context.Context, from uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for {
			page, err := p.Page(ctx, from, pageSize)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
				from = e.Index + 1
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// Size implements Source.
func (p Pages) Size(context.Context) (uint64, error) { return p.Count(), nil }

// Message is what a Format made of a record: the unit in which a sink takes, refuses and acknowledges.
type Message struct {
	// ID is the same at every delivery: the record's id, and "." and a number where a record makes more than one.
	ID string
	// Kind, Cluster and Time are the record's.
	Kind, Cluster string
	Time          time.Time
	// Severity is of what it tells, worst 0 to debug 7, as RFC 5424 counts.
	Severity int
	// Data is the text that is sent: JSON on one line, or a line of CEF.
	Data []byte
}

// Format makes messages of a record, always the same ones in the same order. No messages means that there is nothing to
// tell. An error means that it can never be told: the record is put aside.
type Format func(record.Record) ([]Message, error)

// Limits bound a batch.
type Limits struct {
	// Bytes is the most that the Data of one batch may add up to, with Overhead for each message; Messages how many.
	Bytes, Overhead, Messages int
}

// Sink is a place that takes messages. One Follower calls it, from one goroutine.
type Sink interface {
	// Limits are the same at every call.
	Limits() Limits
	// Send delivers a batch, never empty, and returns nil once the sink holds all of it. A *Fault says what else may be
	// done than to try again; any other error is tried again.
	Send(ctx context.Context, batch []Message) error
	// Close lets go of connections and files.
	Close() error
}

// Fault is why a batch was not taken; sinks make it with wire.Retry and wire.Refuse.
type Fault = wire.Fault

// faultOf is the Fault in an error; any other error is to be tried again.
func faultOf(err error) *Fault {
	if fault := (*Fault)(nil); errors.As(err, &fault) {
		return fault
	}
	return &Fault{At: -1, Err: err}
}
