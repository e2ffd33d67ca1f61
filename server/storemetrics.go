package server

import (
	"context"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/store"
)

// storeTimeout bounds the questions of one look at the store.
const storeTimeout = 5 * time.Second

// StoreStatus is how far the store is filled from the ledger. Its JSON is stable: fields are only added.
type StoreStatus struct {
	// Next is the index of the first entry that the store has not.
	Next uint64 `json:"next"`
	// LagEntries is how many entries it lacks; LagSeconds how long ago the first of them happened, 0 where it lacks none.
	LagEntries uint64  `json:"lagEntries"`
	LagSeconds float64 `json:"lagSeconds"`
	// Bytes is the size of its files.
	Bytes int64 `json:"bytes"`
	// Failures counts tries to fill it that failed, since the start; LastError is what the last try said, "" for well.
	Failures  uint64 `json:"failures"`
	LastError string `json:"lastError"`
}

// tell notes how a try to fill the store ended.
func (a *answers) tell(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
	if err != nil {
		a.failures++
	}
}

// storeStatus looks at the store. Where it cannot be read it lacks everything, and LastError says why.
func (e *evidence) storeStatus(ctx context.Context) StoreStatus {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	a := e.answers
	a.mu.Lock()
	err, s := a.err, StoreStatus{Failures: a.failures}
	a.mu.Unlock()
	size := e.ledger.Size() // before the store is asked, so that it is never ahead
	if a.store != nil {
		state, askErr := a.store.State(ctx)
		if askErr == nil {
			s.Next = state.Next
		} else if err == nil {
			err = askErr
		}
	}
	if err != nil {
		s.LastError = finding.Clean(err.Error())
	}
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(a.path + suffix); err == nil {
			s.Bytes += info.Size()
		}
	}
	if size <= s.Next {
		return s
	}
	s.LagEntries = size - s.Next
	source := store.FromLedger(e.ledger)
	if first, err := source.Page(ctx, s.Next, 1); err == nil && len(first) > 0 {
		s.LagSeconds = max(0, time.Since(first[0].Time).Seconds())
	}
	return s
}

// storeMetrics is a collector over storeStatus.
type storeMetrics struct{ evidence *evidence }

var _ prometheus.Collector = storeMetrics{}

// Describe implements prometheus.Collector.
func (m storeMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// storeHelp is what a metric of the store tells.
func storeHelp(name string) string {
	return map[string]string{
		"lag_entries":    "Entries of the ledger that the store has not.",
		"lag_seconds":    "How long ago the first of them happened; 0 where there is none.",
		"bytes":          "Size of the store's files.",
		"failing":        "1 while the last try to fill the store failed; /evidence/status says with what.",
		"failures_total": "Tries to fill the store that failed.",
	}[name]
}

// Collect implements prometheus.Collector.
func (m storeMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.evidence.storeStatus(context.Background())
	failing := 0.0
	if s.LastError != "" {
		failing = 1
	}
	send := func(name string, kind prometheus.ValueType, value float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("ringfence_store_"+name, storeHelp(name), nil, nil), kind, value)
	}
	send("lag_entries", prometheus.GaugeValue, float64(s.LagEntries))
	send("lag_seconds", prometheus.GaugeValue, s.LagSeconds)
	send("bytes", prometheus.GaugeValue, float64(s.Bytes))
	send("failing", prometheus.GaugeValue, failing)
	send("failures_total", prometheus.CounterValue, float64(s.Failures))
}
