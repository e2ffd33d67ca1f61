package auditlog

import (
	"errors"
	"mime"
	"net/http"
	"sync"
	"time"

	"ringfence.dev/ringfence/finding"
)

// readTimeout bounds the reading of one batch, below the 30 s after which the API server gives up on a call.
const readTimeout = 20 * time.Second

// Config is what a Handler needs.
type Config struct {
	Knowledge
	// Sink takes the findings of one event, never none. It is called from many goroutines and should not block: the API
	// server waits, and drops events once its queue of 10,000 is full.
	Sink func([]finding.Finding)
	// Now is the clock.
	Now func() time.Time
}

// Handler takes the batches of an audit webhook. It does not authenticate: who serves it does. An API server repeats a
// batch, some times, whatever error it is answered; so single malformed events are counted and the batch is accepted.
type Handler struct {
	cfg  Config
	seen seen

	mu    sync.Mutex // guards what follows
	stats Stats
	last  time.Time
}

var _ http.Handler = (*Handler)(nil)

// NewHandler makes a Handler. It returns an error where Sink or Now is missing.
func NewHandler(cfg Config) (*Handler, error) {
	if cfg.Sink == nil || cfg.Now == nil {
		return nil, errors.New("new audit handler: want Config.Sink and Config.Now set")
	}
	return &Handler{cfg: cfg}, nil
}

// Stats are counts since the start.
type Stats struct {
	// Events are the well-formed events, without Duplicates; Malformed could not be read and are lost.
	Events, Malformed uint64
	// Duplicates were delivered before.
	Duplicates uint64
	// Batches are all that were posted; Broken those that could not be read to their end: what followed is lost unless
	// a repetition brings it. Both beside refusals of method and content type.
	Batches, Broken uint64
	// Lateness is the age of the oldest event of the last batch on arrival: how late a finding may be. Never negative.
	Lateness time.Duration
}

// Stats is a consistent copy of the counts.
func (h *Handler) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stats
}

// LastEvent is when the newest event happened, by the API server's clock but never later than it arrived, and false
// before the first: then refusals are not observed, which is not the same as none.
func (h *Handler) LastEvent() (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last, !h.last.IsZero()
}

// ServeHTTP takes one batch: 200 when it was read to its end, 405, 413 (more than MaxBatch), 415 or 400 otherwise.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "audit webhook: found method "+finding.Value(r.Method)+"; want POST", http.StatusMethodNotAllowed)
		return
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || r.Header.Get("Content-Encoding") != "" {
		http.Error(w, "audit webhook: want Content-Type application/json and no Content-Encoding, as API servers send", http.StatusUnsupportedMediaType)
		return
	}
	// The deadline is the connection's, so by the machine's own clock. What cannot set one (a test) reads from memory.
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(readTimeout))
	err = h.take(r)
	_ = connection.SetReadDeadline(time.Time{})
	switch {
	case errors.Is(err, ErrTooLarge):
		http.Error(w, "audit webhook: "+err.Error()+"; fix: start the API server with --audit-webhook-truncate-enabled", http.StatusRequestEntityTooLarge)
	case err != nil:
		http.Error(w, "audit webhook: "+clean(err.Error(), maxMessage), http.StatusBadRequest)
	}
}

// take reads one batch and passes on what is new in it.
func (h *Handler) take(r *http.Request) error {
	now := h.cfg.Now()
	var count Stats
	var newest time.Time
	err := Decode(r.Body, func(e Event, err error) {
		if err != nil {
			count.Malformed++
			return
		}
		if e.StageTimestamp.After(newest) {
			newest = e.StageTimestamp
		}
		count.Lateness = max(count.Lateness, now.Sub(e.StageTimestamp))
		if h.seen.again(e) {
			count.Duplicates++
			return
		}
		count.Events++
		if fs := Findings(e, h.cfg.Knowledge); len(fs) > 0 {
			h.cfg.Sink(fs)
		}
	})
	if newest.After(now) {
		newest = now
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stats.Batches++
	if err != nil {
		h.stats.Broken++
	}
	h.stats.Events += count.Events
	h.stats.Malformed += count.Malformed
	h.stats.Duplicates += count.Duplicates
	if !newest.IsZero() {
		h.stats.Lateness = count.Lateness
	}
	if newest.After(h.last) {
		h.last = newest
	}
	return err
}
