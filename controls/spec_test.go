package controls_test

import (
	"os"
	"strings"
	"testing"

	"ringfence.dev/ringfence/control"
)

// TestSpec keeps docs/spec/catalogue.md in step with the loader: it names every match group and
// every variable that a rule may use.
func TestSpec(t *testing.T) {
	text, err := os.ReadFile("../docs/spec/catalogue.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range control.Groups() {
		words := []string{g.Name}
		for _, v := range g.Variables {
			words = append(words, v.Name)
		}
		for _, word := range words {
			if !strings.Contains(string(text), "`"+word+"`") {
				t.Errorf("docs/spec/catalogue.md does not say what `%s` is (group %s)", word, g.Name)
			}
		}
	}
}
