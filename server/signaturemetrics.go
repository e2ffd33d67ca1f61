package server

import "github.com/prometheus/client_golang/prometheus"

var _ prometheus.Collector = (*signatures)(nil)

// Describe implements prometheus.Collector.
func (g *signatures) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(g, ch) }

// Collect implements prometheus.Collector. Where another replica leads there is no number.
func (g *signatures) Collect(ch chan<- prometheus.Metric) {
	l := g.lookout.Load()
	if l == nil {
		return
	}
	stats := l.Stats()
	for answer, n := range stats.Answers {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("ringfence_signature_answers_total", "Answers of registries about the signatures of an image: signed, lacking, none (no answer).",
			[]string{"answer"}, nil), prometheus.CounterValue, float64(n), answer)
	}
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("ringfence_signature_registries_down", "Registries that say nothing of signatures and are left alone for a while.", nil, nil),
		prometheus.GaugeValue, float64(stats.Down))
	if !stats.Looked {
		return
	}
	for state, n := range stats.Images {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("ringfence_signature_images", "Images that run under a trust rule, or were refused lately, by what is known: signed, lacking, unknown.",
			[]string{"state"}, nil), prometheus.GaugeValue, float64(n), state)
	}
}
