package server

import "github.com/prometheus/client_golang/prometheus"

// objectMetrics tell how many objects of each kind that a bank writes there are: when one falls to none, somebody deleted
// them, or their kind.
type objectMetrics struct {
	count func() map[string]int
}

// Describe implements prometheus.Collector.
func (objectMetrics) Describe(out chan<- *prometheus.Desc) { out <- objects() }

// Collect implements prometheus.Collector.
func (m objectMetrics) Collect(out chan<- prometheus.Metric) {
	for kind, n := range m.count() {
		out <- prometheus.MustNewConstMetric(objects(), prometheus.GaugeValue, float64(n), kind)
	}
}

func objects() *prometheus.Desc {
	return prometheus.NewDesc("ringfence_objects", "How many objects of a kind that the bank writes there are.", []string{"kind"}, nil)
}
