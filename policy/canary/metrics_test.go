package canary_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringfence.dev/ringfence/policy/canary"
)

// TestMetrics: a run in which no object that must be refused got an answer tries nothing, and the time of the last one that did goes on to age.
func TestMetrics(t *testing.T) {
	var m canary.Metrics
	registry := prometheus.NewRegistry()
	registry.MustRegister(&m)
	at := func() int64 {
		t.Helper()
		all, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range all {
			if family.GetName() == "ringfence_canary_last_run_timestamp_seconds" {
				return int64(family.GetMetric()[0].GetGauge().GetValue())
			}
		}
		t.Fatal("the time of the last run is not told")
		return 0
	}
	if got := at(); got != 0 {
		t.Errorf("before the first run: %d", got)
	}
	for i, test := range []struct {
		tried []canary.Tried
		want  int64
	}{
		{[]canary.Tried{{Namespace: "dev", Control: "RF-WL-02", Outcome: canary.Held}}, 1},
		{[]canary.Tried{{Namespace: "dev", Control: "RF-WL-02", Outcome: canary.NotAsked}, {Namespace: "dev", Outcome: canary.Held}}, 1},
		{[]canary.Tried{{Namespace: "dev", Control: "RF-WL-02", Outcome: canary.NotAsked}, {Namespace: "prod", Control: "RF-WL-02", Outcome: canary.LetIn}}, 3},
		{[]canary.Tried{{Namespace: "dev", Outcome: canary.Held}}, 4}, // nothing denies
	} {
		if m.Set(canary.Run{At: time.Unix(int64(i+1), 0), Tried: test.tried}); at() != test.want {
			t.Errorf("after run %d: %d; want %d", i+1, at(), test.want)
		}
	}
}
