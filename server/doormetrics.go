package server

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// doorMetrics are rate, errors and duration of the doors over HTTP; the admission door has its own. Labels have few values: no
// path, namespace or person.
type doorMetrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
}

var _ prometheus.Collector = (*doorMetrics)(nil)

// newDoorMetrics makes them. The series of a door begin with the door.
func newDoorMetrics() *doorMetrics {
	return &doorMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ringfence_door_requests_total", Help: "Requests by door and answer: ok, wrong (4xx), busy (429 and 503: come again), failed (other 5xx).",
		}, []string{"door", "answer"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ringfence_door_duration_seconds", Help: "Seconds from a request to its answer.",
			Buckets: []float64{.0001, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"door"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ringfence_door_in_flight", Help: "Requests that are answered now."}, []string{"door"}),
	}
}

// Describe implements prometheus.Collector.
func (m *doorMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *doorMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.inFlight} {
		c.Collect(ch)
	}
}

// measured counts the requests of a door.
func (m *doorMetrics) measured(door string, next http.Handler) http.Handler {
	for _, answer := range []string{"ok", "wrong", "busy", "failed"} {
		m.requests.WithLabelValues(door, answer)
	}
	duration, inFlight := m.duration.WithLabelValues(door), m.inFlight.WithLabelValues(door)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun, seen := time.Now(), &answered{ResponseWriter: w}
		inFlight.Inc()
		defer func() {
			inFlight.Dec()
			duration.Observe(time.Since(begun).Seconds())
			m.requests.WithLabelValues(door, seen.kind()).Inc()
		}()
		next.ServeHTTP(seen, r)
	})
}

// answered is a ResponseWriter that remembers the status.
type answered struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (a *answered) WriteHeader(code int) {
	if a.code == 0 && code >= http.StatusOK {
		a.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController set deadlines.
func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answered) status() int {
	if a.code == 0 {
		return http.StatusOK
	}
	return a.code
}

// kind is the answer as metrics name it.
func (a *answered) kind() string {
	switch code := a.status(); {
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		return "busy"
	case code >= http.StatusInternalServerError:
		return "failed"
	case code >= http.StatusBadRequest:
		return "wrong"
	}
	return "ok"
}

// taken is a door that takes something in: measured, and a span of each request where traces are made.
func (s *Server) taken(door string, next http.Handler) http.Handler {
	return s.doorMetrics.measured(door, s.traces.door(door, next))
}

// auditTaken is taken for each form of audit events under its own name.
func (s *Server) auditTaken(next http.Handler) http.Handler {
	forms := map[string]http.Handler{}
	for _, form := range []string{"webhook", "eks", "aks", "gke", "lines"} {
		forms[form] = s.taken("audit-"+form, next)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if form := forms[strings.TrimPrefix(r.URL.Path, "/audit/")]; form != nil {
			form.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
