package evidence_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/evidence"
	"ringfence.dev/ringfence/record"
)

// TestRests: what only nodes can show is proven by a run that was recorded before the end of the time and is not too old, and by nothing else;
// the verdict does not change with it.
func TestRests(t *testing.T) {
	run := func(minute, tried int, state string) told {
		v := record.Verification{Cluster: "here", Verified: noon.Add(time.Duration(tried) * time.Minute), Rows: []record.VerificationRow{{Probe: "egress", What: "nothing gets out", State: state, Why: "it was seen"}}}
		r, err := record.Verified(v, noon)
		if err != nil {
			t.Fatal(err)
		}
		return told{minute: minute, producer: "verification", kind: r.Kind, body: string(r.Body)}
	}
	const old = -24 * 60 * 100
	for name, test := range map[string]struct {
		all         []told
		state, says string
	}{
		"never":              {nil, "not proven here", "no run of verify-cluster is recorded"},
		"proven":             {[]told{run(5, 4, "proven")}, "proven", "it was seen"},
		"after the time":     {[]told{run(55, 54, "proven")}, "not proven here", "no run"},
		"tried after":        {[]told{run(5, 54, "proven")}, "not proven here", "after this time"},
		"long ago":           {[]told{run(5, old, "proven")}, "not proven here", "more than 90 days before"},
		"proven, then not":   {[]told{run(5, 4, "proven"), run(7, 6, "not proven here")}, "not proven here", "it was seen"},
		"proven, then broke": {[]told{run(5, 4, "proven"), run(7, 6, "broken")}, "broken", "it was seen"},
		"broke, then proven": {[]told{run(5, 4, "broken"), run(7, 6, "proven")}, "proven", "it was seen"},
		"unreadable":         {[]told{run(5, 4, "proven"), {minute: 7, producer: "verification", kind: "verification.v1", body: `{"rows":7}`}}, "not proven here", "cannot be read"},
		"a state of no name": {[]told{run(5, 4, "fine")}, "not proven here", ""},
	} {
		t.Run(name, func(t *testing.T) {
			from, keys := ledgerOf(t, append(append([]told{sound(0)}, test.all...), sound(60)))
			f := evidence.Filter{Control: "RF-WL-01", Since: noon.Add(10 * time.Minute), Until: noon.Add(50 * time.Minute),
				Rests: []evidence.Rest{{Probe: "egress", What: "nothing gets out"}}, Good: 90 * 24 * time.Hour}
			a, err := evidence.InForce(t.Context(), from, keys, f)
			if err != nil || a.Verdict != evidence.Yes || len(a.Rests) != 1 {
				t.Fatalf("%v %s %v %v, want yes and what it rests on", err, a.Verdict, a.Reasons, a.Rests)
			}
			if got := a.Rests[0]; got.State != test.state || !strings.Contains(got.Why, test.says) || got.What == "" {
				text, _ := json.Marshal(got)
				t.Errorf("%s, want %s that says %q", text, test.state, test.says)
			}
		})
	}
}
