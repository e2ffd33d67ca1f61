package cel_test

import (
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/policy/cel"
	"testing"
)

func BenchmarkCompile(b *testing.B) {
	c := fullCatalogue(b)
	for b.Loop() {
		if _, err := cel.Compile(c); err != nil {
			b.Fatal(err)
		}
	}
}
func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := control.Load(controls.FS); err != nil {
			b.Fatal(err)
		}
	}
}
