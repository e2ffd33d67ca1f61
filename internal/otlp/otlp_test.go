package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// env is an environment of pairs.
func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// TestSettings: where spans go, and what cannot be.
func TestSettings(t *testing.T) {
	const traces, all = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
	for name, c := range map[string]struct {
		cfg        Config
		url, wrong string
	}{
		"nothing":              {Config{Getenv: env()}, "", ""},
		"nobody reads it":      {Config{}, "", ""},
		"the flag":             {Config{Endpoint: "https://otel:4318", Getenv: env(traces, "https://other")}, "https://otel:4318/v1/traces", ""},
		"a path":               {Config{Endpoint: "https://otel/in/traces"}, "https://otel/in/traces", ""},
		"of traces":            {Config{Getenv: env(all, "https://all", traces, "https://traces/x")}, "https://traces/x", ""},
		"of all":               {Config{Getenv: env(all, "https://all:4318/")}, "https://all:4318/v1/traces", ""},
		"switched off":         {Config{Endpoint: "https://a", Getenv: env("OTEL_SDK_DISABLED", "true")}, "", ""},
		"this machine":         {Config{Endpoint: "http://127.0.0.1:4318"}, "http://127.0.0.1:4318/v1/traces", ""},
		"open to the way":      {Config{Endpoint: "http://otel:4318"}, "", "want https://"},
		"said to be":           {Config{Endpoint: "http://otel:4318", Insecure: true}, "http://otel:4318/v1/traces", ""},
		"no address":           {Config{Endpoint: "otel:4318"}, "", "want https://HOST:PORT"},
		"a password":           {Config{Endpoint: "https://a:secret@otel"}, "", "no user in it"},
		"gRPC":                 {Config{Getenv: env(all, "https://all", "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")}, "", "want http/protobuf"},
		"another packing":      {Config{Endpoint: "https://a", Getenv: env("OTEL_EXPORTER_OTLP_COMPRESSION", "br")}, "", "want gzip or none"},
		"a time without end":   {Config{Endpoint: "https://a", Getenv: env("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000")}, "", "milliseconds from 1 to 60000"},
		"a header without end": {Config{Endpoint: "https://a", Getenv: env("OTEL_EXPORTER_OTLP_HEADERS", "secret")}, "", "want name=value"},
		"a header of two":      {Config{Endpoint: "https://a", Getenv: env("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0d%0ab: c")}, "", "want name=value"},
		"a CA that is missing": {Config{Endpoint: "https://a", Getenv: env("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere")}, "", "OTEL_EXPORTER_OTLP_CERTIFICATE"},
		"half a certificate":   {Config{Endpoint: "https://a", Getenv: env("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/nowhere")}, "", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"},
		"more than all":        {Config{Endpoint: "https://a", Sample: 1.5}, "", "from 0 to 1"},
	} {
		got, err := c.cfg.settings()
		if c.wrong == "" && (err != nil || got.url != c.url) || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s: %q, %v; want %q %s", name, got.url, err, c.url, c.wrong)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
}

// receiver takes batches, or answers what a test wants.
type receiver struct {
	*httptest.Server
	answer func(w http.ResponseWriter) bool // false goes on and takes it

	mu     sync.Mutex // guards what follows
	names  []string
	tenant string // the header x-tenant of the last batch
}

func newReceiver(t *testing.T, answer func(w http.ResponseWriter) bool) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		if r.answer != nil && r.answer(w) {
			return
		}
		body, _ := io.ReadAll(in.Body)
		if in.Header.Get("Content-Encoding") == "gzip" {
			unpacked, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			body, _ = io.ReadAll(unpacked)
		}
		var got collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &got); err != nil || in.URL.Path != "/v1/traces" || in.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s: %v", in.URL, in.Header, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.tenant = in.Header.Get("x-tenant")
		for _, of := range got.GetResourceSpans() {
			for _, in := range of.GetScopeSpans() {
				for _, span := range in.GetSpans() {
					r.names = append(r.names, span.GetName())
				}
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) got() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.names, " ")
}

// open is a Sender that runs until the test stops it.
func open(t *testing.T, cfg Config) (s *Sender, stop func()) {
	t.Helper()
	cfg.Sample = 1
	s, err := Open(cfg, slog.New(slog.DiscardHandler))
	if err != nil || s == nil {
		t.Fatalf("%v, %v", s, err)
	}
	s.settings.batchTime = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	return s, func() { cancel(); <-done }
}

// numbers are the metrics of a Sender by the last word of their name, or why.
func numbers(t *testing.T, s *Sender) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(s)
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, family := range all {
		for _, m := range family.GetMetric() {
			name := strings.TrimPrefix(family.GetName(), "ringfence_traces_")
			for _, l := range m.GetLabel() {
				name = l.GetValue()
			}
			out[name] = value(m)
		}
	}
	return out
}

func value(m *dto.Metric) float64 { return m.GetCounter().GetValue() + m.GetGauge().GetValue() }

