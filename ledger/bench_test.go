package ledger_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

// BenchmarkAppend sends records one by one from 64 goroutines, each acknowledged on the disk below a checkpoint, in turn with
// two baselines: records with an empty body, and fsync of a file to which the same bytes are added, batched the same way.
func BenchmarkAppend(b *testing.B) {
	body := json.RawMessage(`{"text":"` + strings.Repeat("x", 900) + `"}`)
	for name, body := range map[string]json.RawMessage{"records": body, "empty": json.RawMessage(`{}`)} {
		b.Run(name, func(b *testing.B) {
			l := open(b, b.TempDir(), newKey(b))
			together(b, func(i int) {
				r := sample(fmt.Sprint("b", i))
				r.Body = body
				if _, err := l.Append(b.Context(), r); err != nil {
					b.Error(err)
				}
			})
		})
	}
	b.Run("fsync", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "file"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		data := make([]byte, 64*1500)
		for b.Loop() { // 64 records at once
			if _, err := f.Write(data); err != nil || f.Sync() != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(64*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
}

// together calls f b.N times from 64 goroutines and reports rate and latency.
func together(b *testing.B, f func(i int)) {
	var mu sync.Mutex
	var times []time.Duration
	var group sync.WaitGroup
	b.ResetTimer()
	for g := range 64 {
		group.Go(func() {
			for i := g; i < b.N; i += 64 {
				start := time.Now()
				f(i)
				mu.Lock()
				times = append(times, time.Since(start))
				mu.Unlock()
			}
		})
	}
	group.Wait()
	b.StopTimer()
	slices.Sort(times)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "ms-p99")
}

// BenchmarkVerify verifies a whole log of 20,000 entries and tells entries a second.
func BenchmarkVerify(b *testing.B) {
	dir, key := b.TempDir(), newKey(b)
	l := open(b, dir, key)
	var records []record.Record
	for i := range 20_000 {
		if records = append(records, sample(fmt.Sprint("v", i))); len(records) == 2000 {
			if _, err := l.Append(b.Context(), records...); err != nil {
				b.Fatal(err)
			}
			records = records[:0]
		}
	}
	for b.Loop() {
		if _, err := ledger.Verify(b.Context(), ledger.Folder(dir), ledger.Keyring{key.Public}, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(20_000*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
