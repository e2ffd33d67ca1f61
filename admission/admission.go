// Package admission answers the API server's AdmissionReviews: a door beside the native policies for controls that no native
// policy can carry. It keeps its own registration and certificate in place, and says what its answers told.
//
// It decides nothing: package policy judges, with the Guard of the namespace from a snapshot, and the answer is what the
// native bundles would say, in the same words. It asks nothing of the network, and nothing of the ledger or the store. The
// control plane runs it.
package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
)

const (
	// maxReview is 7 MiB: two objects of 3 MiB, the most that an API server takes in a request, and the envelope.
	maxReview = 7 << 20
	// DefaultAtOnce is how many reviews are judged at once; of 0.5 ms each on two processors they wait 64 ms at most.
	DefaultAtOnce = 256
	// maxBytes is how many bytes of reviews are held at once, 256 MiB: 36 of the largest.
	maxBytes = 256 << 20
	// longest is the most that a timeout in a review's address may say, as the API server allows; usual is taken where none is said.
	longest, usual = 30 * time.Second, 10 * time.Second
)

// ErrNoGuard says that a namespace has no Guard.
var ErrNoGuard = errors.New("the namespace has no Guard")

// Guards are snapshots of the Guards of all namespaces. Implementations ask no network.
type Guards interface {
	// Guard is that of a namespace. The error wraps ErrNoGuard where there is none.
	Guard(ctx context.Context, namespace string) (*policy.Guard, error)
}

// Config is what a Handler needs. Zero values that are not said to be allowed are refused.
type Config struct {
	// Engine judges; it holds the controls of this door and no others.
	Engine *policy.Engine
	// Groups are the match groups of the catalogue; audit annotations name them.
	Groups []control.Group
	// Guards are the snapshots to judge with.
	Guards Guards
	// AtOnce is how many reviews are judged at once; more are told to come again. Zero is DefaultAtOnce.
	AtOnce int
	// Metrics counts answers; see NewMetrics.
	Metrics *Metrics
	// Passed is told of each review after its answer, with the context of its request. It must not block. Nil is nobody.
	Passed func(context.Context, Passage)
	Log    *slog.Logger
	// Now is the clock that ends waivers; nil is time.Now.
	Now func() time.Time
}

// Handler answers AdmissionReviews of admission.k8s.io/v1. It is safe for many goroutines.
type Handler struct {
	cfg   Config
	turns chan struct{} // one value for each review that is judged
	bytes atomic.Int64  // of reviews that are read or judged
	// decide answers a review that was read.
	decide func(context.Context, *request) *answer
}

// New makes a Handler.
func New(cfg Config) (*Handler, error) {
	if cfg.Engine == nil || cfg.Guards == nil || cfg.Metrics == nil || cfg.Log == nil {
		return nil, errors.New("make the admission door: want an engine, Guards, metrics and a log")
	}
	if cfg.AtOnce <= 0 {
		cfg.AtOnce = DefaultAtOnce
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h := &Handler{cfg: cfg, turns: make(chan struct{}, cfg.AtOnce)}
	h.decide = h.judge
	return h, nil
}

// ServeHTTP answers one review. What carries the uid of a review gets an AdmissionReview; anything else an HTTP error, which
// the API server takes for a refusal too.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	deadline, cancel := context.WithTimeout(r.Context(), patience(r))
	defer cancel()
	text, release, fault := h.read(w, r)
	a := &answer{verdict: invalid}
	if fault != nil {
		release()
		a.verdict = fault.verdict
		http.Error(w, fault.text, fault.code)
	} else if a = h.answer(deadline, text, release); a.response == nil {
		http.Error(w, a.text, http.StatusBadRequest)
	} else {
		a.tag()
		a.write(w)
	}
	h.cfg.Metrics.count(a, begun)
	if h.cfg.Passed != nil {
		h.cfg.Passed(r.Context(), h.passed(a, begun))
	}
}

// patience is how long an answer may take: what the API server says in the address, less a fifth for the way.
func patience(r *http.Request) time.Duration {
	said, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || said <= 0 || said > longest {
		said = usual
	}
	return said - said/5
}

// httpFault is why a review is answered with an HTTP error.
type httpFault struct {
	code    int
	verdict verdict
	text    string
}

// read reads the body of a request. release gives back the room that it took.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) (text []byte, release func(), fault *httpFault) {
	release = func() {}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, release, &httpFault{http.StatusMethodNotAllowed, invalid, "want POST with an AdmissionReview"}
	}
	if form, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || form != "application/json" {
		return nil, release, &httpFault{http.StatusUnsupportedMediaType, invalid, "want Content-Type application/json"}
	}
	tooLarge := &httpFault{http.StatusRequestEntityTooLarge, invalid, fmt.Sprintf("the AdmissionReview is larger than %d bytes; fix: make the object smaller, or split it", maxReview)}
	if r.ContentLength > maxReview {
		return nil, release, tooLarge
	}
	body := &metered{from: http.MaxBytesReader(w, r.Body, maxReview), held: &h.bytes}
	release = body.release
	text, err := io.ReadAll(body)
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return nil, release, tooLarge
	} else if errors.Is(err, errFull) {
		return nil, release, &httpFault{http.StatusTooManyRequests, shed, overload}
	} else if err != nil {
		return nil, release, &httpFault{http.StatusBadRequest, invalid, "the AdmissionReview ended before it was whole"}
	}
	return text, release, nil
}

