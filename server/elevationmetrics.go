package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/approval"
	"ringfence.dev/ringfence/tenant"
	"ringfence.dev/ringfence/tenant/elevation"
)

// elevationMetrics tells how many elevations there are in each state that somebody has to do something about. Before the cluster is
// known there is no such metric.
type elevationMetrics struct{ *Server }

// Describe implements prometheus.Collector.
func (m elevationMetrics) Describe(ch chan<- *prometheus.Desc) { ch <- elevationsDesc() }

func elevationsDesc() *prometheus.Desc {
	return prometheus.NewDesc("ringfence_elevations", "Elevations that wait for approval, live, wait for review, or should have been reviewed by now.", []string{"state"}, nil)
}

// Collect implements prometheus.Collector.
func (m elevationMetrics) Collect(ch chan<- prometheus.Metric) {
	cached := m.guards.Load()
	if cached == nil || m.cfg.Replicas.WebhookOnly {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var platform v1alpha1.Platform
	if err := (*cached).Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &platform); client.IgnoreNotFound(err) != nil {
		return
	}
	var all v1alpha1.ElevationList
	if err := (*cached).List(ctx, &all); err != nil {
		return
	}
	counts := map[approval.State]int{approval.Requested: 0, approval.Active: 0, approval.Ended: 0, approval.Overdue: 0}
	for i := range all.Items {
		state, _ := elevation.CourseOf(&all.Items[i], tenant.ElevationOf(&platform)).State(m.cfg.Now())
		if _, told := counts[state]; told {
			counts[state]++
		}
	}
	for state, n := range counts {
		ch <- prometheus.MustNewConstMetric(elevationsDesc(), prometheus.GaugeValue, float64(n), string(state))
	}
}
