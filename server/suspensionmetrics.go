package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
)

// suspensionMetrics tells how many suspensions of the Platform live: with one that does, controls warn that should deny. Before the
// cluster is known there is no such metric.
type suspensionMetrics struct{ *Server }

// Describe implements prometheus.Collector.
func (m suspensionMetrics) Describe(ch chan<- *prometheus.Desc) { ch <- suspensionsDesc() }

func suspensionsDesc() *prometheus.Desc {
	return prometheus.NewDesc("ringfence_suspensions", "Suspensions of the Platform that live: controls warn that should deny.", nil, nil)
}

// Collect implements prometheus.Collector.
func (m suspensionMetrics) Collect(ch chan<- prometheus.Metric) {
	cached := m.guards.Load()
	if cached == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var platform v1alpha1.Platform
	if err := (*cached).Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &platform); client.IgnoreNotFound(err) != nil {
		return
	}
	live := 0
	for _, s := range platform.Spec.Suspensions {
		if end, err := tenant.Expiry(s.Expires); err == nil && time.Now().Before(end) {
			live++
		}
	}
	ch <- prometheus.MustNewConstMetric(suspensionsDesc(), prometheus.GaugeValue, float64(live))
}
