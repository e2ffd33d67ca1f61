// Package storetest is what every implementation of the store must do: Run holds one to it. Its records are made here, hostile
// ones among them; Answers asks every query, so that two stores can be compared. Only tests import it.
package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store"
)

// Store is the named queries and what fills them: what another database than SQLite must have.
type Store interface {
	Append(ctx context.Context, origin string, entries []store.Entry) error
	Retain(ctx context.Context, keep store.Retention, now time.Time) (int, error)
	Remember(ctx context.Context, ref, name string, now time.Time) error
	Forget(ctx context.Context, ref string, now time.Time) error
	Close() error

	RecordAt(ctx context.Context, index uint64) (*store.Kept, error)
	Records(ctx context.Context, f store.RecordFilter) ([]store.Kept, string, error)
	Findings(ctx context.Context, f store.FindingFilter) ([]store.Finding, string, error)
	Scanned(ctx context.Context, f store.ScannedFilter) ([]store.Scanned, string, error)
	Gaps(ctx context.Context, r store.Range, p store.Page) ([]store.Gap, string, error)
	Producers(ctx context.Context) ([]store.Producer, error)
	Totals(ctx context.Context) ([]store.Total, error)
	Horizons(ctx context.Context) ([]store.Horizon, error)
	Person(ctx context.Context, ref string) (store.Person, error)
	State(ctx context.Context) (store.State, error)
}

var _ Store = (*store.Store)(nil)

// Origin is the name of the ledger of the records here.
const Origin = "ringfence.dev/ledger/test"

// Start is when the first record happened.
func Start() time.Time { return time.Date(2026, 3, 1, 23, 50, 0, 123, time.UTC) }

// Digest is a catalogue's digest.
func Digest(n int) string { return fmt.Sprintf("sha256:%064x", n) }

// Ref is the reference of a name.
func Ref(name string) string { return record.Reference([]byte("0123456789abcdef"), name) }

// Entries puts records into a ledger of their own.
func Entries(records ...record.Record) []store.Entry {
	out := make([]store.Entry, len(records))
	for i, r := range records {
		text, _ := json.Marshal(r) // records here can be written
		out[i] = store.Entry{Index: uint64(i), Digest: sha256.Sum256(text), Record: r}
	}
	return out
}

// Body writes a body.
func Body(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // a mistake of a test
	}
	return text
}

// Fail is one thing that did not pass.
type Fail struct {
	Control string `json:"control"`
	Outcome string `json:"outcome"`
	Action  string `json:"action"`
	Value   string `json:"value,omitempty"`
	Path    string `json:"path,omitempty"`
	Waiver  string `json:"waiver,omitempty"`
}

// Request is a native-refusal.v1 record of somebody's request for a Deployment.
func Request(id string, seq uint64, at time.Time, operation, namespace, name, who string, refused bool, fails ...Fail) record.Record {
	if fails == nil {
		fails = []Fail{}
	}
	return record.Record{ID: id, Cluster: "local", Producer: "audit", Seq: seq, Time: at.UTC(), Kind: "native-refusal.v1", CatalogueDigest: Digest(1),
		Body: Body(map[string]any{"auditID": id, "stage": "ResponseComplete", "operation": operation, "refused": refused,
			"subject": finding.Subject{APIVersion: "apps/v1", Kind: "Deployment", Namespace: namespace, Name: name},
			"actor":   map[string]string{"ref": Ref(who)}, "notPassed": fails, "seen": at, "source": "webhook"})}
}

