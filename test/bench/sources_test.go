package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkSources is the wall time of whole `ringfence check` processes over what people work in: a repository of five
// files, and a chart of 100 templates. Each stands beside `ringfence version`, which is what any process costs here.
func BenchmarkSources(b *testing.B) {
	bin := binary(b)
	repository, chart := b.TempDir(), b.TempDir()
	for i, doc := range workloads(5) {
		write(b, filepath.Join(repository, fmt.Sprintf("%d.yaml", i)), doc)
	}
	if err := os.Mkdir(filepath.Join(chart, "templates"), 0o700); err != nil {
		b.Fatal(err)
	}
	write(b, filepath.Join(chart, "Chart.yaml"), []byte("apiVersion: v2\nname: api\nversion: 1.0.0\n"))
	write(b, filepath.Join(chart, "values.yaml"), []byte("replicas: 3\n"))
	for i, doc := range workloads(100) {
		text := strings.Replace(string(doc), "replicas: 3", "replicas: {{ .Values.replicas }}", 1)
		write(b, filepath.Join(chart, "templates", fmt.Sprintf("%03d.yaml", i)), []byte(text))
	}
	for _, source := range []struct{ name, path string }{{"five-files", repository}, {"chart-of-100", chart}} {
		b.Run(source.name, func(b *testing.B) {
			var check, version []time.Duration
			for b.Loop() {
				start := time.Now()
				process(b, bin, "check", source.path)
				check = append(check, time.Since(start))
				start = time.Now()
				process(b, bin, "version")
				version = append(version, time.Since(start))
			}
			own, base := median(check), median(version)
			b.ReportMetric(float64(own.Microseconds())/1000, "check-ms")
			b.ReportMetric(float64(base.Microseconds())/1000, "version-ms")
			b.ReportMetric(own.Seconds()/base.Seconds(), "x-version")
			b.ReportMetric(0, "ns/op")
		})
	}
}