func (s *Sender) make(n int, name string) {
	for range n {
		_, span := s.Tracer().Start(context.Background(), name)
		span.End()
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within 20 s", what)
		}
	}
}

// TestSent: spans arrive, packed, with the headers of the environment; what waits at the end is still sent.
func TestSent(t *testing.T) {
	r := newReceiver(t, nil)
	s, stop := open(t, Config{Getenv: env("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL, "OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b")})
	s.make(1, "a")
	eventually(t, "the span arrives", func() bool { return r.got() == "a" })
	s.make(1, "b")
	stop()
	if r.got() != "a b" || r.tenant != "a b" {
		t.Errorf("the receiver has %q of %q", r.got(), r.tenant)
	}
	s.make(1, "c") // nobody sends it any more, and nothing panics
	if n := numbers(t, s); n["sent_total"] != 2 || n[whyFull] != 1 || n["waiting"] != 0 {
		t.Errorf("counted %v", n)
	}
}

// TestReceiverDown: whoever makes spans never waits; what finds no room is counted, and no more than that is held.
func TestReceiverDown(t *testing.T) {
	hang := make(chan struct{})
	r := newReceiver(t, func(http.ResponseWriter) bool { <-hang; return true })
	s, stop := open(t, Config{Endpoint: r.URL, Getenv: env("OTEL_EXPORTER_OTLP_TIMEOUT", "60000")})
	s.make(1, "first")
	eventually(t, "it is on its way", func() bool { return len(s.waiting) == 0 })
	const many = 3 * maxWaiting
	begun := time.Now()
	s.make(many, "more")
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("%d spans took %v while the receiver hung", many, took)
	}
	n := numbers(t, s)
	if n["waiting"] > maxWaiting || n[whyFull] < many-maxWaiting-2*maxBatch || n["waiting"]+n[whyFull] > many {
		t.Errorf("counted %v of %d", n, many)
	}
	close(hang)
	stop()
}

// TestAnswers: what may be tried again is, what may not is lost at once, and what a receiver does not want is counted.
func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer        func(w http.ResponseWriter) bool
		sent          float64
		lost          string
		tries, within int64
	}{
		"refused":  {func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusBadRequest); return true }, 0, whyFailed, 1, 1},
		"redirect": {func(w http.ResponseWriter) bool { w.Header().Set("Location", "/x"); w.WriteHeader(302); return true }, 0, whyFailed, 1, 1},
		"rejected": {func(w http.ResponseWriter) bool {
			text, _ := proto.Marshal(&collector.ExportTraceServiceResponse{PartialSuccess: &collector.ExportTracePartialSuccess{RejectedSpans: 1, ErrorMessage: "no"}})
			_, _ = w.Write(text)
			return true
		}, 1, whyRejected, 1, 1},
		"no protobuf": {func(w http.ResponseWriter) bool { _, _ = io.WriteString(w, "<html>"); return true }, 1, "", 1, 1},
		"busy for a long way": {func(w http.ResponseWriter) bool {
			w.Header().Set("Retry-After", "999999999999")
			w.WriteHeader(429)
			return true
		}, 0, whyFailed, 1, 1},
		"busy": {nil, 1, "", 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tries atomic.Int64
			r := newReceiver(t, func(w http.ResponseWriter) bool {
				n := tries.Add(1)
				if c.answer == nil {
					if n == 1 {
						w.WriteHeader(http.StatusServiceUnavailable)
					}
					return n == 1
				}
				return c.answer(w)
			})
			s, stop := open(t, Config{Endpoint: r.URL})
			s.make(1, "a")
			eventually(t, "an end", func() bool { n := numbers(t, s); return n["sent_total"]+n[whyFailed] == 1 })
			stop()
			if n := numbers(t, s); n["sent_total"] != c.sent || c.lost != "" && n[c.lost] != 1 || tries.Load() != c.tries {
				t.Errorf("%d tries, counted %v; want %d, %v sent, lost %s", tries.Load(), n, c.tries, c.sent, c.lost)
			}
		})
	}
}

// FuzzAnswer: whatever a receiver answers is taken or not, what it rejects and how long it asks to be left alone are bounded.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "", []byte{})
	f.Add(200, "", []byte("\x0a\x02\x08\x01"))
	f.Add(503, "120", []byte("<html>"))
	f.Add(429, "-1", []byte{0xff})
	f.Fuzz(func(t *testing.T, code int, after string, text []byte) {
		c := &client{rejected: func(n int) {
			if n <= 0 || n > maxBatch {
				t.Errorf("rejected %d", n)
			}
		}}
		err := c.read(&http.Response{StatusCode: code, Header: http.Header{"Retry-After": []string{after}}}, text)
		if wait, again := retry(err, time.Second); err != nil && again && (wait < time.Second || wait > maxAfter) {
			t.Errorf("%v: again after %v", err, wait)
		}
	})
}
