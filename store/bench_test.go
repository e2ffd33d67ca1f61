package store_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store"
	"ringfence.dev/ringfence/store/storetest"
)

// estate is how many findings the benchmarks ask over; STORE_FINDINGS is another number.
func estate() int {
	if n, err := strconv.Atoi(os.Getenv("STORE_FINDINGS")); err == nil {
		return n
	}
	return 1_000_000
}

// bank makes entries of a bank's year: 300 namespaces, 80 controls, 2,000 people, two findings a request, one request a
// minute or so, and a change, a silence and its end for every 200 of them. A tenth of all is one namespace's, made by one robot.
func bank(from, n int) []store.Entry {
	out := make([]store.Entry, 0, n)
	for i := from; i < from+n; i++ {
		at := storetest.Start().Add(time.Duration(i) * time.Minute)
		r := record.Record{ID: fmt.Sprint("b:", i), Cluster: "local", Producer: "audit", Seq: uint64(i + 1), Time: at, CatalogueDigest: storetest.Digest(i / 50_000)}
		switch i % 200 {
		case 0:
			r.Kind, r.Body = "change.v1", body(map[string]any{"operation": "UPDATE", "actor": ref(i), "fields": []string{"/spec"},
				"subject": finding.Subject{Kind: "Tenant", Name: fmt.Sprint("t", i%100)}})
		case 1:
			r.Kind, r.Body = "silence.v1", body(map[string]any{"producer": "check", "since": at, "until": at.Add(time.Minute), "why": "quiet"})
		default:
			ns, who := fmt.Sprint("ns-", i*7%300), ref(i*13%2000)
			if i%10 == 0 {
				ns, who = "ns-0", ref(0)
			}
			r.Kind, r.Body = "native-refusal.v1", body(map[string]any{"auditID": r.ID, "stage": "ResponseComplete", "operation": "CREATE", "refused": i%3 > 0, "actor": who,
				"subject": finding.Subject{APIVersion: "apps/v1", Kind: "Deployment", Namespace: ns, Name: fmt.Sprint("app-", i%40_000)}, "source": "webhook", "seen": at,
				"notPassed": []storetest.Fail{{Control: fmt.Sprint("example-", i%80), Outcome: "Fail", Action: "Deny", Value: "true", Path: "/spec/template/spec/containers/0/securityContext/privileged"},
					{Control: fmt.Sprint("example-", i*3%80), Outcome: "Fail", Action: "Warn", Value: "8080", Path: "/spec/template/spec/containers/0/ports/0/hostPort"}}})
		}
		out = append(out, store.Entry{Index: uint64(i), Record: r})
	}
	return out
}

func body(v any) json.RawMessage { return storetest.Body(v) }

func ref(i int) map[string]string { return map[string]string{"ref": storetest.Ref(fmt.Sprint("p", i))} }

// BenchmarkStore fills a store with a million findings and asks every query, each beside a search by primary key and a count
// over the whole table in the same file. It prints the median and the slowest of 30, in milliseconds.
func BenchmarkStore(b *testing.B) {
	path := filepath.Join(b.TempDir(), "store.db")
	s := open(b, path)
	n := estate() / 2
	start := time.Now()
	for from := 0; from < n; from += 1000 {
		if err := s.Append(b.Context(), storetest.Origin, bank(from, min(1000, n-from))); err != nil {
			b.Fatal(err)
		}
	}
	took := time.Since(start)
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Printf("filled %d records, %d findings in %.0f s: %.0f records/s; %d MB\n", n, 2*n, took.Seconds(), float64(n)/took.Seconds(), info.Size()>>20)
	db := raw(b, path)
	measure(b, "baseline: one row by primary key", func(i int) error {
		var id string
		return db.QueryRow("SELECT id FROM records WHERE idx = ?", i*997%n).Scan(&id)
	})
	measure(b, "baseline: count of findings, read whole", func(int) error {
		var count int
		return db.QueryRow("SELECT count(*) FROM findings WHERE value <> path").Scan(&count)
	})
	for _, q := range questions(b, s, n) {
		measure(b, q.name, q.ask)
	}
	for b.Loop() { // go test wants a loop; what is measured is printed
	}
}

// measure prints how long a question takes.
func measure(b *testing.B, name string, ask func(i int) error) {
	var all []time.Duration
	for i := range 30 {
		start := time.Now()
		if err := ask(i); err != nil {
			b.Fatal(name, err)
		}
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	fmt.Printf("%-60s %8.2f %8.2f ms\n", name, ms(all[15]), ms(all[29]))
}

type question struct {
	name string
	ask  func(i int) error
}

// questions are all queries with arguments that are hard for them. The i-th asks at another time.
func questions(b *testing.B, s *store.Store, n int) []question {
	ctx := b.Context()
	at := func(i int) time.Time { return storetest.Start().Add(time.Duration(i*n/30) * time.Minute) }
	since := func(i int) store.Range { return store.Range{From: at(i), Until: at(i).Add(30 * 24 * time.Hour)} }
	find := func(name string, f store.FindingFilter) question {
		return question{name, func(i int) error { f.Range = since(i); _, _, err := s.Findings(ctx, f); return err }}
	}
	ns, rare := []string{"ns-0"}, []string{"ns-7"}
	var controls []string
	for i := range 30 {
		controls = append(controls, fmt.Sprint("example-", i))
	}
	return []question{
		find("Findings: all of a month, first 100", store.FindingFilter{}),
		find("Findings: refusals, newest 1,000", store.FindingFilter{Which: store.Refused, Page: store.Page{Newest: true, Limit: 1000}}),
		find("Findings: of a large namespace", store.FindingFilter{Namespaces: ns}),
		find("Findings: of a small namespace, one control", store.FindingFilter{Namespaces: rare, Controls: controls[:1]}),
		find("Findings: of a severity (30 controls)", store.FindingFilter{Controls: controls}),
		{"RecordAt", func(i int) error { _, err := s.RecordAt(ctx, uint64(i*991%n)); return err }},
		{"Records: of a kind in a month", func(i int) error {
			_, _, err := s.Records(ctx, store.RecordFilter{Range: since(i), Kind: "change.v1"})
			return err
		}},
		{"Gaps: a month", func(i int) error { _, _, err := s.Gaps(ctx, since(i), store.Page{}); return err }},
		{"Producers", func(int) error { _, err := s.Producers(ctx); return err }},
		{"Totals", func(int) error { _, err := s.Totals(ctx); return err }},
		{"Horizons", func(int) error { _, err := s.Horizons(ctx); return err }},
		{"Person", func(int) error { _, err := s.Person(ctx, storetest.Ref("p1")); return err }},
		{"State", func(int) error { _, err := s.State(ctx); return err }},
	}
}
