package edit

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// FuzzObjects edits any text at random places: it never breaks one, and never does what was not asked.
func FuzzObjects(f *testing.F) {
	table, err := os.ReadFile("testdata/table.txt")
	if err != nil {
		f.Fatal(err)
	}
	for i, part := range strings.Split(string(table), "\n====\n") {
		_, body, _ := strings.Cut(part, "\n")
		in, _, _ := strings.Cut(body, "\n----\n")
		f.Add([]byte("apiVersion: v1\nkind: X\n"+in+"\n"), uint64(i))
	}
	f.Add([]byte("{apiVersion: v1, kind: List, items: [{kind: a, apiVersion: v1, ? b : c, d, \"e\":f}, {apiVersion: v1, kind: b}]}"), uint64(1))
	f.Add([]byte("? apiVersion\n: v1\n? kind\n: X\na:\n- - b: c\n    d: e\n  - f\n-\n  g: h\n"), uint64(2))
	f.Add([]byte("--- \napiVersion: v1 # a\nkind: >-\n  X\ne: |+\n  f\n\n...\n{apiVersion: v1, kind: Y, a: [b: c]}\n"), uint64(3))
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		if len(text) > 4096 {
			return
		}
		if _, _, err := tryRandom(rand.New(rand.NewPCG(seed, 1)), text); err != nil {
			t.Error(err)
		}
	})
}
