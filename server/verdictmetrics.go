package server

import "github.com/prometheus/client_golang/prometheus"

var _ prometheus.Collector = (*verdicts)(nil)

// Describe implements prometheus.Collector.
func (v *verdicts) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(v, ch) }

// Collect implements prometheus.Collector. Where another replica leads, and before the first look, there is no number.
func (v *verdicts) Collect(ch chan<- prometheus.Metric) {
	a := v.assessor.Load()
	if a == nil {
		return
	}
	stats := a.Stats()
	if stats.Judged.IsZero() {
		return
	}
	one := func(value float64, name, help string, state ...string) {
		var labels []string
		if len(state) > 0 {
			labels = []string{"state"}
		}
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue, value, state...)
	}
	const ofReports = "Reports on images: judged, unread (they cannot be read, or join too many)."
	one(float64(stats.Reports), "ringfence_image_reports", ofReports, "judged")
	one(float64(stats.Unread), "ringfence_image_reports", ofReports, "unread")
	one(float64(stats.Digests), "ringfence_image_report_digests", "Digests of which the reports say something.")
	one(float64(stats.Judged.UnixNano())/1e9, "ringfence_image_reports_judged_timestamp_seconds", "When the reports were looked at last, and judged where something was another.")
}
