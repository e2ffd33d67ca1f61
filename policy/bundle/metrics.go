package bundle

import "github.com/prometheus/client_golang/prometheus"

// Metrics count what the Reconciler sees. Make one with NewMetrics and register it.
type Metrics struct {
	inPlace    prometheus.Gauge
	gaps       *prometheus.CounterVec
	gapSeconds *prometheus.CounterVec
}

// NewMetrics makes the metrics, all zero.
func NewMetrics() *Metrics {
	return &Metrics{
		inPlace: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ringfence_policies_in_place", Help: "1 when every native policy and binding is in place as built, else 0.",
		}),
		gaps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ringfence_policy_gaps_total", Help: "How often a native policy or binding was found missing or changed and was put back.",
		}, []string{"object", "cause"}),
		gapSeconds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ringfence_policy_gap_seconds_total", Help: "Seconds from noticing that a native policy or binding was missing or changed until it was back.",
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
