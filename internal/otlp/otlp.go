// Package otlp sends spans to a receiver by OTLP over HTTP, aside of what they tell of: a span that finds no room, or no
// receiver, is counted and lost, and nothing waits for it.
//
// It makes no span and knows nothing of what they tell; package server does, and runs the Sender.
package otlp

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// maxWaiting is how many spans wait at most, some MB: they have few attributes, each of maxAttribute characters at most.
	maxWaiting = 4096
	// maxBatch is how many spans one request has, batchTime how long the first of them waits for others.
	maxBatch, batchTime = 512, 2 * time.Second
	// maxAttributes, maxLinks and maxAttribute bound one span.
	maxAttributes, maxLinks, maxAttribute = 32, 16, 256
	// firstWait doubles between two tries of one batch, which end with the timeout of the settings.
	firstWait = time.Second
	// drainTime is how long what waits may take at the end.
	drainTime = 3 * time.Second
)

// Why spans are lost.
const (
	whyFull     = "queue-full"
	whyFailed   = "failed"
	whyRejected = "rejected"
)

// Sender takes spans that have ended and sends them in batches while Run runs. It is safe for many goroutines.
type Sender struct {
	settings settings
	log      *slog.Logger
	provider *sdktrace.TracerProvider
	exporter *otlptrace.Exporter
	waiting  chan sdktrace.ReadOnlySpan
	sent     prometheus.Counter
	lost     *prometheus.CounterVec
	failing  bool // of Run alone

	mu     sync.Mutex // guards closed
	closed bool
}

var _ sdktrace.SpanProcessor = (*Sender)(nil)

// Open makes a Sender; nil where neither Config nor its environment names a receiver. Nothing is sent before Run.
func Open(cfg Config, log *slog.Logger) (*Sender, error) {
	set, err := cfg.settings()
	if err != nil {
		return nil, fmt.Errorf("send traces: %w", err)
	}
	if set.url == "" {
		return nil, nil
	}
	about, err := resource.New(context.Background(), resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "ringfence"), attribute.String("service.version", cfg.Version), attribute.String("service.instance.id", rand.Text())),
		resource.WithFromEnv()) // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come last: they are whose platform it is
	if err != nil {
		return nil, fmt.Errorf("send traces: read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	s := &Sender{settings: set, log: log, waiting: make(chan sdktrace.ReadOnlySpan, maxWaiting)}
	s.count()
	s.exporter = otlptrace.NewUnstarted(&client{settings: set, rejected: func(n int) { s.lose(whyRejected, n) }})
	s.provider = sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithSpanProcessor(s),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(set.sample))),
		sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{AttributeValueLengthLimit: maxAttribute, AttributeCountLimit: maxAttributes,
			EventCountLimit: 4, LinkCountLimit: maxLinks, AttributePerEventCountLimit: 4, AttributePerLinkCountLimit: 4}))
	return s, nil
}

// Tracer makes spans that this sends.
func (s *Sender) Tracer() trace.Tracer { return s.provider.Tracer("ringfence.dev/ringfence") }

// OnStart implements sdktrace.SpanProcessor.
func (s *Sender) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd implements sdktrace.SpanProcessor. It never waits.
func (s *Sender) OnEnd(span sdktrace.ReadOnlySpan) {
	if !span.SpanContext().IsSampled() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.lose(whyFull, 1)
		return
	}
	select {
	case s.waiting <- span:
	default:
		s.lose(whyFull, 1)
	}
}

// ForceFlush implements sdktrace.SpanProcessor: Run sends what waits, and nobody waits for it.
func (s *Sender) ForceFlush(context.Context) error { return nil }

// Shutdown implements sdktrace.SpanProcessor: Run ends with its context.
func (s *Sender) Shutdown(context.Context) error { return nil }

// Run sends what waits until ctx ends, and then for three seconds at most; what is left is counted as lost.
func (s *Sender) Run(ctx context.Context) {
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(drainTime, cancel) })()
	for ctx.Err() == nil {
		s.export(last, s.collect(ctx))
	}
	s.mu.Lock()
	s.closed = true
	close(s.waiting)
	s.mu.Unlock()
	for len(s.waiting) > 0 && last.Err() == nil {
		s.export(last, s.collect(last))
	}
	s.lose(whyFailed, len(s.waiting))
}

// collect is the next batch: it waits for the first span, and then a little for others. Once ctx has ended it is what there is.
func (s *Sender) collect(ctx context.Context) (batch []sdktrace.ReadOnlySpan) {
	var full <-chan time.Time
	for len(batch) < maxBatch {
		select {
		case span, open := <-s.waiting:
			if !open {
				return batch
			}
			if batch = append(batch, span); full == nil {
				timer := time.NewTimer(s.settings.batchTime)
				defer timer.Stop()
				full = timer.C
			}
		case <-full:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// export sends a batch, again where that may help, until the timeout of the settings or the end of ctx.
func (s *Sender) export(ctx context.Context, batch []sdktrace.ReadOnlySpan) {
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.settings.timeout)
	defer cancel()
	for wait := firstWait; ; wait *= 2 {
		err := s.exporter.ExportSpans(ctx, batch)
		if err == nil {
			s.sent.Add(float64(len(batch)))
			s.tell(nil)
			return
		}
		s.tell(err)
		after, again := retry(err, wait)
		if until, _ := ctx.Deadline(); !again || time.Until(until) < after {
			s.lose(whyFailed, len(batch))
			return
		}
		select {
		case <-ctx.Done():
			s.lose(whyFailed, len(batch))
			return
		case <-time.After(after):
		}
	}
}

// tell logs that the receiver fails, and that it does no longer, each once.
func (s *Sender) tell(err error) {
	switch {
	case err != nil && !s.failing:
		s.log.Warn("traces are not taken; what waits too long is lost", "err", err)
	case err == nil && s.failing:
		s.log.Info("traces are taken again")
	}
	s.failing = err != nil
}
