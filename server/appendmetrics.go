package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringfence.dev/ringfence/record"
)

// appendMetrics are how long the ledger takes for what the queue hands to it.
type appendMetrics struct {
	duration prometheus.Histogram
	failures prometheus.Counter
}

var _ prometheus.Collector = (*appendMetrics)(nil)

func newAppendMetrics() *appendMetrics {
	return &appendMetrics{
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ringfence_ledger_append_duration_seconds", Help: "Seconds until a batch of records was on the disk below a signed checkpoint.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_ledger_append_failures_total", Help: "Batches that the ledger did not take; they are tried again."}),
	}
}

// timed is a sink that is measured.
func (m *appendMetrics) timed(keep record.Sink) record.Sink {
	return func(ctx context.Context, records []record.Record) error {
		begun := time.Now()
		err := keep(ctx, records)
		if err != nil {
			m.failures.Inc()
			return err
		}
		m.duration.Observe(time.Since(begun).Seconds())
		return nil
	}
}

// Describe implements prometheus.Collector.
func (m *appendMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *appendMetrics) Collect(ch chan<- prometheus.Metric) {
	m.duration.Collect(ch)
	m.failures.Collect(ch)
}
