package probe

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
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
		r := &run{report: &Report{Rows: Rows()}}
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

// TestEgress: what answers nobody proves nothing. What the pod reached is broken, whoever else does.
func TestEgress(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := gone.Addr().String()
	gone.Close()
	there, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	answers := there.Addr().String()
	for _, tc := range []struct {
		outside []string
		reached map[string]bool
		want    State
		says    string
	}{
		{[]string{answers}, map[string]bool{answers: false}, Proven, "no connection"},
		{[]string{answers, silent}, map[string]bool{answers: false, silent: false}, NotProven, silent + " answers this machine neither"},
		{[]string{answers, silent}, map[string]bool{answers: true, silent: false}, Broken, "reached " + answers},
		{[]string{silent}, map[string]bool{silent: true}, Broken, "reached " + silent},
	} {
		r := &run{Config: Config{Outside: tc.outside}, report: &Report{Rows: Rows()}}
		r.egress(t.Context(), tc.reached)
		for _, row := range r.report.Rows {
			if row.Probe == "egress" && (row.State != tc.want || !strings.Contains(row.Why, tc.says)) {
				t.Errorf("%v of %v: %s, %s; want %s that says %q", tc.reached, tc.outside, row.State, row.Why, tc.want, tc.says)
			}
		}
	}
}

// TestKept: a report counts on the cluster that it is of, for as long as it is good, and nothing that nobody knows passes.
func TestKept(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	of := func(cluster string, at time.Time, state State) string {
		text, err := json.Marshal(Report{SchemaVersion: Schema, Cluster: cluster, Verified: at, Rows: []Row{{Probe: "egress", State: state, Why: "as it was"}}})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, tc := range map[string]struct {
		text string
		want State
		says string
	}{
		"fresh":              {of("here", now.Add(-time.Hour), Proven), Proven, "as it was"},
		"its last day":       {of("here", now.Add(-GoodFor), Proven), Proven, "as it was"},
		"too old":            {of("here", now.Add(-GoodFor-time.Second), Proven), NotProven, "more than 90 days ago"},
		"of a time to come":  {of("here", now.Add(48*time.Hour), Proven), NotProven, "has not come yet"},
		"of another cluster": {of("there", now, Proven), NotProven, "not tried"},
		"broken":             {of("here", now.Add(-time.Hour), Broken), Broken, "as it was"},
		"broken long ago":    {of("here", now.Add(-2*GoodFor), Broken), Broken, "as it was"},
		"a state of no name": {of("here", now, "fine"), NotProven, "as it was"},
		"without a time":     {of("here", time.Time{}, Proven), NotProven, "not tried"},
		"no report":          {"", NotProven, "not tried"},
	} {
		in := corev1.ConfigMap{}
		if tc.text != "" {
			in.Data = map[string]string{reportKey: tc.text}
		}
		r, err := Kept("here", in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, row := range r.At(now).Rows {
			if row.Probe == "egress" && (row.State != tc.want || !strings.Contains(row.Why, tc.says)) {
				t.Errorf("%s: %s, %s; want %s that says %q", name, row.State, row.Why, tc.want, tc.says)
			}
			if row.Probe != "egress" && row.State != NotProven {
				t.Errorf("%s: %s is %s, want not proven", name, row.Probe, row.State)
			}
		}
	}
	if _, err := Kept("here", corev1.ConfigMap{Data: map[string]string{reportKey: `{"schemaVersion":"of tomorrow"}`}}); err == nil {
		t.Error("a report of another form was read")
	}
}
