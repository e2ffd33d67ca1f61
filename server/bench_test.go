package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

const (
	benchBatch   = 100 // events in a batch; the API server's own default is 400
	benchSenders = 4
)

// refusals is a batch of audit events of refusals, each of another object: the id of the first is n.
func refusals(b *testing.B, text []byte, n int) []byte {
	b.Helper()
	var out bytes.Buffer
	out.WriteString(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`)
	for i := n; i < n+benchBatch; i++ {
		if i > n {
			out.WriteByte(',')
		}
		event := bytes.ReplaceAll(text, []byte("55a9432a-4b28-4458-8734-43b9c48e84df"), fmt.Appendf(nil, "bench-%d", i))
		out.Write(bytes.ReplaceAll(event, []byte("refused-one"), fmt.Appendf(nil, "refused-%d", i)))
	}
	out.WriteString(`]}`)
	return out.Bytes()
}

// BenchmarkRoad sends refusals to the audit door in batches, each answered once its records are on the disk, while the store and one
// sink follow: as fast as it goes from four senders, in turn with its baseline, the log alone with as many empty records; and
// then 1,000 a second, where it tells how long they take until they are acknowledged, queryable and sent on.
func BenchmarkRoad(b *testing.B) {
	sample, err := os.ReadFile("../detect/auditlog/testdata/events/refused.json")
	if err != nil {
		b.Fatal(err)
	}
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal(sample, &list); err != nil {
		b.Fatal(err)
	}
	event := list.Items[0]
	b.Run("log", func(b *testing.B) { benchLog(b) })
	b.Run("road", func(b *testing.B) {
		r := newRoad(b, event)
		b.ResetTimer()
		var group sync.WaitGroup
		for g := range benchSenders {
			group.Go(func() {
				for i := g; i < b.N; i += benchSenders {
					r.send(b, i)
				}
			})
		}
		group.Wait()
		b.StopTimer()
		b.ReportMetric(float64(b.N*benchBatch)/b.Elapsed().Seconds(), "records/s")
		r.reach(b, b.N)
	})
	b.Run("paced", func(b *testing.B) {
		r := newRoad(b, event)
		const rounds = 200
		var acknowledged, queryable, sent []time.Duration
		tick := time.NewTicker(time.Second * benchBatch / 1000)
		defer tick.Stop()
		began := time.Now()
		for b.Loop() {
			var group sync.WaitGroup
			var mu sync.Mutex
			for i := range rounds {
				<-tick.C
				group.Go(func() {
					start := time.Now()
					r.send(b, i)
					ack := time.Since(start)
					q, s := r.follow(b, start, i)
					mu.Lock()
					defer mu.Unlock()
					acknowledged, queryable, sent = append(acknowledged, ack), append(queryable, q), append(sent, s)
				})
			}
			group.Wait()
		}
		took := time.Since(began).Seconds()
		b.ReportMetric(rounds*benchBatch/took, "records/s")
		for name, times := range map[string][]time.Duration{"acknowledged": acknowledged, "queryable": queryable, "sent": sent} {
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Milliseconds()), "ms-"+name+"-median")
			b.ReportMetric(float64(times[len(times)-1].Milliseconds()), "ms-"+name+"-slowest")
		}
	})
}

// benchLog appends batches of empty records to a log that nothing follows.
func benchLog(b *testing.B) {
	dir := b.TempDir()
	key, err := ledger.NewKey(filepath.Join(dir, "key"), "bench.example/ledger")
	if err != nil {
		b.Fatal(err)
	}
	log, err := ledger.Open(ledger.Config{Dir: filepath.Join(dir, "ledger"), Key: key})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	b.ResetTimer()
	var group sync.WaitGroup
	for g := range benchSenders {
		group.Go(func() {
			for i := g; i < b.N; i += benchSenders {
				records := make([]record.Record, benchBatch)
				for n := range records {
					records[n] = gap(fmt.Sprintf("b%d-%d", i, n))
					r := &records[n]
					r.Cluster, r.Producer, r.Seq, r.Time, r.Body = localCluster, fmt.Sprint("bench", g), uint64(i/benchSenders*benchBatch+n+1), time.Now().UTC(), json.RawMessage(`{}`)
				}
				if _, err := log.Append(b.Context(), records...); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N*benchBatch)/b.Elapsed().Seconds(), "records/s")
}

// road is a control plane with evidence, a store and a sink, and no cluster.
type road struct {
	s     *Server
	event []byte
}

func newRoad(b *testing.B, event []byte) *road {
	dir := b.TempDir()
	cfg := Config{AuditAddress: "127.0.0.1:0", Evidence: filepath.Join(dir, "evidence"), Sinks: []forward.Opened{archive(b, filepath.Join(dir, "out.jsonl"))}}
	s, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(startEvidence(b, s))
	eventually(b, "the first record", func() bool { return s.evidence.ledger.Size() > 0 }) // which catalogue is in force
	return &road{s, event}
}

// send posts batch i and waits for its answer.
func (r *road) send(b *testing.B, i int) {
	response, err := http.Post(r.s.AuditURL(), "application/json", bytes.NewReader(refusals(b, r.event, i*benchBatch)))
	if err != nil {
		b.Error(err)
		return
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		b.Errorf("batch %d is answered %s", i, response.Status)
	}
}

// reach waits until the store and the sink have n batches.
func (r *road) reach(b *testing.B, n int) {
	eventually(b, "the end of the store and the sink", func() bool {
		return r.stored(b) > uint64(n*benchBatch) && r.s.evidence.sinks.followers[0].Stats(b.Context()).Next > uint64(n*benchBatch)
	})
}

func (r *road) stored(b *testing.B) uint64 {
	state, err := r.s.evidence.answers.store.State(b.Context())
	if err != nil {
		b.Error(err)
	}
	return state.Next
}

// follow is how long after start all that was in the ledger when it is called was queryable, and sent on.
func (r *road) follow(b *testing.B, start time.Time, i int) (queryable, sent time.Duration) {
	size := r.s.evidence.ledger.Size()
	eventually(b, fmt.Sprintf("batch %d in the store and the sink", i), func() bool {
		if queryable == 0 && r.stored(b) >= size {
			queryable = time.Since(start)
		}
		if sent == 0 && r.s.evidence.sinks.followers[0].Stats(b.Context()).Next >= size {
			sent = time.Since(start)
		}
		return queryable > 0 && sent > 0
	})
	return queryable, sent
}
