package auditlog

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"sync"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

const (
	// readTimeout and keepTimeout bound the reading and the keeping of one batch, together below the 30 s after which the API
	// server gives up on a call.
	readTimeout, keepTimeout = 15 * time.Second, 10 * time.Second
	// comeAgain is the Retry-After of what could not be kept, in seconds.
	comeAgain = "5"
)

// errUnkept is what a batch ends with that could not be kept.
var errUnkept = errors.New("the batch could not be kept; send it again")

// Config is what a Handler needs.
type Config struct {
	Knowledge
	// Sink takes what one batch told and returns nil once that is kept for ever, and never before. After an error the batch is
	// answered 503, and must come again. It is called from many goroutines, with a deadline: the API server waits, and drops
	// events once its queue of 10,000 is full.
	Sink func(context.Context, Batch) error
	// Now is the clock.
	Now func() time.Time
}

// Batch is what one batch told of events that were not seen before. Nothing in it means that events came and told nothing.
type Batch struct {
	// Source is how it came: webhook, file, eks, aks, gke or lines.
	Source string
	// Events are those that told something, in their order.
	Events []Told
}

// Told is what one event told: findings, a change of a rule, a request under an elevation, images without a signature that counts.
type Told struct {
	Findings []finding.Finding
	Change   *Change
	Act      *record.Act
	Unsigned []Unsigned
}

// Handler takes audit events, from however many doors: it serves the batches of an audit webhook itself, Door those of a
// cloud's log service, and Tail follows a file. What comes by more than one of them counts once. It does not authenticate:
// who serves it does. An API server repeats a batch, some times, whatever error it is answered; so single malformed events
// are counted and the batch is accepted.
type Handler struct {
	cfg   Config
	seen  seen
	specs specs

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
	// Unkept are batches that were read and could not be kept: they must come again. Their events do not count yet.
	Unkept uint64
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

// ServeHTTP takes one batch: 200 when it was read to its end and is kept, 503 where it could not be kept, 405, 413 (more than MaxBatch), 415 or 400 otherwise.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, door{name: "audit webhook", source: "webhook", decode: Decode, types: []string{"application/json"},
		want: "application/json and no Content-Encoding, as API servers send", fix: "; fix: start the API server with --audit-webhook-truncate-enabled"})
}

// Door serves another form of batches: DecodeEKS, DecodeAKS, DecodeGKE or DecodeLines. Bodies may be compressed. An Amazon
// Data Firehose is answered in the form that it wants. source names the door, for instance eks.
func (h *Handler) Door(source string, decode func(io.Reader, func(Event, error)) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.serve(w, r, door{name: "audit events", source: source, decode: decode, gzip: true,
			types: []string{"application/json", "application/x-ndjson", "application/octet-stream", "application/cloudevents+json"}, want: "application/json"})
	})
}

// door is how one form of batches is served.
type door struct {
	name, source, want, fix string
	decode                  func(io.Reader, func(Event, error)) error
	types                   []string
	gzip                    bool
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
	err = h.takeBody(r, encoding, d)
	_ = connection.SetReadDeadline(time.Time{})
	switch {
	case errors.Is(err, errUnkept):
		w.Header().Set("Retry-After", comeAgain)
		fail(errUnkept.Error(), http.StatusServiceUnavailable)
	case errors.Is(err, ErrTooLarge):
		fail(ErrTooLarge.Error()+d.fix, http.StatusRequestEntityTooLarge)
	case err != nil:
		fail(clean(err.Error(), maxMessage), http.StatusBadRequest)
	default:
		h.answer(w, r, "", http.StatusOK)
	}
}

// takeBody reads a body, unpacked where it is compressed; decoders bound what comes out.
func (h *Handler) takeBody(r *http.Request, encoding string, d door) error {
	if encoding == "" {
		return h.take(r.Context(), r.Body, d)
	}
	unpacked, err := gzip.NewReader(&limitedReader{r: r.Body, left: MaxBatch})
	if err != nil {
		return errors.New("the body is not compressed as Content-Encoding says")
	}
	return h.take(r.Context(), unpacked, d)
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
func (h *Handler) take(ctx context.Context, body io.Reader, d door) error {
	b := batch{source: d.source}
	err := d.decode(body, func(e Event, err error) { h.one(&b, e, err) })
	kept := h.keep(ctx, &b)
	h.done(b, err)
	if err == nil {
		err = kept
	}
	return err
}

// batch is what one batch adds to the counts, and what it told.
type batch struct {
	Stats
	newest time.Time
	source string
	told   []Told
	keys   [][16]byte
	known  map[[16]byte]bool // keys, to look up
	specs  []spec            // what objects became, in the order of events
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
	if key, ok := eventKey(e); ok {
		if b.known[key] || h.seen.has(key) {
			b.Duplicates++
			return
		}
		if b.known == nil {
			b.known = map[[16]byte]bool{}
		}
		b.known[key] = true
		b.keys = append(b.keys, key)
	}
	b.Events++
	told := Told{Findings: Findings(e, h.cfg.Knowledge), Unsigned: UnsignedOf(e)}
	if c, ok := ChangeOf(e); ok {
		c.Contents = h.contents(b, c, e.Object)
		told.Change = &c
	}
	if a, ok := ActOf(e); ok {
		told.Act = &a
	}
	if len(told.Findings) > 0 || told.Change != nil || told.Act != nil || len(told.Unsigned) > 0 {
		b.told = append(b.told, told)
	}
}

// keep hands on what a batch told. Only what is kept counts as seen: the rest must be taken again when it comes again.
func (h *Handler) keep(ctx context.Context, b *batch) error {
	if b.Events+b.Duplicates == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	if err := h.cfg.Sink(ctx, Batch{b.source, b.told}); err != nil {
		b.Events, b.Unkept = 0, 1
		return fmt.Errorf("%w: %w", errUnkept, err)
	}
	h.seen.add(b.keys...)
	h.specs.add(b.specs)
	return nil
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
	h.stats.Unkept += b.Unkept
	h.stats.Malformed += b.Malformed
	h.stats.Duplicates += b.Duplicates
	if !b.newest.IsZero() {
		h.stats.Lateness = b.Lateness
	}
	if b.newest.After(h.last) {
		h.last = b.newest
	}
}