// hostile are texts that must come back as they went in, and change nothing else.
func hostile() []string {
	return []string{`'; DROP TABLE records; --`, `" OR 1=1 --`, `%_*?`, "a\x00b", "\u202e\u0007", `\`, "", strings.Repeat("x", 512), "null", "?", "{where}"}
}

// oldest is how many records the stores of earlier versions in testdata have: of what came later there is nothing in them.
const oldest = 40

// Generate makes n records of every kind, always the same for a seed: late ones, ids twice, holes in the numbers, bodies that are not as their
// kind says, kinds that nobody knows.
func Generate(seed uint64, n int) []record.Record {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), seq: map[string]uint64{}}
	scans := &generator{Rand: rand.New(rand.NewPCG(seed, 2))}
	var out []record.Record
	for i := range n {
		r := g.record(i)
		if i >= oldest && i%11 == 3 {
			scans.scan(&r)
		}
		if len(out) > 0 && g.IntN(40) == 0 {
			r = out[g.IntN(len(out))] // it came a second time
		}
		out = append(out, r)
	}
	return out
}

type generator struct {
	*rand.Rand
	seq map[string]uint64
}

func (g *generator) of(texts ...string) string { return texts[g.IntN(len(texts))] }

func (g *generator) text(prefix string, n int) string {
	if g.IntN(10) == 0 {
		return g.of(hostile()...)
	}
	return fmt.Sprint(prefix, g.IntN(n))
}

// record makes the i-th record.
func (g *generator) record(i int) record.Record {
	at := Start().Add(time.Duration(i) * 7 * time.Minute)
	if g.IntN(20) == 0 {
		at = at.Add(-time.Duration(g.IntN(3000)) * time.Minute)
	}
	producer := g.of("audit", "audit", "check", "reconciler")
	g.seq[producer] += 1 + uint64(max(0, g.IntN(30)-28))
	r := record.Record{ID: fmt.Sprint("r:", i), Cluster: g.of("local", "local", "far"), Producer: producer, Seq: g.seq[producer], Time: at,
		CatalogueDigest: Digest(i / 100)}
	subject := finding.Subject{APIVersion: "apps/v1", Kind: "Deployment", Namespace: g.text("ns-", 4), Name: g.text("app-", 9)}
	who := map[string]string{"ref": Ref(fmt.Sprint("user", g.IntN(6)))}
	fails := []Fail{}
	for range g.IntN(4) {
		fails = append(fails, Fail{g.text("example-", 6), g.of("Fail", "Fail", "Errored"), g.of("Deny", "Warn", "Audit"), g.text("value", 5), g.text("/spec/", 3), ""})
	}
	for n := range fails {
		if i >= oldest && (i+n)%3 == 0 {
			fails[n].Waiver = g.text("waiver-", 3)
		}
	}
	switch g.IntN(16) {
	case 0:
		r.Kind = "change.v1"
		subject.Kind, subject.Namespace = g.of("Tenant", "Platform", "Guard"), ""
		r.Body = Body(map[string]any{"operation": "UPDATE", "subject": subject, "actor": who, "fields": []string{g.text("/spec/", 4)}, "after": Digest(i)})
	case 1:
		r.Kind = g.of("silence.v1", "overflow.v1")
		body := map[string]any{"producer": g.text("p", 3), "why": g.of("quiet", "queue-full"), "since": at.Add(-time.Hour).Truncate(4 * time.Hour), "lost": g.IntN(5)}
		if g.IntN(3) > 0 {
			body["until"] = at.Add(time.Duration(g.IntN(3000)) * time.Minute)
		}
		r.Body = Body(body)
	case 2:
		r.Kind = "check-run.v1"
		r.Body = Body(map[string]any{"repository": g.text("git/", 3), "exitCode": g.IntN(4), "refused": 1, "notPassed": fails, "actor": who})
	case 3:
		r.Kind = g.of("native-refusal.v1", "silence.v1", "change.v1", "unheard-of.v7")
		r.Body = json.RawMessage(`{"subject":7,"since":"never","notPassed":"all"}`)
	case 4:
		r.Kind = "admission-decision.v1"
		r.Body = Body(map[string]any{"allowed": g.IntN(2) == 0, "dryRun": g.IntN(4) == 0, "operation": g.of("CREATE", "DELETE"), "subject": subject, "actor": who,
			"inTheNameOf": who, "notPassed": fails})
	default:
		r.Kind = "native-refusal.v1"
		r.Body = Body(map[string]any{"operation": g.of("CREATE", "CREATE", "UPDATE", "DELETE"), "refused": g.IntN(3) > 0, "subject": subject, "actor": who, "notPassed": fails})
	}
	return r
}

// scan makes of a record one of a background scan.
func (g *generator) scan(r *record.Record) {
	changes := []map[string]any{}
	for range 1 + g.IntN(4) {
		subject := finding.Subject{APIVersion: "apps/v1", Kind: "Deployment", Namespace: g.text("ns-", 4), Name: g.text("app-", 3)}
		changes = append(changes, map[string]any{"what": g.of("opened", "opened", "stays", "waived", "closed"), "subject": subject, "control": g.text("example-", 3),
			"outcome": "Fail", "action": g.of("Deny", "Warn"), "value": g.text("value", 5), "path": g.text("/spec/", 2), "why": g.of("fixed", "deleted")})
	}
	r.Kind, r.Body = "scan-finding.v1", Body(map[string]any{"changes": changes})
}

// Answers are the answers to every query over records, page after page, as text. Two stores that were filled with the same
// must give the same.
func Answers(t testing.TB, s Store, records []record.Record) map[string]string {
	t.Helper()
	a := &asking{t: t, s: s, out: map[string]string{}}
	mid := Start().Add(time.Duration(len(records)/2) * 7 * time.Minute)
	ranges := []store.Range{{}, {From: mid}, {Until: mid}, {From: mid.Add(-24 * time.Hour), Until: mid}}
	for i, r := range ranges {
		for _, newest := range []bool{false, true} {
			a.ranged(fmt.Sprintf("%d newest=%v", i, newest), r, store.Page{Limit: 97, Newest: newest})
		}
	}
	for i := range records {
		if i%17 == 0 {
			at, err := s.RecordAt(t.Context(), uint64(i))
			a.note(fmt.Sprint("record at ", i), at, err)
		}
	}
	a.whole()
	return a.out
}

type asking struct {
	t   testing.TB
	s   Store
	out map[string]string
}

func (a *asking) note(name string, answer any, err error) {
	a.t.Helper()
	text, wrong := json.Marshal(answer)
	if err != nil || wrong != nil {
		a.t.Errorf("%s: %v, %v", name, err, wrong)
	}
	a.out[name] = string(text)
}

// whole asks what has no pages.
func (a *asking) whole() {
	ctx := a.t.Context()
	producers, err := a.s.Producers(ctx)
	a.note("producers", producers, err)
	totals, err := a.s.Totals(ctx)
	a.note("totals", totals, err)
	horizons, err := a.s.Horizons(ctx)
	a.note("horizons", horizons, err)
	state, err := a.s.State(ctx)
	a.note("state", state, err)
	person, err := a.s.Person(ctx, Ref("user1"))
	a.note("person", person, err)
}

// pages asks page after page.
func pages[T any](a *asking, name string, ask func(after string) ([]T, string, error)) []T {
	a.t.Helper()
	all, after := []T{}, ""
	for {
		some, next, err := ask(after)
		if err != nil || len(all) > 1_000_000 {
			a.t.Fatalf("%s after %q: %v", name, after, err)
		}
		all = append(all, some...)
		if after = next; next == "" {
			break
		}
	}
	a.note(name, all, nil)
	return all
}

// ranged asks what has a range.
func (a *asking) ranged(name string, r store.Range, p store.Page) {
	ctx := a.t.Context()
	for _, kind := range []string{"", "native-refusal.v1", "no-such.v1"} {
		pages(a, "records "+kind+name, func(after string) ([]store.Kept, string, error) {
			p.After = after
			return a.s.Records(ctx, store.RecordFilter{Range: r, Kind: kind, Page: p})
		})
	}
	for i, f := range filters() {
		pages(a, fmt.Sprint("findings ", i, name), func(after string) ([]store.Finding, string, error) {
			f.Range, f.Page = r, p
			f.After = after
			return a.s.Findings(ctx, f)
		})
		pages(a, fmt.Sprint("scanned ", i, name), func(after string) ([]store.Scanned, string, error) {
			p.After = after
			return a.s.Scanned(ctx, store.ScannedFilter{State: store.ScanState(i % 3), Namespaces: f.Namespaces, Controls: f.Controls, Range: r, Page: p})
		})
	}
	pages(a, "gaps"+name, func(after string) ([]store.Gap, string, error) { p.After = after; return a.s.Gaps(ctx, r, p) })
}

// filters are all sets of filters.
func filters() []store.FindingFilter {
	var out []store.FindingFilter
	for i := range 12 {
		f := store.FindingFilter{Which: store.Which(i % 3)}
		if i&1 > 0 {
			f.Namespaces = []string{"ns-1", "ns-2", "nowhere", "", "ns-1"}
		}
		if i&2 > 0 {
			f.Controls = []string{"example-1", "example-2"}
		}
		out = append(out, f)
	}
	return out
}
