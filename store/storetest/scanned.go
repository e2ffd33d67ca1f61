package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store"
)

// Scan is a scan-finding.v1 record.
func Scan(t testing.TB, seq uint64, at time.Time, changes ...record.ScanChange) record.Record {
	t.Helper()
	r, _, err := record.ScanFindings(changes, Digest(1)[len("sha256:"):], at)
	if err != nil {
		t.Fatal(err)
	}
	r.Cluster, r.Producer, r.Seq = "local", "scan", seq
	return r
}

// testScanned takes a finding through its life: it opens, is waived, opens at the waiver's end, closes, and comes back.
func testScanned(t *testing.T, open func(*testing.T) Store) {
	at := func(hour int) time.Time { return time.Date(2026, 5, 1, hour, 0, 0, 0, time.UTC) }
	change := func(what, name, why string) record.ScanChange {
		return record.ScanChange{What: what, Subject: finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "ns", Name: name}, Control: "RF-A", Outcome: finding.Fail,
			Action: finding.Deny, Path: "/spec", Value: what, Why: why}
	}
	s := open(t)
	t.Cleanup(func() { s.Close() })
	var all []record.Record
	told := func(f store.ScannedFilter) (out []string) {
		t.Helper()
		got, _, err := s.Scanned(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range got {
			out = append(out, fmt.Sprintf("%s %d-%d %s %s", g.Subject.Name, g.Since.Hour(), g.Until.Hour(), g.Why, g.Value))
		}
		return out
	}
	for i, step := range []struct {
		changes              []record.ScanChange
		open, waived, closed []string
	}{
		{[]record.ScanChange{change("opened", "a", ""), change("opened", "b", "")}, []string{"a 1-0  opened", "b 1-0  opened"}, nil, nil},
		{[]record.ScanChange{change("waived", "a", ""), change("stays", "b", "")}, []string{"b 1-0  stays"}, []string{"a 2-0  waived"}, []string{"a 1-2 waived opened"}},
		{[]record.ScanChange{change("opened", "a", ""), change("closed", "b", "deleted")}, []string{"a 3-0  opened"}, nil, []string{"a 1-2 waived opened", "a 2-3 opened waived", "b 1-3 deleted stays"}},
		{[]record.ScanChange{change("closed", "a", "fixed"), change("closed", "nobody", "fixed")}, nil, nil,
			[]string{"a 1-2 waived opened", "a 2-3 opened waived", "b 1-3 deleted stays", "a 3-4 fixed opened"}},
		{[]record.ScanChange{change("opened", "a", ""), change("opened", "a", "")}, []string{"a 5-0  opened"}, nil,
			[]string{"a 1-2 waived opened", "a 2-3 opened waived", "b 1-3 deleted stays", "a 3-4 fixed opened", "a 5-5 opened opened"}},
	} {
		all = append(all, Scan(t, uint64(i+1), at(i+1), step.changes...))
		Fill(t, s, all, 1)
		for state, want := range map[store.ScanState][]string{store.ScanOpen: step.open, store.ScanWaived: step.waived, store.ScanClosed: step.closed} {
			got := told(store.ScannedFilter{State: state, Namespaces: []string{"ns"}})
			slices.Sort(got)
			if slices.Sort(want); !slices.Equal(got, want) {
				t.Errorf("after step %d, state %d: %q; want %q", i+1, state, got, want)
			}
		}
	}
	if got := told(store.ScannedFilter{Range: store.Range{From: at(4)}, Controls: []string{"RF-A"}}); !slices.Equal(got, []string{"a 3-4 fixed opened", "a 5-5 opened opened"}) {
		t.Errorf("closed from 4 on: %q", got)
	}
	if got, next, err := s.Scanned(t.Context(), store.ScannedFilter{Page: store.Page{Limit: 1, Newest: true}}); err != nil || len(got) != 1 || next == "" || got[0].Since.Hour() != 5 {
		t.Errorf("the newest that closed: %v, next %q, %v", got, next, err)
	}
	if got := told(store.ScannedFilter{State: store.ScanOpen, Controls: []string{"RF-B"}}); got != nil {
		t.Errorf("of another control: %q", got)
	}
}
