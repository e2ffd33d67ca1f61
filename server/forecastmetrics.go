package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/tenant"
)

// forecastMetrics tells how many of the images that run would be refused if they started new, now and soon, if nothing new is learnt of them.
// Without image facts, and before the cluster is known, there is no such metric.
type forecastMetrics struct{ *Server }

var _ prometheus.Collector = forecastMetrics{}

// ahead are how far the metric looks, by the name of the label; each counts what those before it do too.
var ahead = map[string]time.Duration{"now": 0, "1d": 24 * time.Hour, "14d": 14 * 24 * time.Hour}

// Describe implements prometheus.Collector.
func (m forecastMetrics) Describe(ch chan<- *prometheus.Desc) { ch <- forecastDesc() }

func forecastDesc() *prometheus.Desc {
	return prometheus.NewDesc("ringfence_images_refused", "Images, by digest, that run and would be refused if they started new then: now, within 1d, within 14d.", []string{"tenant", "within"}, nil)
}

// Collect implements prometheus.Collector.
func (m forecastMetrics) Collect(ch chan<- prometheus.Metric) {
	cached, facts := m.guards.Load(), m.images.Load()
	if cached == nil || facts == nil || facts.index.Load() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var guards v1alpha1.GuardList
	var pods corev1.PodList
	for _, list := range []client.ObjectList{&guards, &pods} {
		if err := (*cached).List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return // nothing is known, and 0 would be a lie
		}
	}
	for name, counts := range forecast(facts.index.Load(), guards.Items, pods.Items, m.cfg.Now()) {
		for within := range ahead {
			ch <- prometheus.MustNewConstMetric(forecastDesc(), prometheus.GaugeValue, float64(counts[within]), name, within)
		}
	}
}

// forecast counts, for each tenant that has a Guard, the digests that its pods name and that are refused within a time, somewhere.
func forecast(index *image.Index, guards []v1alpha1.Guard, pods []corev1.Pod, now time.Time) map[string]map[string]int {
	guarded, counts := map[string]*v1alpha1.Guard{}, map[string]map[string]int{}
	for i := range guards {
		if g := &guards[i]; g.Name == v1alpha1.GuardName && g.Spec.Tenant != "" {
			guarded[g.Namespace], counts[g.Spec.Tenant] = g, map[string]int{}
		}
	}
	type running struct{ tenant, digest string }
	ends := map[running]time.Time{} // where rules differ, the first
	for i := range pods {
		g := guarded[pods[i].Namespace]
		if g == nil {
			continue
		}
		rule := ""
		if g.Spec.Images != nil {
			rule = g.Spec.Images.Rule
		}
		for _, reference := range tenant.References(&pods[i]) {
			one := running{g.Spec.Tenant, image.DigestOf(reference)}
			if one.digest == "" {
				continue
			}
			known, _ := index.Under(rule).Find(one.digest)
			if end, seen := ends[one]; !seen || known.Until().Before(end) {
				ends[one] = known.Until()
			}
		}
	}
	for one, end := range ends {
		for within, time := range ahead {
			if now.Add(time).After(end) {
				counts[one.tenant][within]++
			}
		}
	}
	return counts
}
