package cel_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

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
		for _, g := range c.Groups {
			if g == "workloads" {
				own = append(own, c)
			}
		}
	}
	for i := len(own); i < workloadControls; i++ {
		c := own[i%len(own)]
		c.ID = fmt.Sprintf("RF-ZZ-%02d", i)
		cat.Controls = append(cat.Controls, c)
	}
	return cat
}

func pod(tb testing.TB, name string) *manifest.Object {
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	for o, err := range manifest.Read(strings.NewReader(string(text)), name) {
		if err != nil {
			tb.Fatal(err)
		}
		return o
	}
	return nil
}

func BenchmarkPod(b *testing.B) {
	sets, err := cel.Compile(fullCatalogue(b))
	if err != nil {
		b.Fatal(err)
	}
	e := policy.New(sets...)
	g, err := policy.NewGuard(casefile.Guard())
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"good-pod", "bad-pod"} {
		b.Run(name, func(b *testing.B) {
			o := pod(b, name+".yaml")
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				n = 0
				for _, f := range e.Judge(policy.Input{Object: o.Value, Namespace: "payments-dev", Guard: g}, o.Subject()) {
					if f.Outcome == finding.Fail {
						n++
					}
					if f.Outcome == finding.Errored {
						b.Fatal(*f.Reason)
					}
				}
			}
			b.ReportMetric(float64(n), "fails")
		})
	}
}
