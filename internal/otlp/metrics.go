package otlp

import "github.com/prometheus/client_golang/prometheus"

var _ prometheus.Collector = (*Sender)(nil)

// count makes the counters, all zero.
func (s *Sender) count() {
	s.sent = prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_traces_sent_total", Help: "Spans that the receiver took."})
	s.lost = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ringfence_traces_lost_total", Help: "Spans that are lost: no room (queue-full), no receiver in time (failed), or not wanted by it (rejected).",
	}, []string{"why"})
	for _, why := range []string{whyFull, whyFailed, whyRejected} {
		s.lost.WithLabelValues(why)
	}
}

func (s *Sender) lose(why string, n int) { s.lost.WithLabelValues(why).Add(float64(n)) }

// Describe implements prometheus.Collector.
func (s *Sender) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect implements prometheus.Collector.
func (s *Sender) Collect(ch chan<- prometheus.Metric) {
	s.sent.Collect(ch)
	s.lost.Collect(ch)
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("ringfence_traces_waiting", "Spans that wait to be sent; at most 4096.", nil, nil),
		prometheus.GaugeValue, float64(len(s.waiting)))
}
