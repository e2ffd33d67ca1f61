package forward

import (
	"context"
	"time"

	"ringfence.dev/ringfence/finding"
)

// Stats tell how a Follower is doing. Counts are since the start of the process. Their JSON is stable: fields are only added.
type Stats struct {
	Sink string `json:"sink"`
	// Next is the index of the first record that the sink has not taken.
	Next uint64 `json:"next"`
	// LagRecords is how many records wait; LagSeconds how long ago the oldest of them happened, 0 where none does.
	LagRecords uint64  `json:"lagRecords"`
	LagSeconds float64 `json:"lagSeconds"`
	// Sent are messages that were taken, SentBytes their text.
	Sent      uint64 `json:"sent"`
	SentBytes uint64 `json:"sentBytes"`
	// Skipped are records whose kind the sink does not want, SkippedBytes their bodies: what was saved.
	Skipped      uint64 `json:"skipped"`
	SkippedBytes uint64 `json:"skippedBytes"`
	// Aside are messages that the sink can never take. They lie in the file NAME.aside.jsonl.
	Aside uint64 `json:"aside"`
	// Retries are tries that failed and are made again.
	Retries uint64 `json:"retries"`
	// LastError is the newest failure, "" once a batch was taken after it.
	LastError string `json:"lastError"`
	// LastSuccess is when the sink last took a batch; zero for never.
	LastSuccess time.Time `json:"lastSuccess"`
}

// Stats is a consistent copy of the counts, with the lag of this moment. Where the source does not answer, LagRecords is 0
// and LastError says so.
func (f *Follower) Stats(ctx context.Context) Stats {
	size, err := f.o.Source.Size(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Sink = f.o.Name
	if err != nil {
		s.LastError = "ask for the size of the ledger: " + finding.Clean(err.Error())
	}
	if size > s.Next {
		s.LagRecords = size - s.Next
		if !f.oldest.IsZero() {
			s.LagSeconds = max(0, f.o.Now().Sub(f.oldest).Seconds())
		}
	}
	return s
}

// caughtUp reports whether there is nothing to send.
func (f *Follower) caughtUp(ctx context.Context) bool {
	size, err := f.o.Source.Size(ctx)
	return err != nil || f.cursor.Next >= size
}

// took counts what was taken.
func (f *Follower) took(items []item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, it := range items {
		f.stats.Sent++
		f.stats.SentBytes += uint64(len(it.Data))
	}
	f.stats.LastError, f.stats.LastSuccess = "", f.o.Now()
}

// skipped counts a record that is not for this sink.
func (f *Follower) skipped(bytes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Skipped++
	f.stats.SkippedBytes += uint64(bytes)
}

// retry counts a failed try, and tells of it at first and then at every tenth.
func (f *Follower) retry(fault *Fault, try int) {
	text := finding.Clean(fault.Error())
	f.mu.Lock()
	f.stats.Retries++
	f.stats.LastError = text
	f.mu.Unlock()
	switch {
	case fault.Refused && try == 0:
		f.o.Log.Error("a sink refuses everything; nothing more is put aside and it waits; see how it is set up", "sink", f.o.Name, "err", text)
	case try%10 == 0:
		f.o.Log.Warn("a sink does not take records; they wait in the ledger", "sink", f.o.Name, "try", try+1, "err", text)
	}
}

// failed notes what is not the sink's fault.
func (f *Follower) failed(err error) {
	text := finding.Clean(err.Error())
	f.mu.Lock()
	told := f.stats.LastError == text
	f.stats.LastError = text
	f.mu.Unlock()
	if !told {
		f.o.Log.Error("forwarding is held up", "sink", f.o.Name, "err", text)
	}
}
