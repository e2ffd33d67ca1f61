package portal

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxLimited is how many addresses or people are told apart; the others share one bucket.
const maxLimited = 10_000

// limiter lets each key do something so many times a second, and some more at once.
type limiter struct {
	each  rate.Limit
	burst int

	mu  sync.Mutex // guards what follows
	all map[string]*rate.Limiter
}

func newLimiter(each rate.Limit, burst int) *limiter {
	return &limiter{each: each, burst: burst, all: map[string]*rate.Limiter{}}
}

// allow reports whether a key may do it once more.
func (l *limiter) allow(key string) bool { return l.of(key).Allow() }

func (l *limiter) of(key string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have := l.all[key]; have != nil {
		return have
	}
	if len(l.all) >= maxLimited {
		now := time.Now()
		for k, one := range l.all {
			if one.TokensAt(now) >= float64(l.burst) { // it did nothing for a while: a new one is the same
				delete(l.all, k)
			}
		}
	}
	if len(l.all) >= maxLimited {
		key = ""
		if have := l.all[key]; have != nil {
			return have
		}
	}
	l.all[key] = rate.NewLimiter(l.each, l.burst)
	return l.all[key]
}
