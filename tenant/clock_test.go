package tenant

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestWatchClock: a clock that is set a day ahead and back is told of each time, and one that only runs is not.
func TestWatchClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards the two
		var ahead time.Duration
		var told []time.Duration
		r := &Reconciler{cfg: Config{Now: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(ahead)
		}}}
		ctx, cancel := context.WithCancel(t.Context())
		go r.watchClock(ctx, clockEvery, func(by time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, by)
		})
		for _, step := range []struct{ ahead, want time.Duration }{{0, 0}, {24 * time.Hour, 24 * time.Hour}, {24*time.Hour + time.Second, 0}, {0, -24 * time.Hour}} {
			time.Sleep(time.Hour)
			synctest.Wait()
			mu.Lock()
			told, ahead = nil, step.ahead
			mu.Unlock()
			time.Sleep(2 * clockEvery)
			synctest.Wait()
			mu.Lock()
			switch {
			case step.want == 0 && len(told) > 0:
				t.Errorf("%v ahead: told of %v; want nothing", step.ahead, told)
			case step.want != 0 && (len(told) != 1 || told[0].Round(time.Minute) != step.want):
				t.Errorf("%v ahead: told of %v; want %v once", step.ahead, told, step.want)
			}
			mu.Unlock()
		}
		cancel()
	})
}

// TestPatience: a namespace that ends at once is let go at once, and one that never ends is not asked about every second.
func TestPatience(t *testing.T) {
	for ending, want := range map[time.Duration]time.Duration{-time.Hour: time.Second, 0: time.Second, 9 * time.Second: time.Second, 5 * time.Minute: 30 * time.Second, 240 * time.Hour: time.Minute} {
		if got := patience(ending); got != want {
			t.Errorf("patience(%s) = %s, want %s", ending, got, want)
		}
	}
}
