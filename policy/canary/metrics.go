package canary

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics tell what came of the last run. Before the first one they say so by the time alone, which is 0 then: an age that alarms. A run in which
// no object that must be refused got an answer leaves the time as it is.
type Metrics struct {
	mu    sync.Mutex // guards what follows
	last  Run
	tried time.Time
}

// Set takes the last run.
func (m *Metrics) Set(r Run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = r
	if answered, silent := r.Answers(); len(answered) > 0 || len(silent) == 0 {
		m.tried = r.At
	}
}

func lastDesc() *prometheus.Desc {
	return prometheus.NewDesc("ringfence_canary_last_run_timestamp_seconds", "When objects that must be refused were last tried; 0 before the first time.", nil, nil)
}

func triesDesc() *prometheus.Desc {
	return prometheus.NewDesc("ringfence_canary_tries", "What came of each object of the last run: held, let-in, refused-good, not-asked.", []string{"outcome"}, nil)
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- lastDesc()
	ch <- triesDesc()
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	last, tried := m.last, m.tried
	m.mu.Unlock()
	at := 0.0
	if !tried.IsZero() {
		at = float64(tried.UnixMilli()) / 1000
	}
	ch <- prometheus.MustNewConstMetric(lastDesc(), prometheus.GaugeValue, at)
	for _, outcome := range []string{Held, LetIn, RefusedGood, NotAsked} {
		ch <- prometheus.MustNewConstMetric(triesDesc(), prometheus.GaugeValue, float64(last.Count(outcome)), outcome)
	}
}
