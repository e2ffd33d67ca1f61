package evidence_test

import (
	"bufio"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"ringfence.dev/ringfence/evidence"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

// BenchmarkBundle exports and verifies a ledger of 200,000 refusals, or of EVIDENCE_ENTRIES, beside two baselines of the same run:
// the ledger's own verification, and SHA-256 over the bytes of the entries. The peaks are of the process's memory in each phase.
func BenchmarkBundle(b *testing.B) {
	n, _ := strconv.Atoi(os.Getenv("EVIDENCE_ENTRIES"))
	if n == 0 {
		n = 200_000
	}
	dir := b.TempDir()
	k := key(b, "ringfence.dev/ledger/test")
	l := opened(b, filepath.Join(dir, "ledger"), k)
	for from := 0; from < n; from += 4000 {
		var batch []record.Record
		for i := from; i < min(n, from+4000); i++ {
			batch = append(batch, refusal(i, "payments-dev"))
		}
		if _, err := l.Append(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	from, keys, path := ledger.Folder(filepath.Join(dir, "ledger")), ledger.Keyring{k.Public}, filepath.Join(dir, "bundle.zip")
	phase := func(name string, run func() error) {
		debug.FreeOSMemory()
		_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the peak begins anew
		began := time.Now()
		if err := run(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(n)/time.Since(began).Seconds(), name+"-entries/s")
		b.ReportMetric(peak(), name+"-peak-MiB")
	}
	for b.Loop() {
		var bytes int64
		phase("sha256", func() error {
			sum := sha256.New()
			for at := uint64(0); at < uint64(n); {
				entries, err := ledger.Read(b.Context(), from, uint64(n), at, 256)
				if err != nil {
					return err
				}
				for _, e := range entries {
					sum.Write(e.Statement)
					bytes += int64(len(e.Statement))
				}
				at += uint64(len(entries))
			}
			return nil
		})
		phase("ledger-verify", func() error {
			_, err := ledger.Verify(b.Context(), from, keys, nil)
			return err
		})
		phase("export", func() error {
			file, err := os.Create(path)
			if err != nil {
				return err
			}
			defer file.Close()
			w := bufio.NewWriter(file)
			if _, err := evidence.Export(b.Context(), w, evidence.Options{From: from, Trusted: keys, Dir: dir}); err != nil {
				return err
			}
			return w.Flush()
		})
		var size int64
		phase("verify", func() error {
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close()
			if size, err = file.Seek(0, io.SeekEnd); err != nil {
				return err
			}
			_, err = evidence.VerifyBundle(b.Context(), file, size, evidence.VerifyOptions{Trusted: keys})
			return err
		})
		b.ReportMetric(float64(bytes)/float64(n), "bytes/entry")
		b.ReportMetric(float64(size)/float64(n), "bundle-bytes/entry")
	}
	b.ReportMetric(0, "ns/op")
}

// peak is the most memory that this process had since the peak began, in MiB; 0 where the system does not say.
func peak() float64 {
	text, _ := os.ReadFile("/proc/self/status")
	if m := regexp.MustCompile(`VmHWM:\s+([0-9]+) kB`).FindSubmatch(text); m != nil {
		kb, _ := strconv.ParseFloat(string(m[1]), 64)
		return kb / 1024
	}
	return 0
}
