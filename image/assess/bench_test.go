package assess

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkAssess judges a folder of 10,000 reports with 100 findings each from cold, and then the one that comes: the first beside reading each
// report once, the second beside listing the folder.
func BenchmarkAssess(b *testing.B) {
	const reports = 10_000
	var first, read, next, list time.Duration
	for b.Loop() {
		bed := newBed(b)
		for n := range reports {
			bed.report(fmt.Sprintf("ci/%d.report", n), slices.Repeat([]string{"CVE-2026-1"}, 100), n+1)
		}
		timed := func(what func() error) time.Duration {
			began := time.Now()
			if err := what(); err != nil {
				b.Fatal(err)
			}
			return time.Since(began)
		}
		look := func() error { return bed.look(b.Context()) }
		first += timed(look)
		read += timed(func() error {
			for path := range bed.reports {
				if _, err := bed.read(b.Context(), path); err != nil {
					return err
				}
			}
			return nil
		})
		list += timed(look)
		bed.report("ci/new.report", []string{"CVE-2026-1"}, reports+1)
		next += timed(look)
		if len(bed.kept) != reports+1 {
			b.Fatalf("%d digests are kept", len(bed.kept))
		}
	}
	b.ReportMetric(first.Seconds()/float64(b.N), "s-from-cold")
	b.ReportMetric(float64(first)/float64(read), "x-reading")
	b.ReportMetric(float64(next.Milliseconds())/float64(b.N), "ms-a-report")
	b.ReportMetric(float64(next)/float64(list), "x-listing")
	b.ReportMetric(0, "ns/op")
}
