package server

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
)

// factLook is how often it is looked how far the cache has come.
const factLook = 5 * time.Second

// facts are how old what verdicts are made of is. The zero value knows nothing yet.
type facts struct {
	mu      sync.Mutex // guards what follows
	heard   map[string]heard
	guards  int
	waivers map[string]int // by state
	next    time.Time      // when the next live waiver ends; zero for none
}

// heard is how far the cache of a kind has come, and since when.
type heard struct {
	version string
	at      time.Time
}

// watch looks at the cache while a manager runs.
func (f *facts) watch(mgr ctrl.Manager) error {
	return mgr.Add(runnable(func(ctx context.Context) error {
		tick := time.NewTicker(factLook)
		defer tick.Stop()
		for {
			_ = f.look(ctx, mgr) // what cannot be looked at grows old, which is what the metric tells
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	}))
}

// look notes which kinds were heard of since the last look: a change, or the API server's word that there was none, which it
// gives every minute or so.
func (f *facts) look(ctx context.Context, mgr ctrl.Manager) error {
	for kind, o := range map[string]client.Object{"Guard": &v1alpha1.Guard{}, "Waiver": &v1alpha1.Waiver{}, "Platform": &v1alpha1.Platform{}, "Tenant": &v1alpha1.Tenant{}} {
		informer, err := mgr.GetCache().GetInformer(ctx, o)
		if err != nil {
			return err
		}
		if said, ok := informer.(interface{ LastSyncResourceVersion() string }); ok {
			f.hear(kind, said.LastSyncResourceVersion(), time.Now())
		}
	}
	var guards v1alpha1.GuardList
	if err := mgr.GetClient().List(ctx, &guards, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	var waivers v1alpha1.WaiverList
	if err := mgr.GetClient().List(ctx, &waivers, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	f.count(len(guards.Items), waivers.Items, time.Now())
	return nil
}

// hear notes how far the cache of a kind has come.
func (f *facts) hear(kind, version string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.heard == nil {
		f.heard = map[string]heard{}
	}
	if version != "" && f.heard[kind].version != version {
		f.heard[kind] = heard{version, now}
	}
}

// count notes what is there.
func (f *facts) count(guards int, waivers []v1alpha1.Waiver, now time.Time) {
	states, next := map[string]int{"live": 0, "pending": 0, "expired": 0}, time.Time{}
	for _, w := range waivers {
		ends, err := tenant.Expiry(w.Spec.Expires)
		switch {
		case err != nil || !now.Before(ends):
			states["expired"]++
		case w.Status.Approval == nil:
			states["pending"]++
		default:
			states["live"]++
			if next.IsZero() || ends.Before(next) {
				next = ends
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.guards, f.waivers, f.next = guards, states, next
}

// factMetrics is a collector over what a Server knows of its facts.
type factMetrics struct{ server *Server }

var _ prometheus.Collector = factMetrics{}

// Describe implements prometheus.Collector.
func (m factMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector. What is not known yet is missing: 0 would be a lie.
func (m factMetrics) Collect(ch chan<- prometheus.Metric) {
	one := func(value float64, name, help string, label ...string) {
		var names, values []string
		if len(label) == 2 {
			names, values = label[:1], label[1:]
		}
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), prometheus.GaugeValue, value, values...)
	}
	one(float64(len(m.server.catalogue.Controls)), "ringfence_catalogue_controls", "Controls of the catalogue in this program.")
	if e := m.server.evidence; e != nil {
		if info, err := os.Stat(filepath.Join(e.dir, "catalogue")); err == nil {
			one(float64(info.ModTime().Unix()), "ringfence_catalogue_since_timestamp_seconds", "Since when the catalogue in force is that of this program, in seconds since 1970.")
		}
	}
	f := &m.server.facts
	f.mu.Lock()
	defer f.mu.Unlock()
	for kind, h := range f.heard {
		one(time.Since(h.at).Seconds(), "ringfence_cache_age_seconds", "Seconds since the cache of a kind was last heard to be up to date; verdicts may be as old as that.", "kind", kind)
	}
	if f.waivers == nil {
		return
	}
	one(float64(f.guards), "ringfence_guards", "Guards in the cache.")
	for state, n := range f.waivers {
		one(float64(n), "ringfence_waivers", "Waivers by state: live, pending (nobody has approved), expired.", "state", state)
	}
	if !f.next.IsZero() {
		one(float64(f.next.Unix()), "ringfence_waiver_next_expiry_timestamp_seconds", "When the next live waiver ends, in seconds since 1970.")
	}
}
