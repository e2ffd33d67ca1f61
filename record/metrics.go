package record

import "github.com/prometheus/client_golang/prometheus"

// Describe implements prometheus.Collector.
func (q *Queue) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(q, ch) }

// Collect implements prometheus.Collector.
func (q *Queue) Collect(ch chan<- prometheus.Metric) {
	one := func(kind prometheus.ValueType, value float64, name, help string, labels ...string) {
		var names []string
		if len(labels) > 0 {
			names = []string{"producer", "why"}[:len(labels)]
		}
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, labels...)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	one(prometheus.GaugeValue, float64(len(q.waiting)), "ringfence_records_waiting", "Records that wait to be written to the ledger.")
	oldest := 0.0
	if len(q.waiting) > 0 {
		oldest = max(0, q.cfg.Now().Sub(q.waiting[0].since).Seconds())
	}
	one(prometheus.GaugeValue, oldest, "ringfence_records_oldest_seconds", "How long the oldest record that waits has waited; 0 where none does.")
	one(prometheus.GaugeValue, float64(q.cfg.Capacity), "ringfence_records_capacity", "How many records may wait; more are lost.")
	one(prometheus.CounterValue, float64(q.written), "ringfence_records_written_total", "Records that were written to the ledger.")
	for name, p := range q.producers {
		for why, n := range p.lost {
			one(prometheus.CounterValue, float64(n), "ringfence_records_lost_total", "Records that were lost, by whose they were and why.", name, why)
		}
		if p.promised > 0 {
			silent := 0.0
			if p.silent {
				silent = 1
			}
			one(prometheus.GaugeValue, silent, "ringfence_producer_silent", "1 while a producer is not heard that promised to be.", name)
		}
	}
}
