package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store"
)

// Run holds an implementation to what a store must do. open opens an empty one.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for name, test := range map[string]func(*testing.T, func(*testing.T) Store){
		"findings": testFindings, "batches": testBatches, "once": testOnce, "gaps": testGaps,
		"people": testPeople, "retain": testRetain, "scanned": testScanned, "hostile": testHostile, "bounds": testBounds,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

// Fill appends records, some at a time.
func Fill(t testing.TB, s Store, records []record.Record, batch int) {
	t.Helper()
	for some := range slices.Chunk(Entries(records...), batch) {
		if err := s.Append(t.Context(), Origin, some); err != nil {
			t.Fatal(err)
		}
	}
}

func filled(t *testing.T, open func(*testing.T) Store, records ...record.Record) Store {
	t.Helper()
	s := open(t)
	t.Cleanup(func() { s.Close() })
	Fill(t, s, records, 100)
	return s
}

// testFindings compares with a reading of all records.
func testFindings(t *testing.T, open func(*testing.T) Store) {
	records := Generate(1, 600)
	s := filled(t, open, records...)
	got := Answers(t, s, records)
	mid := Start().Add(300 * 7 * time.Minute)
	for i, r := range []store.Range{{}, {From: mid}, {Until: mid}, {From: mid.Add(-24 * time.Hour), Until: mid}} {
		for j, f := range filters() {
			f.Range = r
			want := plain(records, f)
			for _, newest := range []bool{false, true} {
				name := fmt.Sprintf("findings %d%d newest=%v", j, i, newest)
				var have []store.Finding
				if err := json.Unmarshal([]byte(got[name]), &have); err != nil {
					t.Fatal(err)
				}
				lines := []string{}
				for _, h := range have {
					lines = append(lines, line(h.Time, h.Index, h.N, h.Control, h.Action, h.Value, h.Path, h.Waiver, h.Subject.Namespace, h.Actor.Ref, h.Refused))
				}
				if newest {
					slices.Reverse(lines)
				}
				if !slices.Equal(lines, want) {
					t.Errorf("%s: found %d; want %d\n%.300q\n%.300q", name, len(lines), len(want), lines, want)
				}
				if i == 0 && j == 0 && len(want) < 300 {
					t.Errorf("there are %d findings; want many", len(want))
				}
			}
		}
	}
}

func line(at time.Time, index uint64, n int, parts ...any) string {
	return fmt.Sprintf("%020d %06d %03d %q", at.UnixMicro(), index, n, parts)
}

// plain is Findings without any index.
func plain(records []record.Record, f store.FindingFilter) []string {
	out, seen := []string{}, map[string]bool{}
	has := func(all []string, one string) bool { return len(all) == 0 || slices.Contains(all, one) }
	for i, r := range records {
		var b struct {
			Subject   finding.Subject
			Actor     struct{ Ref string }
			Refused   any
			Allowed   *bool
			ExitCode  int
			NotPassed []Fail
		}
		twice := seen[r.ID]
		seen[r.ID] = true
		if twice || json.Unmarshal(r.Body, &b) != nil || r.Kind == "change.v1" || r.Kind == "silence.v1" || r.Kind == "scan-finding.v1" {
			continue
		}
		refused := b.Refused == true || b.Allowed != nil && !*b.Allowed || r.Kind == "check-run.v1" && b.ExitCode == 1
		if refused && len(b.NotPassed) == 0 {
			b.NotPassed = []Fail{{Action: "Deny"}}
		}
		for n, g := range b.NotPassed {
			if has(f.Namespaces, b.Subject.Namespace) && has(f.Controls, g.Control) &&
				(f.Which == store.All || refused == (f.Which == store.Refused)) &&
				!r.Time.Before(f.From) && (f.Until.IsZero() || r.Time.Before(f.Until)) {
				out = append(out, line(r.Time, uint64(i), n, g.Control, g.Action, g.Value, g.Path, g.Waiver, b.Subject.Namespace, b.Actor.Ref, refused))
			}
		}
	}
	slices.Sort(out)
	return out
}

// testBatches fills in other steps and gets the same answers.
func testBatches(t *testing.T, open func(*testing.T) Store) {
	records := Generate(2, 400)
	one, many := open(t), open(t)
	defer one.Close()
	defer many.Close()
	Fill(t, one, records, len(records))
	Fill(t, many, records, 7)
	Same(t, Answers(t, one, records), Answers(t, many, records))
}

// Same fails where answers differ, and says which.
func Same(t testing.TB, a, b map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if a[name] != b[name] {
			t.Errorf("%s differs:\n%.600s\n%.600s", name, a[name], b[name])
		}
	}
	if len(a) != len(b) || len(a) < 100 {
		t.Errorf("there are %d and %d answers; want the same, and at least 100", len(a), len(b))
	}
}

