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

var update = flag.Bool("update", false, "write files/*.yaml anew")

// TestRights: the rights in the chart are those that the packages need; a control about a new kind changes them.
func TestRights(t *testing.T) {
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]func(*control.Catalogue) ([]byte, error){"files/rights.yaml": setup.RightsYAML, "files/observe.yaml": setup.ObserverYAML} {
		want, err := text(cat)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile("ringfence/"+file, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := fs.ReadFile(Ringfence(), file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s is not what setup says; what to do: go test ./charts -update, and read the difference", file)
		}
	}
}
