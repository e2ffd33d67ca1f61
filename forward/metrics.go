package forward

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// scrapeTimeout bounds what a scrape asks the ledger.
const scrapeTimeout = 2 * time.Second

// metric is one number of Stats.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(Stats) float64
}

// Metrics is a Prometheus collector over followers, labelled by the sink's name.
type Metrics struct {
	followers []*Follower
	metrics   []metric
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics makes a collector of what followers' Stats say.
func NewMetrics(followers ...*Follower) *Metrics {
	add := func(name, help string, kind prometheus.ValueType, of func(Stats) float64) metric {
		return metric{prometheus.NewDesc("ringfence_forward_"+name, help, []string{"sink"}, nil), kind, of}
	}
	return &Metrics{followers, []metric{
		add("lag_records", "Records that wait for the sink.", prometheus.GaugeValue, func(s Stats) float64 { return float64(s.LagRecords) }),
		add("lag_seconds", "Age of the oldest record that waits for the sink.", prometheus.GaugeValue, func(s Stats) float64 { return s.LagSeconds }),
		add("sent_total", "Messages that the sink took.", prometheus.CounterValue, func(s Stats) float64 { return float64(s.Sent) }),
		add("sent_bytes_total", "Bytes of the messages that the sink took.", prometheus.CounterValue, func(s Stats) float64 { return float64(s.SentBytes) }),
		add("skipped_total", "Records of kinds that the sink does not want.", prometheus.CounterValue, func(s Stats) float64 { return float64(s.Skipped) }),
		add("skipped_bytes_total", "Bytes of the records that the sink does not want.", prometheus.CounterValue, func(s Stats) float64 { return float64(s.SkippedBytes) }),
		add("aside_total", "Messages that the sink can never take and that were put aside.", prometheus.CounterValue, func(s Stats) float64 { return float64(s.Aside) }),
		add("retries_total", "Tries that failed and are made again.", prometheus.CounterValue, func(s Stats) float64 { return float64(s.Retries) }),
	}}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, one := range m.metrics {
		out <- one.desc
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	for _, f := range m.followers {
		s := f.Stats(ctx)
		for _, one := range m.metrics {
			out <- prometheus.MustNewConstMetric(one.desc, one.kind, one.of(s), s.Sink)
		}
	}
}
