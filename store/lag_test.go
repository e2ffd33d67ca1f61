package store_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store/storetest"
)

// BenchmarkLag appends 1,000 records a second to a ledger, a hundred at a time, for 10 s, and prints how long after Append returned the
// store answered with them.
func BenchmarkLag(b *testing.B) {
	l, _ := keep(b, storetest.Origin)
	s := open(b, filepath.Join(b.TempDir(), "store.db"))
	stop := follow(s, l)
	const rounds, each = 100, 100
	appended := make(chan time.Time, rounds)
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for round := range rounds {
			var records []record.Record
			for _, e := range bank(round*each, each) {
				records = append(records, e.Record)
			}
			if _, err := l.Append(b.Context(), records...); err != nil {
				b.Error(err)
			}
			appended <- time.Now()
			<-tick.C
		}
	}()
	start := time.Now()
	var lags []time.Duration
	for round := range rounds {
		at := <-appended
		until(b, s, uint64((round+1)*each))
		lags = append(lags, time.Since(at))
	}
	took := time.Since(start)
	if err := stop(); err != nil {
		b.Fatal(err)
	}
	slices.Sort(lags)
	fmt.Printf("%d records in %.1f s; from recorded to queryable: median %v, slowest %v\n", rounds*each, took.Seconds(),
		lags[rounds/2].Round(time.Millisecond), lags[rounds-1].Round(time.Millisecond))
	for b.Loop() { // what is measured is printed
	}
}
