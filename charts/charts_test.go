package charts

import (
	"flag"
	"io/fs"
	"os"
	"testing"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/install/setup"
)

var update = flag.Bool("update", false, "write files/rights.yaml anew")

// TestRights: the rights in the chart are those that the packages need; a control about a new kind changes them.
func TestRights(t *testing.T) {
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	want, err := setup.RightsYAML(cat)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("ringfence/files/rights.yaml", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := fs.ReadFile(Ringfence(), "files/rights.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("files/rights.yaml is not what setup.Rights says; what to do: go test ./charts -update, and read the difference")
	}
}
