package admission

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
)

const (
	// FillPath is where the API server asks what is filled in of an object.
	FillPath = "/mutate"
	// TagsPath is where it asks which digests the tags in an object mean.
	TagsPath = "/tags"
)

// Write is a namespaced object that a request creates or updates.
type Write struct {
	Namespace string
	Update    bool
	// Object is what is to be stored, Old what is; nil where the object is created.
	Object, Old map[string]any
}

// Filling is what is filled in of an object.
type Filling struct {
	// Patch is of RFC 6902; nil is nothing.
	Patch []byte
	// Warnings are told to whoever asks.
	Warnings []string
}

// Fill says what is filled in of an object, before its context ends. The error wraps ErrNoGuard where the namespace has no Guard.
type Fill func(context.Context, Write) (Filling, error)

// FillConfig is what a Filler needs.
type FillConfig struct {
	Fill Fill
	// Subresources are those of which something is filled in too, such as ephemeralcontainers.
	Subresources []string
	// AtOnce is how many reviews are answered at once; zero is DefaultAtOnce. They take no turns from a Handler's.
	AtOnce int
	// Metrics counts answers; see NewFillMetrics.
	Metrics *Metrics
	Log     *slog.Logger
}

// Filler answers reviews with what is filled in of an object, as a JSON patch: what MutatingAdmissionPolicies do on servers that
// have them. It refuses nothing. What it cannot decide is an HTTP error, which its registration has the API server ignore and
// count. It is safe for many goroutines.
type Filler struct {
	cfg  FillConfig
	door *Handler // reads, takes turns and keeps time
}

// NewFiller makes a Filler.
func NewFiller(cfg FillConfig) (*Filler, error) {
	if cfg.Fill == nil || cfg.Metrics == nil || cfg.Log == nil {
		return nil, errors.New("make the door that fills in: want what it fills in, metrics and a log")
	}
	if cfg.AtOnce <= 0 {
		cfg.AtOnce = DefaultAtOnce
	}
	f := &Filler{cfg: cfg}
	f.door = &Handler{cfg: Config{Metrics: cfg.Metrics, Log: cfg.Log}, turns: make(chan struct{}, cfg.AtOnce), decide: f.fill}
	return f, nil
}

// ServeHTTP answers one review.
func (f *Filler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	deadline, cancel := context.WithTimeout(r.Context(), patience(r))
	defer cancel()
	text, release, fault := f.door.read(w, r)
	if fault != nil {
		release()
		f.door.cfg.Metrics.count(&answer{verdict: fault.verdict}, begun)
		http.Error(w, fault.text, fault.code)
		return
	}
	a := f.door.answer(deadline, text, release)
	f.door.cfg.Metrics.count(a, begun)
	if said := a.response; said == nil || !said.Allowed { // a review that says no would refuse, whatever the failure policy is
		code, why := http.StatusBadRequest, a.text
		if said != nil {
			code, why = int(said.Result.Code), said.Result.Message
		}
		http.Error(w, why, code)
		return
	}
	a.write(w)
}

// filled is the verdict of an answer that carries a patch.
const filled verdict = "filled"

// fill answers one request.
func (f *Filler) fill(ctx context.Context, q *request) *answer {
	a := &answer{operation: q.operation(), verdict: allowed, response: &admissionv1.AdmissionResponse{UID: q.UID, Allowed: true}}
	asked := (q.Operation == admissionv1.Create || q.Operation == admissionv1.Update) && q.Namespace != "" &&
		(q.SubResource == "" || slices.Contains(f.cfg.Subresources, q.SubResource))
	if !asked || slices.Contains(v1alpha1.PinnedExemptNamespaces, q.Namespace) {
		return a
	}
	filling, err := f.cfg.Fill(ctx, Write{Namespace: q.Namespace, Update: q.Operation == admissionv1.Update, Object: q.Object, Old: q.OldObject})
	switch {
	case errors.Is(err, ErrNoGuard): // as the native bindings: a namespace must be able to come to be
	case err != nil:
		f.door.cfg.Log.Error("what to fill in is not known", "namespace", q.Namespace, "err", err)
		return late(&q.UID, "the Guard or the namespace could not be read; the log of Ringfence says why")
	default:
		if a.response.Warnings = filling.Warnings; len(filling.Patch) > 0 {
			a.verdict, a.response.Patch, a.response.PatchType = filled, filling.Patch, new(admissionv1.PatchTypeJSONPatch)
		}
	}
	return a
}
