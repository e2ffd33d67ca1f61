package server

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/detect/auditlog"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/otlp"
	"ringfence.dev/ringfence/record"
)

// maxTravellers is how many records are known by the trace that they belong to, some MB; the oldest are forgotten first, and
// the trace of such a record ends where it was by then.
const maxTravellers = 8192

// traces makes spans of what happens to a request, from the door to the ledger and on. Every method may be called on nil, which
// makes none and costs a comparison.
//
// What spans say is bounded to ids of controls, verdicts, kinds, namespaces and counts: no names of people, none of objects, and
// nothing of what is in them.
type traces struct {
	tracer trace.Tracer
	sender *otlp.Sender

	mu     sync.Mutex // guards what follows
	byID   map[string]*traveller
	ring   []string // ids in order of arrival, once around
	oldest int
}

// traveller is a record on its way, by the trace that it belongs to.
type traveller struct {
	of    trace.SpanContext
	since time.Time
	tries int
	// stored is true once it is in the store.
	stored bool
}

// openTraces makes spans where there is somebody to send them to; nil elsewhere.
func openTraces(sender *otlp.Sender) *traces {
	if sender == nil {
		return nil
	}
	return &traces{tracer: sender.Tracer(), sender: sender, byID: map[string]*traveller{}}
}

// run sends spans until the function that it returns is called, and what waits then.
func (t *traces) run() (stop func()) {
	if t == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); t.sender.Run(ctx) }()
	return func() { cancel(); <-done }
}

// came is the context of a request, with the trace that it came with: an API server with tracing sends one.
func (t *traces) came(r *http.Request) context.Context {
	if t == nil {
		return r.Context()
	}
	return propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
}

// piece makes a span of what has been, and returns the context of what follows from it.
func (t *traces) piece(ctx context.Context, name string, from, to time.Time, o ...trace.SpanStartOption) context.Context {
	ctx, span := t.tracer.Start(ctx, name, append(o, trace.WithTimestamp(from))...)
	span.End(trace.WithTimestamp(to))
	return ctx
}

// review makes the spans of a review that was answered; ctx is that of its request.
func (t *traces) review(ctx context.Context, p admission.Passage) context.Context {
	if t == nil {
		return ctx
	}
	is := []attribute.KeyValue{attribute.String("ringfence.verdict", p.Verdict)}
	for key, value := range map[string]string{"ringfence.request.id": p.UID, "ringfence.operation": p.Operation, "ringfence.group": p.Group, "k8s.namespace.name": p.Namespace} {
		if value != "" {
			is = append(is, attribute.String(key, finding.Value(value)))
		}
	}
	if p.Decision != nil {
		is = append(is, controlsOf(p.Decision.Findings))
	}
	ctx, span := t.tracer.Start(ctx, "admission review", trace.WithTimestamp(p.Begun), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(is...))
	if span.IsRecording() {
		last := p.Begun
		for _, stage := range []struct {
			name string
			end  time.Time
		}{{"decode", p.Decoded}, {"find the Guard", p.Guarded}, {"judge", p.Judged}, {"answer", p.Answered}} {
			if !stage.end.IsZero() {
				t.piece(ctx, stage.name, last, stage.end)
				last = stage.end
			}
		}
	}
	if p.Verdict == "undecided" || p.Verdict == "shed" {
		span.SetStatus(codes.Error, p.Verdict)
	}
	span.End(trace.WithTimestamp(p.Answered))
	return ctx
}

// controlsOf are the controls that did not pass, each once.
func controlsOf(fs []finding.Finding) attribute.KeyValue {
	var ids []string
	for _, f := range fs {
		if f.Control != "" && !slices.Contains(ids, f.Control) && len(ids) < 64 {
			ids = append(ids, f.Control)
		}
	}
	slices.Sort(ids)
	return attribute.StringSlice("ringfence.controls", ids)
}

// door makes a span of each request to a door that takes something in.
func (t *traces) door(name string, next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, span := t.tracer.Start(t.came(r), name, trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		seen := &answered{ResponseWriter: w}
		next.ServeHTTP(seen, r.WithContext(ctx))
		span.SetAttributes(attribute.Int("http.response.status_code", seen.status()))
		if seen.status() >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(seen.status()))
		}
	})
}

