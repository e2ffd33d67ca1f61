package portal

import "github.com/prometheus/client_golang/prometheus"

// Why a request was not let in, as metrics name it.
const (
	whyNone     = "none"    // it shows no credential
	whyBroken   = "broken"  // it shows more than one, or one that cannot be read
	whyUnknown  = "unknown" // a credential that does not exist, or was revoked
	whyEnded    = "ended"   // one whose time is over
	whyStale    = "stale"   // its person's groups were verified too long ago
	whyOrigin   = "origin"  // another site sent it
	whyScope    = "scope"   // a token without the scope
	whyTooOften = "too-often"
)

// metrics count who was let in, who was not, and what lives.
type metrics struct {
	refused, signIns *prometheus.CounterVec
	sessions, tokens *prometheus.Desc
	accounts         *accounts
}

func newMetrics(kept *accounts) *metrics {
	m := &metrics{
		refused:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_api_refused_total", Help: "Requests to the signed-in API that were not let in."}, []string{"why"}),
		signIns:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_api_sign_ins_total", Help: "Sign-ins by answer: ok, refused, undecided."}, []string{"answer"}),
		sessions: prometheus.NewDesc("ringfence_api_sessions", "Sessions that are kept, those included whose time is over since.", nil, nil),
		tokens:   prometheus.NewDesc("ringfence_api_tokens", "Tokens that are kept, those included whose time is over since.", nil, nil),
		accounts: kept,
	}
	for _, why := range []string{whyNone, whyBroken, whyUnknown, whyEnded, whyStale, whyOrigin, whyScope, whyTooOften} {
		m.refused.WithLabelValues(why)
	}
	for _, answer := range []string{"ok", "refused", "undecided"} {
		m.signIns.WithLabelValues(answer)
	}
	return m
}

var _ prometheus.Collector = (*Portal)(nil)

// Describe implements prometheus.Collector.
func (p *Portal) Describe(ch chan<- *prometheus.Desc) {
	p.metrics.refused.Describe(ch)
	p.metrics.signIns.Describe(ch)
	ch <- p.metrics.sessions
	ch <- p.metrics.tokens
}

// Collect implements prometheus.Collector.
func (p *Portal) Collect(ch chan<- prometheus.Metric) {
	p.metrics.refused.Collect(ch)
	p.metrics.signIns.Collect(ch)
	sessions, tokens := p.accounts.count()
	ch <- prometheus.MustNewConstMetric(p.metrics.sessions, prometheus.GaugeValue, float64(sessions))
	ch <- prometheus.MustNewConstMetric(p.metrics.tokens, prometheus.GaugeValue, float64(tokens))
}
