package probe

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReach: what answers is told from what does not, and the pod's last word says both.
func TestReach(t *testing.T) {
	ready, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ready.Addr().String()
	ready.Close()
	answers, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer answers.Close()
	file := filepath.Join(t.TempDir(), "word")
	if err := Reach(t.Context(), []string{answers.Addr().String(), closed}, file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	var out said
	if err != nil || json.Unmarshal(text, &out) != nil || !out.Reached[answers.Addr().String()] || out.Reached[closed] || len(out.Reached) != 2 {
		t.Errorf("%s %v, want that one of two was reached", text, err)
	}
}

// TestClosed: a row is proven only where each of its targets was tried and none was reached; nothing else passes for it.
func TestClosed(t *testing.T) {
	for _, tc := range []struct {
		targets []string
		reached map[string]bool
		want    State
		says    string
	}{
		{[]string{"a:1", "b:1"}, map[string]bool{"a:1": false, "b:1": false, "c:1": true}, Proven, "no connection"},
		{[]string{"a:1", "b:1"}, map[string]bool{"a:1": false, "b:1": true}, Broken, "reached b:1"},
		{[]string{"a:1", "b:1"}, map[string]bool{"a:1": false}, NotProven, "says nothing of b:1"},
		{[]string{"a:1", "b:1"}, map[string]bool{"a:1": true}, Broken, "reached a:1"},
		{nil, map[string]bool{"a:1": false}, NotProven, "--outside"},
	} {
		r := &run{report: &Report{Rows: rows()}}
		r.closed("egress", tc.targets, tc.reached)
		for _, row := range r.report.Rows {
			if row.Probe == "egress" && (row.State != tc.want || !strings.Contains(row.Why, tc.says)) {
				t.Errorf("%v of %v: %s, %s; want %s that says %q", tc.reached, tc.targets, row.State, row.Why, tc.want, tc.says)
			}
			if row.Probe != "egress" && row.State != NotProven {
				t.Errorf("%s: %s, want it as it was", row.Probe, row.State)
			}
		}
	}
}
