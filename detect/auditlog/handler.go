package auditlog

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
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

// Handler takes audit events, from however many doors: it serves the batches of an audit webhook itself, Door those of a
// cloud's log service, and Tail follows a file. What comes by more than one of them counts once. It does not authenticate:
// who serves it does. An API server repeats a batch, some times, whatever error it is answered; so single malformed events
// are counted and the batch is accepted.
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
	// Batches are all that were posted, and the pieces of a file that were read; Broken those that could not be read to
	// their end: what followed is lost unless a repetition brings it. Both beside refusals of method and content type.
	Batches, Broken uint64
	// Gaps are places in a file from where events may be lost: it was cut short, or rotated away before it was read.
	Gaps uint64
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
	h.serve(w, r, door{name: "audit webhook", decode: Decode, types: []string{"application/json"},
		want: "application/json and no Content-Encoding, as API servers send", fix: "; fix: start the API server with --audit-webhook-truncate-enabled"})
}

// Door serves another form of batches: DecodeEKS, DecodeAKS, DecodeGKE or DecodeLines. Bodies may be compressed. An Amazon
// Data Firehose is answered in the form that it wants.
func (h *Handler) Door(decode func(io.Reader, func(Event, error)) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.serve(w, r, door{name: "audit events", decode: decode, gzip: true,
			types: []string{"application/json", "application/x-ndjson", "application/octet-stream", "application/cloudevents+json"}, want: "application/json"})
	})
}

// door is how one form of batches is served.
type door struct {
	name, want, fix string
	decode          func(io.Reader, func(Event, error)) error
	types           []string
	gzip            bool
}

// serve takes one batch.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, d door) {
	fail := func(text string, code int) { h.answer(w, r, d.name+": "+text, code) }
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		fail("found method "+finding.Value(r.Method)+"; want POST", http.StatusMethodNotAllowed)
		return
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	encoding := r.Header.Get("Content-Encoding")
	if err != nil || !slices.Contains(d.types, kind) || encoding != "" && (!d.gzip || encoding != "gzip") {
		fail("want Content-Type "+d.want, http.StatusUnsupportedMediaType)
		return
	}
	// The deadline is the connection's, so by the machine's own clock. What cannot set one (a test) reads from memory.
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(readTimeout))
	err = h.takeBody(r.Body, encoding, d.decode)
	_ = connection.SetReadDeadline(time.Time{})
	switch {
	case errors.Is(err, ErrTooLarge):
		fail(ErrTooLarge.Error()+d.fix, http.StatusRequestEntityTooLarge)
	case err != nil:
		fail(clean(err.Error(), maxMessage), http.StatusBadRequest)
	default:
		h.answer(w, r, "", http.StatusOK)
	}
}

// takeBody reads a body, unpacked where it is compressed; decoders bound what comes out.
func (h *Handler) takeBody(body io.Reader, encoding string, decode func(io.Reader, func(Event, error)) error) error {
	if encoding == "" {
		return h.take(body, decode)
	}
	unpacked, err := gzip.NewReader(&limitedReader{r: body, left: MaxBatch})
	if err != nil {
		return errors.New("the body is not compressed as Content-Encoding says")
	}
	return h.take(unpacked, decode)
}

// answer ends a request. A Firehose wants its own request id back, and the time, with every answer.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, text string, code int) {
	id := r.Header.Get("X-Amz-Firehose-Request-Id")
	switch {
	case id != "":
		reply := struct {
			RequestID string `json:"requestId"`
			Timestamp int64  `json:"timestamp"`
			Error     string `json:"errorMessage,omitempty"`
		}{clean(id, maxName), h.cfg.Now().UnixMilli(), text}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(reply) // the caller has gone; there is nobody to tell
	case text != "":
		http.Error(w, text, code)
	}
}

// take reads one batch and passes on what is new in it.
func (h *Handler) take(body io.Reader, decode func(io.Reader, func(Event, error)) error) error {
	var b batch
	err := decode(body, func(e Event, err error) { h.one(&b, e, err) })
	h.done(b, err)
	return err
}

// batch is what one batch adds to the counts.
type batch struct {
	Stats
	newest time.Time
}

// one takes one event.
func (h *Handler) one(b *batch, e Event, err error) {
	if err != nil {
		b.Malformed++
		return
	}
	if e.StageTimestamp.After(b.newest) {
		b.newest = e.StageTimestamp
	}
	b.Lateness = max(b.Lateness, h.cfg.Now().Sub(e.StageTimestamp))
	if h.seen.again(e) {
		b.Duplicates++
		return
	}
	b.Events++
	if fs := Findings(e, h.cfg.Knowledge); len(fs) > 0 {
		h.cfg.Sink(fs)
	}
}

// count changes the counts.
func (h *Handler) count(change func(*Stats)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.stats)
}

// done adds a batch to the counts.
func (h *Handler) done(b batch, err error) {
	if now := h.cfg.Now(); b.newest.After(now) {
		b.newest = now
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stats.Batches++
	if err != nil {
		h.stats.Broken++
	}
	h.stats.Events += b.Events
	h.stats.Malformed += b.Malformed
	h.stats.Duplicates += b.Duplicates
	if !b.newest.IsZero() {
		h.stats.Lateness = b.Lateness
	}
	if b.newest.After(h.last) {
		h.last = b.newest
	}
}
