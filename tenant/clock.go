package tenant

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"ringfence.dev/ringfence/api/v1alpha1"
)

const (
	// clockEvery is how often it is asked whether the clock was set, and clockMoved by how much it must have been.
	clockEvery, clockMoved = 2 * time.Second, 2 * time.Second
)

// followClock looks at every tenant anew when the clock is set, or was while the machine was suspended. A wait for the end of a
// waiver or an egress hears of neither, and what a clock that was wrong took away would not come back.
func (r *Reconciler) followClock(mgr manager.Manager) error {
	moved := make(chan event.GenericEvent, 1)
	if err := r.tenant.Watch(source.Channel(moved, handler.EnqueueRequestsFromMapFunc(r.allTenants))); err != nil {
		return err
	}
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		r.watchClock(ctx, clockEvery, func(by time.Duration) {
			r.cfg.Log.Warn("the clock was set; what ends by itself is looked at anew", "seconds", by.Seconds())
			select {
			case moved <- event.GenericEvent{Object: &v1alpha1.Platform{}}:
			case <-ctx.Done():
			}
		})
		return nil
	}))
}

// watchClock tells by how much the clock on the wall moved against the steady one, until ctx ends.
func (r *Reconciler) watchClock(ctx context.Context, every time.Duration, moved func(by time.Duration)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	wall, steady := r.cfg.Now().Round(0), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, passed := r.cfg.Now().Round(0), time.Since(steady)
		if by := now.Sub(wall) - passed; by.Abs() > clockMoved {
			wall, steady = now, steady.Add(passed)
			moved(by)
		}
	}
}
