package install

import "github.com/prometheus/client_golang/prometheus"

// Metrics count what Kinds sees. Make one with NewMetrics and register it.
type Metrics struct {
	inPlace    prometheus.Gauge
	gaps       *prometheus.CounterVec
	gapSeconds *prometheus.CounterVec
}

// NewMetrics makes the metrics, all zero.
func NewMetrics() *Metrics {
	return &Metrics{
		inPlace: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ringfence_kinds_in_place", Help: "1 when every kind of ringfence.dev is served as built, else 0.",
		}),
		gaps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ringfence_kind_gaps_total", Help: "How often a kind of ringfence.dev was found missing or changed and was put back.",
		}, []string{"object", "cause"}),
		gapSeconds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ringfence_kind_gap_seconds_total", Help: "Seconds from noticing that a kind of ringfence.dev was missing or changed until it was served again as built.",
		}, []string{"object"}),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.inPlace.Collect(ch)
	m.gaps.Collect(ch)
	m.gapSeconds.Collect(ch)
}
