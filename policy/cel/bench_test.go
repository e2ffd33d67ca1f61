package cel_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
)

// workloadControls is how many controls of the finished catalogue judge workloads.
const workloadControls = 32

// fullCatalogue is the catalogue with its workload controls repeated under new ids until there are as many as there will be.
func fullCatalogue(tb testing.TB) *control.Catalogue {
	cat, err := control.Load(controls.FS)
	if err != nil {
		tb.Fatal(err)
	}
	var own []control.Control
	for _, c := range cat.Controls {
		if slices.Contains(c.Groups, "workloads") {
			own = append(own, c)
		}
	}
	for i := len(own); i < workloadControls; i++ {
		c := own[i%len(own)]
		c.ID = fmt.Sprintf("RF-ZZ-%02d", i)
		cat.Controls = append(cat.Controls, c)
	}
	return cat
}

func readPod(tb testing.TB, name string) *manifest.Object {
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	for o, err := range manifest.Read(bytes.NewReader(text), name) {
		if err != nil {
			tb.Fatal(err)
		}
		return o
	}
	return nil
}

// block is how many objects each side judges before the other has its turn.
const block = 25

// BenchmarkPod judges one Pod with the whole catalogue, findings and all, in turn with the API server's own validator
// over the Deny bundle of the same controls, without the match condition that ends what passes everything: the server
// then says what the Engine says, control by control.
func BenchmarkPod(b *testing.B) {
	cat := fullCatalogue(b)
	sets, err := cel.Compile(cat)
	if err != nil {
		b.Fatal(err)
	}
	engine := policy.New(sets...)
	guard, err := policy.NewGuard(casefile.Guard())
	if err != nil {
		b.Fatal(err)
	}
	server := natives(b, cat)["workloads"]
	for _, name := range []string{"good-pod", "bad-pod"} {
		o := readPod(b, name+".yaml")
		in := policy.Input{Object: o.Value, Namespace: "payments-dev", Guard: guard, Operation: "CREATE"}
		judge := func() []finding.Finding { return engine.Judge(in, o.Subject()) }
		b.Run(name+"/engine", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				judge()
			}
		})
		b.Run(name+"/with-server", func(b *testing.B) {
			var ours, theirs []time.Duration
			for b.Loop() {
				for range block {
					ours = append(ours, timed(func() { judge() }))
				}
				for range block {
					theirs = append(theirs, timed(func() { server.judge(in) }))
				}
			}
			b.ReportMetric(quantile(ours, 0.5), "p50-µs")
			b.ReportMetric(quantile(ours, 0.99), "p99-µs")
			b.ReportMetric(quantile(theirs, 0.5), "server-p50-µs")
			b.ReportMetric(quantile(theirs, 0.5)/quantile(ours, 0.5), "x-server")
			b.ReportMetric(float64(len(judge())), "findings")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkCompile compiles the whole catalogue, every group.
func BenchmarkCompile(b *testing.B) {
	cat := fullCatalogue(b)
	for b.Loop() {
		if _, err := cel.Compile(cat); err != nil {
			b.Fatal(err)
		}
	}
}

func timed(do func()) time.Duration {
	start := time.Now()
	do()
	return time.Since(start)
}

// quantile is in microseconds.
func quantile(of []time.Duration, q float64) float64 {
	of = slices.Sorted(slices.Values(of))
	return float64(of[int(float64(len(of)-1)*q)].Nanoseconds()) / 1000
}
