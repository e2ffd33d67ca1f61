package scan

import (
	"github.com/prometheus/client_golang/prometheus"

	"ringfence.dev/ringfence/finding"
)

// Metrics tell of a scan; they implement prometheus.Collector.
type Metrics struct {
	scan     func() *Scan
	severity func(control string) finding.Severity
}

// NewMetrics tells of the scan that runs here, nil while none does: there are no numbers then.
func NewMetrics(scan func() *Scan, severity func(control string) finding.Severity) Metrics {
	return Metrics{scan, severity}
}

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func objects() *prometheus.Desc {
	return gauge("ringfence_scan_objects", "Objects that the background scan holds.")
}

func waiting() *prometheus.Desc {
	return gauge("ringfence_scan_waiting", "Objects that are to be judged.")
}

func oldest() *prometheus.Desc {
	return gauge("ringfence_scan_oldest_seconds", "How old the oldest change is that is not judged, or how long a kind cannot be read.")
}

func judged() *prometheus.Desc {
	return gauge("ringfence_scan_judged_total", "How often an object was judged.")
}

func unjudged() *prometheus.Desc {
	return gauge("ringfence_scan_unjudged", "Objects in namespaces without Guard, which cannot be judged.")
}

func unread() *prometheus.Desc {
	return gauge("ringfence_scan_unread_kinds", "Kinds that the API server does not list or watch for us.")
}

func findings() *prometheus.Desc {
	return gauge("ringfence_scan_findings", "Findings that stand.", "severity", "state")
}

// Describe implements prometheus.Collector.
func (Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{objects(), waiting(), oldest(), judged(), unjudged(), unread(), findings()} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m Metrics) Collect(out chan<- prometheus.Metric) {
	s := m.scan()
	if s == nil {
		return
	}
	state := s.State()
	tell := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	tell(objects(), prometheus.GaugeValue, float64(state.Objects))
	tell(waiting(), prometheus.GaugeValue, float64(state.Waiting))
	tell(oldest(), prometheus.GaugeValue, max(0, s.cfg.Now().Sub(state.AsOf).Seconds()))
	tell(judged(), prometheus.CounterValue, float64(state.Judged))
	tell(unjudged(), prometheus.GaugeValue, float64(state.Unjudged))
	tell(unread(), prometheus.GaugeValue, float64(len(state.Unread)))
	if state.Whole.IsZero() {
		return // what is not looked at yet is not clean
	}
	counts := s.Counts(m.severity)
	for _, severity := range []finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low} {
		tell(findings(), prometheus.GaugeValue, float64(counts[Count{severity, false}]), string(severity), "open")
		tell(findings(), prometheus.GaugeValue, float64(counts[Count{severity, true}]), string(severity), "waived")
	}
}
