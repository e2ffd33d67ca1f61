package admission

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count what the door answers. Make one with NewMetrics and register it.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	stages   *prometheus.HistogramVec
	inFlight prometheus.Gauge
	gaps     *prometheus.CounterVec
	gapTime  prometheus.Counter
	expires  prometheus.Gauge
}

// NewMetrics makes the metrics of a Handler, all zero.
func NewMetrics() *Metrics { return newMetrics("ringfence_admission_") }

// NewFillMetrics makes the metrics of a Filler, all zero.
func NewFillMetrics() *Metrics { return newMetrics("ringfence_mutation_") }

func newMetrics(start string) *Metrics {
	return &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: start + "requests_total",
			Help: "Reviews by operation and verdict: allowed, warned, refused, undecided (refused because it could not be decided), shed (told to come again), invalid; of what fills in: filled.",
		}, []string{"operation", "verdict"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: start + "duration_seconds", Help: "Seconds from the first byte of a review to its answer.",
			Buckets: []float64{.0001, .00025, .0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"operation"}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: start + "stage_duration_seconds", Help: "Seconds of a review's stages: decode (read and taken apart), guard (its Guard is found), judge.",
			Buckets: []float64{.00001, .0001, .00025, .0005, .001, .0025, .01, .05, .25, 1, 5},
		}, []string{"stage"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: start + "in_flight", Help: "Reviews that are judged now.",
		}),
		gaps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: start + "gaps_total", Help: "How often the webhook's registration was found missing or changed and was put back.",
		}, []string{"cause"}),
		gapTime: prometheus.NewCounter(prometheus.CounterOpts{
			Name: start + "gap_seconds_total", Help: "Seconds from noticing that the registration was missing or changed until it was back.",
		}),
		expires: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: start + "certificate_expires_seconds", Help: "When the certificate of the door that is shown now expires, in seconds since 1970.",
		}),
	}
}

// count counts an answer. An operation that could not be read is "unknown".
func (m *Metrics) count(a *answer, begun time.Time) {
	operation := cmp.Or(a.operation, "unknown")
	m.requests.WithLabelValues(operation, string(a.verdict)).Inc()
	m.duration.WithLabelValues(operation).Observe(time.Since(begun).Seconds())
	from := a.way.decoded
	if from.IsZero() {
		return
	}
	m.stages.WithLabelValues("decode").Observe(from.Sub(begun).Seconds())
	if guarded := a.way.guarded; !guarded.IsZero() {
		m.stages.WithLabelValues("guard").Observe(guarded.Sub(from).Seconds())
		from = guarded
	}
	if judged := a.way.judged; !judged.IsZero() {
		m.stages.WithLabelValues("judge").Observe(judged.Sub(from).Seconds())
	}
}

// Expires is told when the certificate that is shown now expires.
func (m *Metrics) Expires(at time.Time) { m.expires.Set(float64(at.Unix())) }

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.stages, m.inFlight, m.gaps, m.gapTime, m.expires} {
		c.Collect(ch)
	}
}
