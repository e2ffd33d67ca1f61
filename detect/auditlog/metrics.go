package auditlog

import "github.com/prometheus/client_golang/prometheus"

// Metrics is a Prometheus collector over a Handler's Stats. The time of the newest event is missing before the first one:
// then refusals are not observed, and 0 would be a lie.
type Metrics struct {
	h        *Handler
	counters map[*prometheus.Desc]func(Stats) uint64
	lateness *prometheus.Desc
	last     *prometheus.Desc
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics makes a collector.
func NewMetrics(h *Handler) *Metrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("ringfence_audit_"+name, help, nil, nil)
	}
	return &Metrics{h, map[*prometheus.Desc]func(Stats) uint64{
		desc("events_total", "Audit events taken; one that is in two batches at once may count twice."): func(s Stats) uint64 { return s.Events },
		desc("duplicates_total", "Audit events that had been taken before."):                            func(s Stats) uint64 { return s.Duplicates },
		desc("malformed_total", "Audit events that could not be read and are lost."):                    func(s Stats) uint64 { return s.Malformed },
		desc("broken_batches_total", "Batches that could not be read to their end."):                    func(s Stats) uint64 { return s.Broken },
		desc("unkept_batches_total", "Batches that could not be kept and must come again."):             func(s Stats) uint64 { return s.Unkept },
		desc("gaps_total", "Places in followed files from where audit events may be lost."):             func(s Stats) uint64 { return s.Gaps },
	}, desc("lateness_seconds", "Age on arrival of the oldest event of the last batch."), desc("last_event_timestamp_seconds", "When the newest audit event happened.")}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for d := range m.counters {
		out <- d
	}
	out <- m.lateness
	out <- m.last
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	s := m.h.Stats()
	for d, of := range m.counters {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(of(s)))
	}
	if last, ok := m.h.LastEvent(); ok {
		out <- prometheus.MustNewConstMetric(m.lateness, prometheus.GaugeValue, s.Lateness.Seconds())
		out <- prometheus.MustNewConstMetric(m.last, prometheus.GaugeValue, float64(last.UnixMilli())/1000)
	}
}
