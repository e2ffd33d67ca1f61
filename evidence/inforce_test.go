package evidence_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/evidence"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

// told is a record of a test: its minute after noon, its producer, and its kind and body, or a posture.
type told struct {
	minute         int
	producer, kind string
	body           string
	state          func(*record.PostureState)
}

// sound is a posture of one guarded namespace where all is well, but for what change does.
func sound(minute int, change ...func(*record.PostureState)) told {
	return told{minute: minute, producer: "posture", kind: "posture.v1", state: func(s *record.PostureState) {
		for _, c := range change {
			c(s)
		}
	}}
}

func mild(s *record.PostureState) { s.Actions["payments-dev"] = []finding.Action{finding.Warn} }

// silent is a silence of a producer; -1 is no end.
func silent(minute int, who, why string, since, until int) told {
	end := ""
	if until >= 0 {
		end = `,"until":"` + noon.Add(time.Duration(until)*time.Minute).Format(time.RFC3339) + `"`
	}
	return told{minute: minute, producer: "record", kind: "silence.v1", body: fmt.Sprintf(`{"producer":"%s","promisedSeconds":60,"since":"%s"%s,"why":"%s"}`, who,
		noon.Add(time.Duration(since)*time.Minute).Format(time.RFC3339), end, why)}
}

func overflow(lost int) told {
	at := noon.Add(20 * time.Minute).Format(time.RFC3339)
	return told{minute: 20, producer: "record", kind: "overflow.v1", body: fmt.Sprintf(`{"producer":"audit","lost":%d,"why":"queue-full","since":"%s","until":"%s"}`, lost, at, at)}
}

// ledgerOf is a ledger of what was told.
func ledgerOf(t *testing.T, all []told) (ledger.Source, ledger.Keyring) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ledger")
	l := opened(t, dir, key(t, "ringfence.dev/ledger/test"))
	for n, w := range all {
		at := noon.Add(time.Duration(w.minute) * time.Minute)
		r := record.Record{ID: fmt.Sprint("r", n), Kind: w.kind, Body: json.RawMessage(w.body), Time: at}
		if w.state != nil {
			s := record.PostureState{Generation: 1, Catalogue: strings.Repeat("0", 64), Controls: []string{"RF-WL-01"}, Bundles: []record.PostureBundle{{Name: "ringfence-workloads-deny", Controls: []string{"RF-WL-01"}}},
				Pinned: []string{"kube-system"}, Actions: map[string][]finding.Action{"payments-dev": {finding.Deny}}}
			w.state(&s)
			var err error
			if r, _, err = record.Posture(s, "change", at); err != nil {
				t.Fatal(err)
			}
			r.ID = fmt.Sprint("r", n)
		}
		r.Cluster, r.Producer, r.Seq = "local", w.producer, uint64(n)+1
		if strings.HasPrefix(w.producer, "other/") {
			r.Cluster, r.Producer = "other", "posture"
		}
		if _, err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	return ledger.Folder(dir), slices.Clone(l.Keyring())
}