// testOnce appends what is there already, what is of another ledger, and what leaves entries out.
func testOnce(t *testing.T, open func(*testing.T) Store) {
	records := Generate(3, 60)
	records = append(records, records[0])
	s := filled(t, open, records...)
	before := Answers(t, s, records)
	entries := Entries(records...)
	if err := s.Append(t.Context(), Origin, entries[20:]); err != nil {
		t.Error(err)
	}
	if err := s.Append(t.Context(), "ringfence.dev/ledger/other", entries); !errors.Is(err, store.ErrForeign) {
		t.Errorf("another ledger: %v; want ErrForeign", err)
	}
	hole := Entries(append(slices.Clone(records), Generate(4, 3)...)...)[len(records)+1:]
	if err := s.Append(t.Context(), Origin, hole); !errors.Is(err, store.ErrForeign) {
		t.Errorf("a hole: %v; want ErrForeign", err)
	}
	Same(t, before, Answers(t, s, records))
	if kept, err := s.RecordAt(t.Context(), uint64(len(records)-1)); err != nil || kept != nil {
		t.Errorf("the second entry of an id is there: %v, %v", kept, err)
	}
	if state, err := s.State(t.Context()); err != nil || state.Next != uint64(len(records)) || state.Duplicates == 0 {
		t.Errorf("State = %+v, %v", state, err)
	}
}

// testGaps tells of silence, loss and holes.
func testGaps(t *testing.T, open func(*testing.T) Store) {
	at := func(hours int) time.Time { return time.Date(2026, 5, 1, hours, 0, 0, 0, time.UTC) }
	gap := func(id, kind string, seq uint64, body map[string]any) record.Record {
		return record.Record{ID: id, Cluster: "local", Producer: "record", Seq: seq, Time: at(0), Kind: kind, Body: Body(body)}
	}
	silence := map[string]any{"producer": "audit", "promisedSeconds": 60, "since": at(1), "why": "quiet"}
	over := maps.Clone(silence)
	over["until"] = at(100)
	s := filled(t, open, gap("s", "silence.v1", 1, silence), gap("o", "overflow.v1", 2, map[string]any{"producer": "check", "lost": 3, "since": at(5), "until": at(6), "why": "queue-full"}))
	ask := func(from, until int, want ...string) {
		t.Helper()
		got, _, err := s.Gaps(t.Context(), store.Range{From: at(from), Until: at(until)}, store.Page{})
		names := []string{}
		for _, g := range got {
			names = append(names, fmt.Sprint(g.What, " ", g.Producer, " ", !g.Until.IsZero()))
		}
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("gaps of %d to %d: %q, %v; want %q", from, until, names, err, want)
		}
	}
	ask(200, 300, "silence audit false")
	Fill(t, s, []record.Record{gap("s", "silence.v1", 1, silence), gap("o", "overflow.v1", 2, silence), gap("e", "silence.v1", 3, over),
		Request("a", 5, at(120), "CREATE", "ns", "app", "eve", true)}, 100)
	ask(-5, 0)
	ask(0, 2, "silence audit true")
	ask(5, 5, "silence audit true", "overflow check true")
	ask(7, 8, "silence audit true")
	ask(101, 119)
	ask(119, 121, "hole audit true")
	if p, err := s.Producers(t.Context()); err != nil || len(p) != 2 || p[0].Missing != 4 || p[0].Seq != 5 {
		t.Errorf("Producers = %+v, %v; want audit with 4 missing", p, err)
	}
}

// testPeople remembers and forgets.
func testPeople(t *testing.T, open func(*testing.T) Store) {
	s := filled(t, open, Request("1", 1, Start(), "CREATE", "ns", "app", "eve", true))
	name := func(want store.Person) {
		t.Helper()
		got, err := s.Person(t.Context(), Ref("eve"))
		fs, _, wrong := s.Findings(t.Context(), store.FindingFilter{})
		if err != nil || wrong != nil || got != want || len(fs) != 1 || fs[0].Actor != want {
			t.Errorf("Person = %+v, %v and in a finding %+v, %v; want %+v", got, err, fs, wrong, want)
		}
	}
	name(store.Person{Ref: Ref("eve")})
	for _, n := range []string{"eve", "eve@bank.example"} {
		if err := s.Remember(t.Context(), Ref("eve"), n, Start()); err != nil {
			t.Fatal(err)
		}
		name(store.Person{Ref: Ref("eve"), Name: n})
	}
	if err := s.Forget(t.Context(), Ref("eve"), Start()); err != nil {
		t.Fatal(err)
	}
	name(store.Person{Ref: Ref("eve"), Forgotten: true})
	if err := s.Remember(t.Context(), Ref("eve"), "eve", Start()); err != nil {
		t.Fatal(err)
	}
	name(store.Person{Ref: Ref("eve"), Forgotten: true})
	if err := errors.Join(s.Remember(t.Context(), "eve", "eve", Start()), s.Forget(t.Context(), "eve", Start())); !errors.Is(err, store.ErrQuery) {
		t.Errorf("a name for a reference: %v; want ErrQuery", err)
	}
}

