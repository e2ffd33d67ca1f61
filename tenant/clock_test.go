package tenant

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestWatchClock: a clock that is set a day ahead and back is told of each time, and one that only runs is not.
func TestWatchClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead time.Duration
		r := &Reconciler{cfg: Config{Now: func() time.Time { return time.Now().Add(ahead) }}}
		var told []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		go r.watchClock(ctx, clockEvery, func(by time.Duration) { told = append(told, by) })
		for _, step := range []struct{ ahead, want time.Duration }{{0, 0}, {24 * time.Hour, 24 * time.Hour}, {24*time.Hour + time.Second, 0}, {0, -24 * time.Hour}} {
			time.Sleep(time.Hour)
			synctest.Wait()
			told, ahead = nil, step.ahead
			time.Sleep(2 * clockEvery)
			synctest.Wait()
			switch {
			case step.want == 0 && len(told) > 0:
				t.Errorf("%v ahead: told of %v; want nothing", step.ahead, told)
			case step.want != 0 && (len(told) != 1 || told[0].Round(time.Minute) != step.want):
				t.Errorf("%v ahead: told of %v; want %v once", step.ahead, told, step.want)
			}
		}
		cancel()
	})
}