// TestInForce: yes only where postures cover all of the time and nothing is unknown in it.
func TestInForce(t *testing.T) {
	day := 24 * 60
	for name, test := range map[string]struct {
		all          []told
		since, until int // minutes
		verdict, why string
	}{
		"well":                       {[]told{sound(0), sound(60)}, 10, 50, evidence.Yes, ""},
		"from its first posture":     {[]told{sound(0), sound(60)}, 0, 60, evidence.Yes, ""},
		"before its first posture":   {[]told{sound(0), sound(60)}, -1, 50, evidence.Unknown, "no posture is known before"},
		"after its last posture":     {[]told{sound(0), sound(60)}, 10, 61, evidence.Unknown, "nothing is known after"},
		"no posture":                 {nil, 10, 50, evidence.Unknown, "holds no posture"},
		"weaker":                     {[]told{sound(0), sound(20, mild), sound(30), sound(60)}, 10, 50, evidence.No, "Warn"},
		"weaker before":              {[]told{sound(0, mild), sound(10), sound(60)}, 10, 50, evidence.Yes, ""},
		"weaker after":               {[]told{sound(0), sound(60, mild)}, 10, 50, evidence.Yes, ""},
		"weaker a moment after":      {[]told{sound(0), sound(50, mild)}, 10, 50, evidence.Unknown, "finds it weaker"},
		"weaker all along":           {[]told{sound(0, mild), sound(60, mild)}, 10, 50, evidence.No, "Warn"},
		"weaker, then down":          {[]told{sound(0, mild), silent(30, "posture", "restart", 0, 30), sound(30), sound(60)}, 10, 50, evidence.Unknown, "was down"},
		"weaker, then down, all":     {[]told{sound(0, mild), silent(30, "posture", "restart", 0, 30), sound(30), sound(60)}, 0, 50, evidence.No, "Warn"},
		"no Platform":                {[]told{sound(0), sound(20, func(s *record.PostureState) { s.Generation = 0 }), sound(30), sound(60)}, 10, 50, evidence.Unknown, "no Platform"},
		"no Platform before":         {[]told{sound(0, func(s *record.PostureState) { s.Generation = 0 }), sound(10), sound(60)}, 10, 50, evidence.Yes, ""},
		"nobody looked":              {[]told{sound(0), silent(22, "posture", "quiet", 20, -1), silent(30, "posture", "quiet", 20, 30), sound(30), sound(60)}, 10, 50, evidence.Unknown, "posture was not heard from"},
		"nobody looked before":       {[]told{sound(0), silent(2, "posture", "quiet", 1, -1), silent(9, "posture", "quiet", 1, 9), sound(9), sound(60)}, 10, 50, evidence.Yes, ""},
		"nobody looked, then killed": {[]told{sound(0), silent(2, "posture", "quiet", 1, -1), silent(9, "posture", "restart", 0, 9), sound(9), sound(60)}, 10, 50, evidence.Yes, ""},
		"nobody looked at the end":   {[]told{sound(0), sound(40), silent(42, "posture", "quiet", 41, -1)}, 10, 50, evidence.Unknown, "no end is recorded"},
		"audit silent":               {[]told{sound(0), silent(30, "audit", "quiet", 20, 30), sound(60)}, 10, 50, evidence.Unknown, "audit was not heard"},
		"audit heard again":          {[]told{sound(0), silent(7, "audit", "quiet", 1, -1), {minute: 9, producer: "audit", kind: "change.v1", body: `{}`}, sound(60)}, 10, 50, evidence.Yes, ""},
		"records lost":               {[]told{sound(0), overflow(3), sound(60)}, 10, 50, evidence.Unknown, "3 records of audit were lost"},
		"records late":               {[]told{sound(0), overflow(0), sound(60)}, 10, 50, evidence.Yes, ""},
		"no sign of life":            {[]told{sound(0), sound(day + 1)}, 10, 50, evidence.Unknown, "no posture is known from"},
		"clock back":                 {[]told{sound(0), sound(30), sound(20), sound(60)}, 10, 50, evidence.Unknown, "the clock went back"},
		"clock ahead and back":       {[]told{sound(0), sound(90), sound(20, mild), sound(60)}, 10, 50, evidence.No, "Warn"},
		"no room":                    {[]told{sound(0, crowd), sound(60)}, 10, 50, evidence.Unknown, "had no room"},
		"unreadable":                 {[]told{sound(0), {minute: 20, producer: "posture", kind: "posture.v1", body: `{"bundles":7}`}, sound(60)}, 10, 50, evidence.Unknown, "cannot be read"},
		"hostile names":              {[]told{sound(0), {minute: 20, producer: "posture", kind: "posture.v1", body: `{"generation":1,"bundles":[{"name":"a","controls":["RF-WL-01"]}],"tables":[{"namespaces":["a{"]}]}`}, sound(60)}, 10, 50, evidence.Unknown, "cannot be read"},
		"two clusters":               {[]told{sound(0), {minute: 20, producer: "other/posture", kind: "posture.v1", state: mild}, sound(60)}, 10, 50, evidence.Unknown, "more than one cluster"},
		"refused by the webhook":     {[]told{sound(0), {minute: 20, producer: "admission", kind: "admission-decision.v1", body: `{"allowed":false,"operation":"CREATE","subject":{"kind":"Pod","namespace":"payments-dev","name":"a"},"notPassed":[{"control":"RF-WL-01","outcome":"Fail","action":"Deny"}]}`}, sound(60)}, 10, 50, evidence.Yes, ""},
		"let through by the webhook": {[]told{sound(0), {minute: 20, producer: "admission", kind: "admission-decision.v1", body: `{"allowed":true,"operation":"CREATE","subject":{"kind":"Pod","namespace":"payments-dev","name":"a"},"notPassed":[{"control":"RF-WL-01","outcome":"Fail","action":"Warn"}]}`}, sound(60)}, 10, 50, evidence.No, "let through"},
		"waived":                     {[]told{sound(0), {minute: 20, producer: "audit", kind: "native-refusal.v1", body: `{"refused":false,"operation":"CREATE","subject":{"kind":"Pod","namespace":"payments-dev","name":"a"},"notPassed":[{"control":"RF-WL-01","outcome":"Fail","action":"Deny","waiver":"legacy"}]}`}, sound(60)}, 10, 50, evidence.Yes, ""},
		"a policy changed":           {[]told{sound(0), sound(20, func(s *record.PostureState) { s.Bundles[0].What = "changed" }), sound(30), sound(60)}, 10, 50, evidence.No, "policy ringfence-workloads-deny changed"},
	} {
		t.Run(name, func(t *testing.T) {
			from, keys := ledgerOf(t, test.all)
			f := evidence.Filter{Control: "RF-WL-01", Since: noon.Add(time.Duration(test.since) * time.Minute), Until: noon.Add(time.Duration(test.until) * time.Minute)}
			a, err := evidence.InForce(t.Context(), from, keys, f)
			if err != nil {
				t.Fatal(err)
			}
			said := append([]string{}, a.Reasons...)
			for _, w := range a.Weaker {
				said = append(said, w.What)
				if w.Since.Before(f.Since) || w.Until.After(f.Until) || w.Until.Before(w.Since) {
					t.Errorf("it was weaker from %v to %v, which is not within the time", w.Since, w.Until)
				}
			}
			if a.Verdict != test.verdict || test.why != "" && !strings.Contains(strings.Join(said, "\n"), test.why) {
				t.Errorf("%s: %q, want %s: %q", a.Verdict, said, test.verdict, test.why)
			}
		})
	}
}

// crowd makes more namespaces than an entry has room for.
func crowd(s *record.PostureState) {
	for i := range 3000 {
		s.Actions[fmt.Sprintf("%s%04d", strings.Repeat("x", 59), i)] = []finding.Action{finding.Deny}
	}
}
