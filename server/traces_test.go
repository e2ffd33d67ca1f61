package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/internal/otlp"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
	"ringfence.dev/ringfence/record"
)

// spans is a receiver of OTLP.
type spans struct {
	*httptest.Server
	mu   sync.Mutex // guards what follows
	all  []*tracepb.Span
	text []byte // what was sent
}

func receive(t testing.TB) *spans {
	t.Helper()
	r := &spans{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, in *http.Request) {
		body, err := io.ReadAll(in.Body)
		var got collector.ExportTraceServiceRequest
		if err := errors.Join(err, proto.Unmarshal(body, &got)); err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.text = append(r.text, body...)
		for _, of := range got.GetResourceSpans() {
			for _, in := range of.GetScopeSpans() {
				r.all = append(r.all, in.GetSpans()...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// of are the spans of a trace, by name.
func (r *spans) of(id string) map[string]*tracepb.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]*tracepb.Span{}
	for _, s := range r.all {
		if fmt.Sprintf("%x", s.GetTraceId()) == id {
			out[s.GetName()] = s
		}
	}
	return out
}

// attributes are those of a span, as text.
func attributes(s *tracepb.Span) map[string]string {
	out := map[string]string{}
	for _, a := range s.GetAttributes() {
		v := a.GetValue()
		switch {
		case v.GetArrayValue() != nil:
			for _, one := range v.GetArrayValue().GetValues() {
				out[a.GetKey()] += one.GetStringValue() + " "
			}
		case v.GetStringValue() != "":
			out[a.GetKey()] = v.GetStringValue()
		default:
			out[a.GetKey()] = fmt.Sprint(v.GetIntValue())
		}
	}
	return out
}

// snapshot is one Guard for every namespace.
type snapshot struct{ guard *policy.Guard }

func (s snapshot) Guard(context.Context, string) (*policy.Guard, error) { return s.guard, nil }

// judging is the admission door of a Server, with one control and without a cluster.
func judging(t testing.TB, s *Server) http.Handler {
	return door(t, s, func(w *webhook) func(context.Context, admission.Passage) { return w.passed })
}

// door is judging, with what it tells.
func door(t testing.TB, s *Server, passed func(*webhook) func(context.Context, admission.Passage)) http.Handler {
	t.Helper()
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	w := &webhook{log: s.log, keep: s.evidence, traces: s.traces}
	part, err := admission.Select(cat, "RF-WL-01", true)
	if err != nil {
		t.Fatal(err)
	}
	sets, err := cel.Compile(part)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := policy.NewGuard(casefile.Guard())
	if err != nil {
		t.Fatal(err)
	}
	counted := admission.NewMetrics()
	if s.webhook != nil {
		counted = s.webhook.metrics
	}
	h, err := admission.New(admission.Config{Engine: policy.New(sets...), Groups: part.Groups(), Guards: snapshot{guard}, Metrics: counted, Passed: passed(w), Log: s.log})
	if err != nil {
		t.Fatal(err)
	}
	w.handler.Store(h)
	w.synced.Store(true)
	return w.mux()
}

// review is one of a Pod, privileged or not, as an API server sends it.
func review(uid string, privileged bool) []byte {
	type m = map[string]any
	text, _ := json.Marshal(m{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": m{
		"uid": uid, "operation": "CREATE", "namespace": "payments-dev", "name": "shell-of-jane",
		"kind": m{"group": "", "version": "v1", "kind": "Pod"}, "resource": m{"group": "", "version": "v1", "resource": "pods"},
		"userInfo": m{"username": "jane@bank.example"},
		"object": m{"apiVersion": "v1", "kind": "Pod", "metadata": m{"name": "shell-of-jane", "namespace": "payments-dev"},
			"spec": m{"containers": []any{m{"name": "c", "image": "registry.bank.example/secret-project", "securityContext": m{"privileged": privileged}}}}},
	}})
	return text
}

// judge posts a review to a door.
func judge(h http.Handler, body []byte, traceparent string) string {
	in := httptest.NewRequest(http.MethodPost, admission.Path+"?timeout=5s", bytes.NewReader(body))
	in.Header.Set("Content-Type", "application/json")
	if traceparent != "" {
		in.Header.Set("traceparent", traceparent)
	}
	out := httptest.NewRecorder()
	h.ServeHTTP(out, in)
	return out.Body.String()
}

// traced is a Server with evidence, a sink and traces, which runs until the test stops it.
func traced(t testing.TB, cfg Config, log *slog.Logger) (s *Server, stop func()) {
	t.Helper()
	dir := t.TempDir()
	cfg.Evidence, cfg.Sinks = filepath.Join(dir, "evidence"), []forward.Opened{archive(t, filepath.Join(dir, "out.jsonl"))}
	s, err := New(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	spans, road := s.traces.run(), startEvidence(t, s)
	return s, func() { road(); spans() }
}

const (
	callerTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callerSpan  = "00f067aa0ba902b7"
	caller      = "00-" + callerTrace + "-" + callerSpan + "-01"
)

// TestTrace: one trace leads from the API server's call through the door, the queue, the ledger and the store to a sink; the
// refusal, the log and the record name the request by the same id; and spans hold no name of a person or an object.
func TestTrace(t *testing.T) {
	r := receive(t)
	var log bytes.Buffer
	s, stop := traced(t, Config{Traces: otlp.Config{Endpoint: r.URL, Sample: 0}}, slog.New(slog.NewTextHandler(&log, nil)))
	h := judging(t, s)
	if says := judge(h, review("uid-of-another", true), ""); !strings.Contains(says, "RF-WL-01") { // nobody samples it
		t.Fatal(says)
	}
	if says := judge(h, review("7c5e", true), caller); !strings.Contains(says, "; more: ringfence explain RF-WL-01 [id 7c5e]\"") {
		t.Errorf("the answer is %s", says)
	}
	want := []string{"add to the store", "admission review", "answer", "append to the ledger", "decode", "find the Guard", "forward", "judge", "wait in the queue"}
	var got map[string]*tracepb.Span
	eventually(t, "all spans of the trace", func() bool { got = r.of(callerTrace); return len(got) >= len(want) })
	stop()
	names := []string{}
	for name := range got {
		names = append(names, name)
	}
	if slices.Sort(names); !slices.Equal(names, want) || len(r.all) != len(want) {
		t.Errorf("spans %q, %d in all; want %q", names, len(r.all), want)
	}
	parent := func(name, of string) {
		t.Helper()
		if id := fmt.Sprintf("%x", got[name].GetParentSpanId()); id != of {
			t.Errorf("%s follows %s; want %s", name, id, of)
		}
	}
	id := func(name string) string { return fmt.Sprintf("%x", got[name].GetSpanId()) }
	parent("admission review", callerSpan)
	parent("judge", id("admission review"))
	parent("append to the ledger", id("admission review"))
	parent("add to the store", id("append to the ledger"))
	parent("forward", id("append to the ledger"))
	if is := attributes(got["admission review"]); is["ringfence.controls"] != "RF-WL-01 " || is["ringfence.verdict"] != "refused" || is["ringfence.group"] != "workloads" ||
		is["k8s.namespace.name"] != "payments-dev" || is["ringfence.request.id"] != "7c5e" {
		t.Errorf("the review's span says %v", is)
	}
	for _, secret := range []string{"jane", "secret-project", "securityContext", "uid-of-another"} {
		if bytes.Contains(r.text, []byte(secret)) {
			t.Errorf("spans hold %q", secret)
		}
	}
	if !strings.Contains(log.String(), "msg=refused id=7c5e verdict=refused operation=CREATE namespace=payments-dev kind=Pod control=RF-WL-01\n") || strings.Contains(log.String(), "jane") {
		t.Errorf("the log has\n%s", &log)
	}
}

// TestTraceOfAudit: a batch of audit events is one trace, from its door to the ledger, and what a caller did not sample is sent by
// our own part.
func TestTraceOfAudit(t *testing.T) {
	r := receive(t)
	s, stop := traced(t, Config{AuditAddress: "127.0.0.1:0", Traces: otlp.Config{Endpoint: r.URL, Sample: 1}}, slog.New(slog.DiscardHandler))
	if code, _ := send(t, http.DefaultClient, s.AuditURL(), deletion("a")); code != http.StatusOK {
		t.Fatalf("answered %d", code)
	}
	if code, _ := send(t, http.DefaultClient, s.AuditURL(), deletion("b"), "traceparent", strings.TrimSuffix(caller, "1")+"0"); code != http.StatusOK {
		t.Fatalf("answered %d", code)
	}
	stop()
	if len(r.all) == 0 {
		t.Fatal("no spans")
	}
	got := r.of(fmt.Sprintf("%x", r.all[0].GetTraceId()))
	for _, name := range []string{"audit-webhook", "read events, find findings", "keep records", "wait in the queue", "append to the ledger"} {
		if got[name] == nil {
			t.Errorf("there is no span %q in %d", name, len(got))
		}
	}
	if len(r.of(callerTrace)) > 0 {
		t.Error("a trace was sent of which its caller said that nobody wants it")
	}
	if bytes.Contains(r.text, []byte("mallory")) {
		t.Error("spans hold who did it")
	}
}

// TestTracesJoin: where records of several traces are written together, each trace shows it, linked to the first.
func TestTracesJoin(t *testing.T) {
	r := receive(t)
	sender, err := otlp.Open(otlp.Config{Endpoint: r.URL, Sample: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	spans := openTraces(sender)
	stop := spans.run()
	var all []record.Record
	var traces []string
	for i := range 3 {
		ctx, span := spans.tracer.Start(t.Context(), "door")
		traces = append(traces, span.SpanContext().TraceID().String())
		for j := range 2 {
			all = append(all, record.Record{ID: fmt.Sprint("r", i, j)})
			spans.travel(ctx, all[len(all)-1].ID)
		}
		span.End()
	}
	fail := true
	keep := spans.keeping(func(context.Context, []record.Record) error {
		if fail {
			return errors.New("the disk is full")
		}
		return nil
	})
	if keep(t.Context(), all) == nil {
		t.Error("what failed did not")
	}
	fail = false
	if err := keep(t.Context(), all); err != nil {
		t.Error(err)
	}
	stop()
	first := r.of(traces[0])["append to the ledger"]
	for i, id := range traces {
		got := r.of(id)["append to the ledger"]
		if is := attributes(got); is["ringfence.records"] != "2" || is["ringfence.batch.records"] != "6" || is["ringfence.tries"] != "2" {
			t.Errorf("trace %d says %v", i, is)
		}
		if links := got.GetLinks(); i == 0 && len(links) != 0 || i > 0 && (len(links) != 1 || !bytes.Equal(links[0].GetSpanId(), first.GetSpanId())) {
			t.Errorf("trace %d has links %v", i, links)
		}
	}
	for i := range 2 * maxTravellers { // what is known of records stays bounded
		spans.travel(trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled})), fmt.Sprint("more", i))
	}
	if len(spans.byID) != maxTravellers || len(spans.ring) != maxTravellers || !spans.travels(fmt.Sprint("more", 2*maxTravellers-1)) || spans.travels("more0") {
		t.Errorf("%d records are known, %d in the ring", len(spans.byID), len(spans.ring))
	}
}

// TestTracesReceiverHangs: reviews are answered and recorded as ever while nobody takes their spans.
func TestTracesReceiverHangs(t *testing.T) {
	hang := make(chan struct{})
	r := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer r.Close()
	defer close(hang)
	s, stop := traced(t, Config{Traces: otlp.Config{Endpoint: r.URL, Sample: 1}}, slog.New(slog.DiscardHandler))
	h := judging(t, s)
	begun := time.Now()
	const many = 300
	for i := range many {
		if says := judge(h, review(fmt.Sprint(i), true), ""); !strings.Contains(says, "RF-WL-01") {
			t.Fatal(says)
		}
	}
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("%d reviews took %v", many, took)
	}
	eventually(t, "all records in the ledger", func() bool { return s.evidence.ledger.Size() >= many })
	stop()
	if n := len(kept(t, s, "admission-decision.v1")); n != many {
		t.Errorf("%d records of %d", n, many)
	}
}

// BenchmarkPassed is one good Pod judged by one control, in a door that nothing is told of, in one without traces, and in one that makes them
// all: what tracing costs while it is off is the ratio of the first two.
func BenchmarkPassed(b *testing.B) {
	s := &Server{log: slog.New(slog.DiscardHandler)}
	body := review("7c5e", false)
	run := func(name string, h http.Handler) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if says := judge(h, body, ""); !strings.Contains(says, `"allowed":true`) {
					b.Fatal(says)
				}
			}
		})
	}
	run("untold", door(b, s, func(*webhook) func(context.Context, admission.Passage) { return nil }))
	run("off", judging(b, s))
	r := receive(b)
	for name, sample := range map[string]float64{"on-none-sampled": 0, "on-all-sampled": 1} {
		sender, err := otlp.Open(otlp.Config{Endpoint: r.URL, Sample: sample}, s.log)
		if err != nil {
			b.Fatal(err)
		}
		s.traces = openTraces(sender)
		stop := s.traces.run()
		run(name, judging(b, s))
		stop()
	}
}