// errFull is returned by metered where as many bytes are held as may be.
var errFull = errors.New("as many bytes of reviews are held as may be")

// metered counts what was read into what is held: not what a client says that it will send, for a few that say much and send
// nothing would take all the room.
type metered struct {
	from io.Reader
	held *atomic.Int64
	mine int64
}

// Read implements io.Reader.
func (m *metered) Read(p []byte) (int, error) {
	n, err := m.from.Read(p)
	m.mine += int64(n)
	if m.held.Add(int64(n)) > maxBytes {
		return n, errFull
	}
	return n, err
}

// release gives back the room.
func (m *metered) release() { m.held.Add(-m.mine) }

// answer decodes and judges, and says so where that cannot be done in time. release gives back the room of the text once nothing of it is held:
// a review that asks for an answer at once is held as long as any other.
func (h *Handler) answer(ctx context.Context, text []byte, release func()) *answer {
	select {
	case h.turns <- struct{}{}:
	default:
		defer release()
		return h.overloaded(text)
	}
	h.cfg.Metrics.inFlight.Inc()
	var uid atomic.Pointer[types.UID] // known as soon as the review is decoded
	done := make(chan *answer, 1)
	go func() { // judging does not hear of ctx; its turn ends when it does
		defer func() { h.cfg.Metrics.inFlight.Dec(); release(); <-h.turns }()
		defer func() {
			if fault := recover(); fault != nil { // of a rule or a library: the door stays open, the request is refused
				h.cfg.Log.Error("a review could not be judged", "id", idOf(uid.Load()), "err", fmt.Errorf("panic: %v", fault), "stack", string(debug.Stack()))
				done <- late(uid.Load(), "it could not be judged; the log of Ringfence says why")
			}
		}()
		q, err := decode(text)
		if err != nil {
			done <- malformed(q, err)
			return
		}
		uid.Store(&q.UID)
		decoded := time.Now()
		a := h.decide(ctx, q)
		a.way.decoded, a.way.namespace = decoded, q.Namespace
		done <- a
	}()
	select {
	case a := <-done:
		return a
	case <-ctx.Done():
		h.cfg.Log.Warn("a review was not judged in time", "id", idOf(uid.Load()))
		return late(uid.Load(), "it took longer than the API server waits; fix: try again, and raise it with the platform team where it lasts")
	}
}

// idOf is how logs name a review: as its refusal does. Empty where its uid is not known.
func idOf(uid *types.UID) string {
	if uid == nil {
		return ""
	}
	return finding.Value(string(*uid))
}

// overload is what a request is told that came while too many others were judged.
const overload = "Ringfence is overloaded: more requests than it judges at once; fix: try again in a second"

// overloaded answers a review that found no turn, as cheaply as its uid can be had.
func (h *Handler) overloaded(text []byte) *answer {
	var q struct {
		Request struct {
			UID types.UID `json:"uid"`
		} `json:"request"`
	}
	if err := json.Unmarshal(text, &q); err != nil || q.Request.UID == "" {
		return &answer{verdict: shed, text: overload}
	}
	a := refuse(q.Request.UID, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, overload)
	a.verdict, a.response.Result.Details = shed, &metav1.StatusDetails{RetryAfterSeconds: 1}
	return a
}

// late is the answer to what was not decided.
func late(uid *types.UID, why string) *answer {
	why = "Ringfence could not decide: " + why
	if uid == nil {
		return &answer{verdict: undecided, text: why}
	}
	a := refuse(*uid, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, why)
	a.verdict = undecided
	return a
}

// malformed is the answer to a review that cannot be read. Where its uid could be, the API server shows the text.
func malformed(q *request, err error) *answer {
	text := "Ringfence cannot read the AdmissionReview: " + err.Error()
	if q == nil || q.UID == "" {
		return &answer{verdict: invalid, text: text}
	}
	a := refuse(q.UID, http.StatusBadRequest, metav1.StatusReasonBadRequest, text)
	a.verdict, a.operation = invalid, q.operation()
	return a
}

// verdict is what an answer comes to, as metrics name it.
type verdict string

const (
	allowed   verdict = "allowed"
	warned    verdict = "warned"
	refused   verdict = "refused"
	undecided verdict = "undecided"
	shed      verdict = "shed"
	invalid   verdict = "invalid"
)

// answer is what is sent, and what is counted of it. Without a response text is sent as an HTTP error.
type answer struct {
	operation string
	verdict   verdict
	text      string
	response  *admissionv1.AdmissionResponse
	decision  *Decision
	way       way
}

// refuse is the answer of a refusal.
func refuse(uid types.UID, code int32, reason metav1.StatusReason, text string) *answer {
	return &answer{verdict: refused, response: &admissionv1.AdmissionResponse{UID: uid, Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: text,
	}}}
}

// tag ends a refusal with the id of its review, by which logs, traces and records name it too. Warnings and the audit annotation
// stay as they are: they are the native bundles' words, and the audit event has an id of its own.
func (a *answer) tag() {
	if !a.response.Allowed && a.response.Result != nil {
		a.response.Result.Message = finding.Tagged(a.response.Result.Message, string(a.response.UID))
	}
}

func (a *answer) write(w http.ResponseWriter) {
	text, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"}, Response: a.response,
	})
	if err != nil { // it holds nothing that cannot be written
		http.Error(w, "the answer cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // whoever asked may be gone
}