// batch makes the spans of a batch of audit events that was read: what came by a door has a span already. done is told how
// keeping it ended.
func (t *traces) batch(ctx context.Context, b auditlog.Batch) (_ context.Context, done func(error)) {
	if t == nil {
		return ctx, func(error) {}
	}
	span := trace.SpanFromContext(ctx)
	whole := func() {}
	if came, ok := span.(sdktrace.ReadOnlySpan); ok && span.IsRecording() {
		t.piece(ctx, "read events, find findings", came.StartTime(), time.Now())
	} else if !span.SpanContext().IsValid() { // of a file that is followed
		ctx, span = t.tracer.Start(ctx, "audit batch")
		whole = func() { span.End() }
	}
	span.SetAttributes(attribute.String("ringfence.source", b.Source), attribute.Int("ringfence.events.told", len(b.Events)))
	var found []finding.Finding
	for _, told := range b.Events {
		found = append(found, told.Findings...)
	}
	if len(found) > 0 {
		span.SetAttributes(controlsOf(found))
	}
	ctx, keep := t.tracer.Start(ctx, "keep records")
	return ctx, func(err error) {
		if err != nil {
			keep.SetStatus(codes.Error, "not kept")
		}
		keep.End()
		whole()
	}
}

// travel notes that a record belongs to the trace of a context. It is called before the record is sent off.
func (t *traces) travel(ctx context.Context, id string) {
	if t == nil {
		return
	}
	of := trace.SpanContextFromContext(ctx)
	if !of.IsSampled() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.byID[id]; !known {
		if len(t.ring) < maxTravellers {
			t.ring = append(t.ring, id)
		} else {
			delete(t.byID, t.ring[t.oldest])
			t.ring[t.oldest] = id
			t.oldest = (t.oldest + 1) % maxTravellers
		}
	}
	t.byID[id] = &traveller{of: of, since: time.Now()}
}

// party is what comes of one span and does the next step together.
type party struct {
	of    trace.SpanContext
	since time.Time
	tries int
	all   []*traveller
}

// parties are the travellers among records, by where they come from, in order. A message's id may be that of a record and a
// number.
func (t *traces) parties(ids []string) (out []*party) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		one := t.byID[id]
		if dot := strings.LastIndexByte(id, '.'); one == nil && dot > 0 {
			one = t.byID[id[:dot]]
		}
		if one == nil {
			continue
		}
		i := slices.IndexFunc(out, func(p *party) bool { return p.of.Equal(one.of) })
		if i < 0 {
			i, out = len(out), append(out, &party{of: one.of, since: one.since, tries: one.tries})
		}
		out[i].all = append(out[i].all, one)
	}
	return out
}

// step makes a span of what several traces did together, one in each; all but the first are linked to that of the first. move says that
// what follows comes of this step.
func (t *traces) step(name string, all []*party, from, to time.Time, err error, move bool, is ...attribute.KeyValue) {
	var first trace.SpanContext
	for _, p := range all {
		ctx := trace.ContextWithSpanContext(context.Background(), p.of)
		o := []trace.SpanStartOption{trace.WithTimestamp(from), trace.WithAttributes(append(is, attribute.Int("ringfence.records", len(p.all)), attribute.Int("ringfence.tries", p.tries+1))...)}
		if first.IsValid() {
			o = append(o, trace.WithLinks(trace.Link{SpanContext: first, Attributes: []attribute.KeyValue{attribute.Int("ringfence.traces", len(all))}}))
		}
		_, span := t.tracer.Start(ctx, name, o...)
		if err != nil {
			span.SetStatus(codes.Error, "not taken") // why is for the log: an error's text may hold what spans must not
		}
		span.End(trace.WithTimestamp(to))
		if !first.IsValid() {
			first = span.SpanContext()
		}
		if !move {
			continue
		}
		t.mu.Lock()
		for _, one := range p.all {
			one.of, one.since, one.tries = span.SpanContext(), to, 0
		}
		t.mu.Unlock()
	}
}

// failed notes a try that will be made again.
func (t *traces) failed(all []*party) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range all {
		for _, one := range p.all {
			one.tries++
		}
	}
}

// ids are those of records.
func ids(records []record.Record) []string {
	out := make([]string, len(records))
	for i, r := range records {
		out[i] = r.ID
	}
	return out
}