// testRetain removes old records and keeps totals.
func testRetain(t *testing.T, open func(*testing.T) Store) {
	records := Generate(5, 900)
	s := filled(t, open, records...)
	before := Answers(t, s, records)
	now := Start().Add(900 * 7 * time.Minute)
	keep := store.Retention{"native-refusal.v1": 24 * time.Hour, "change.v1": 48 * time.Hour}
	removed, err := s.Retain(t.Context(), keep, now)
	if err != nil || removed < 100 {
		t.Fatalf("Retain = %d, %v; want many", removed, err)
	}
	for kind, d := range keep {
		got, _, err := s.Records(t.Context(), store.RecordFilter{Kind: kind, Range: store.Range{Until: now.Add(-d)}})
		left, _, wrong := s.Records(t.Context(), store.RecordFilter{Kind: kind})
		if err != nil || wrong != nil || len(got) > 0 || len(left) == 0 {
			t.Errorf("of %s %d old ones are left and %d in all, %v, %v", kind, len(got), len(left), err, wrong)
		}
	}
	after := Answers(t, s, records)
	for _, name := range []string{"totals", "producers", "gaps0 newest=false", "state", "records no-such.v10 newest=true"} {
		if _, ok := before[name]; !ok || before[name] != after[name] {
			t.Errorf("%s changed: %.300s; want %.300s", name, after[name], before[name])
		}
	}
	if h, err := s.Horizons(t.Context()); err != nil || len(h) != 2 || !h[0].Before.Equal(now.Add(-48*time.Hour).Truncate(time.Microsecond)) {
		t.Errorf("Horizons = %v, %v", h, err)
	}
	if _, err := s.Retain(t.Context(), store.Retention{"change.v1": -1}, now); !errors.Is(err, store.ErrQuery) {
		t.Errorf("a negative time: %v; want ErrQuery", err)
	}
}

// testHostile puts hostile texts into every argument, and finds them again where they are.
func testHostile(t *testing.T, open func(*testing.T) Store) {
	records := Generate(6, 50)
	texts := append(hostile(), "\xff\xfe", strings.Repeat("y", 1<<20))
	for i, text := range texts {
		if i < len(hostile()) {
			records = append(records, Request(fmt.Sprint("h", i), uint64(i+1000), Start(), "CREATE", text, text, "eve", true, Fail{text, "Fail", "Deny", text, text, text}))
		}
	}
	s := filled(t, open, records...)
	before := Answers(t, s, records)
	for i, text := range texts {
		all, _, err := s.Findings(t.Context(), store.FindingFilter{Namespaces: []string{text}, Controls: []string{text}})
		found := slices.ContainsFunc(all, func(f store.Finding) bool {
			return f.RecordID == fmt.Sprint("h", i) && f.Value == text && f.Path == text && f.Waiver == text && f.Subject.Name == text
		})
		if err != nil || found != (i < len(hostile())) {
			t.Errorf("%.40q is found: %v, %v", text, found, err)
		}
		for _, err := range everywhere(t, s, text) {
			if err != nil && !errors.Is(err, store.ErrQuery) {
				t.Errorf("%.40q: %v; want no error, or ErrQuery", text, err)
			}
		}
	}
	after := Answers(t, s, records)
	delete(before, "horizons") // one of the texts could be a kind
	delete(after, "horizons")
	Same(t, before, after)
}

// everywhere asks with a text wherever one can be given.
func everywhere(t *testing.T, s Store, text string) []error {
	ctx, list := t.Context(), []string{text}
	var errs [6]error
	_, _, errs[0] = s.Records(ctx, store.RecordFilter{Kind: text})
	_, _, errs[1] = s.Findings(ctx, store.FindingFilter{Namespaces: list, Controls: list})
	_, _, errs[2] = s.Scanned(ctx, store.ScannedFilter{Namespaces: list, Controls: list})
	_, errs[3] = s.Person(ctx, text)
	_, _, errs[4] = s.Gaps(ctx, store.Range{}, store.Page{After: text})
	errs[5] = s.Forget(ctx, text, Start())
	_, err := s.Retain(ctx, store.Retention{text: time.Hour}, Start())
	return append(errs[:], err)
}

// testBounds asks for too much.
func testBounds(t *testing.T, open func(*testing.T) Store) {
	records := Generate(7, 1200)
	s := filled(t, open, records...)
	got, next, err := s.Records(t.Context(), store.RecordFilter{Page: store.Page{Limit: 1 << 30}})
	if err != nil || len(got) != 1000 || next == "" {
		t.Errorf("a page has %d records, next %q, %v; want 1,000 and more", len(got), next, err)
	}
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprint("ns-", i))
	}
	if _, _, err := s.Findings(t.Context(), store.FindingFilter{Namespaces: many}); !errors.Is(err, store.ErrQuery) {
		t.Errorf("300 namespaces: %v; want ErrQuery", err)
	}
	kept, err := s.RecordAt(t.Context(), got[0].Index)
	if err != nil || kept == nil || !reflect.DeepEqual(kept.Record, records[kept.Index]) {
		t.Errorf("RecordAt = %+v, %v; want %+v", kept, err, records[got[0].Index])
	}
	if kept, err := s.RecordAt(t.Context(), 1<<40); kept != nil || err != nil {
		t.Errorf("RecordAt where there is none = %v, %v; want nil", kept, err)
	}
}
