package record_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"ringfence.dev/ringfence/record"
)

// keeper is a sink in memory that can be told to fail. It keeps an id once, as the ledger does.
type keeper struct {
	mu     sync.Mutex
	kept   []record.Record
	ids    map[string]bool
	fail   error
	reject string
}

func (k *keeper) sink(_ context.Context, records []record.Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range records {
		if k.reject != "" && strings.HasPrefix(r.ID, k.reject) {
			return fmt.Errorf("%s: %w", r.ID, record.ErrRejected)
		}
	}
	if k.fail != nil {
		return k.fail
	}
	for _, r := range records {
		if !k.ids[r.ID] {
			k.kept = append(k.kept, r)
			k.ids[r.ID] = true
		}
	}
	return nil
}

func (k *keeper) set(fail error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = fail
}

// of are the kept records of a kind.
func (k *keeper) of(kind string) (out []record.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.kept {
		if r.Kind == kind {
			out = append(out, r)
		}
	}
	return out
}

// run runs a queue in a bubble until f returns, then drains it.
func run(t *testing.T, cfg record.QueueConfig, f func(*record.Queue, *keeper)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{ids: map[string]bool{}}
		cfg.Cluster, cfg.Sink, cfg.Now, cfg.Log = "local", k.sink, time.Now, slog.New(slog.DiscardHandler)
		q, err := record.NewQueue(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- q.Run(ctx) }()
		f(q, k)
		cancel()
		<-done
		for _, r := range k.kept {
			matchesKind(t, r)
		}
	})
}

// matchesKind holds what the queue itself writes to the schema of its kind.
func matchesKind(t *testing.T, r record.Record) {
	t.Helper()
	if r.Producer != "record" {
		return
	}
	text, _ := record.KindSchema(r.Kind)
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.Body))
	if err != nil {
		t.Fatal(err)
	}
	if err := compileKind(t, r.Kind, text).Validate(body); err != nil {
		t.Errorf("%s: %v", r.Body, err)
	}
}

// refusal is a record with an id.
func refusal(id string) record.Record {
	return record.Record{ID: id, Kind: "native-refusal.v1", Body: json.RawMessage(`{}`)}
}

func TestQueueKeepsOrderAndNumbers(t *testing.T) {
	run(t, record.QueueConfig{Last: map[string]record.Last{"audit": {Seq: 41}}}, func(q *record.Queue, k *keeper) {
		for i := range 1200 {
			if refused := q.Add("audit", refusal(fmt.Sprint("a", i))); refused != 0 {
				t.Fatal("a record found no room")
			}
		}
		if err := q.Put(context.Background(), "check", refusal("c")); err != nil {
			t.Fatal(err)
		}
		kept := k.of("native-refusal.v1")
		if len(kept) != 1201 {
			t.Fatalf("kept %d records, want 1201", len(kept))
		}
		for i, r := range kept[:1200] {
			if r.ID != fmt.Sprint("a", i) || r.Seq != uint64(42+i) || r.Cluster != "local" || r.Producer != "audit" || r.Time.IsZero() {
				t.Fatalf("record %d is %+v", i, r)
			}
		}
		if r := kept[1200]; r.Producer != "check" || r.Seq != 1 {
			t.Errorf("the first record of check is %+v", r)
		}
	})
}

func TestQueueOverflowIsRecorded(t *testing.T) {
	run(t, record.QueueConfig{Capacity: 100}, func(q *record.Queue, k *keeper) {
		k.set(errors.New("no space left on device"))
		start := time.Now()
		for i := range 130 {
			q.Add("audit", refusal(fmt.Sprint("a", i)))
		}
		if time.Since(start) != 0 {
			t.Error("a producer was made to wait")
		}
		if err := q.Put(context.Background(), "check", refusal("c")); !errors.Is(err, record.ErrFull) {
			t.Errorf("Put into a full queue = %v, want ErrFull", err)
		}
		time.Sleep(time.Minute)
		if len(k.kept) > 0 {
			t.Error("a sink that fails holds records")
		}
		k.set(nil)
		time.Sleep(time.Minute)
		q.Add("audit", refusal("later"))
		time.Sleep(time.Second)
		if n := len(k.of("native-refusal.v1")); n != 101 {
			t.Errorf("kept %d records, want the first 100 and the one after", n)
		}
		lost := map[string]float64{}
		for _, r := range k.of("overflow.v1") {
			var body map[string]any
			if err := json.Unmarshal(r.Body, &body); err != nil {
				t.Fatal(err)
			}
			lost[fmt.Sprint(body["producer"], " ", body["why"])] += body["lost"].(float64)
			if body["why"] == "ledger" && body["error"] != "no space left on device" {
				t.Errorf("the outage is recorded as %s", r.Body)
			}
		}
		if _, outage := lost["record ledger"]; len(lost) != 3 || lost["audit queue-full"] != 30 || lost["check queue-full"] != 1 || !outage {
			t.Errorf("recorded losses %v; want 30 of audit, 1 of check, and the outage", lost)
		}
		kept := k.of("native-refusal.v1")
		if last := kept[len(kept)-1]; last.Seq != 131 {
			t.Errorf("the record after the loss has seq %d, want 131: the hole shows what was lost", last.Seq)
		}
		if n := metric(t, q, "ringfence_records_lost_total"); n != 31 {
			t.Errorf("ringfence_records_lost_total is %v, want 31", n)
		}
	})
}

func TestQueueRejected(t *testing.T) {
	run(t, record.QueueConfig{}, func(q *record.Queue, k *keeper) {
		k.reject = "bad"
		unknown := refusal("u")
		unknown.Kind = "unknown.v1"
		if n := q.Add("audit", refusal("a"), refusal("bad-1"), refusal("b"), refusal("in valid"), unknown); n != 2 {
			t.Errorf("Add refused %d at once, want 2", n)
		}
		if err := q.Put(context.Background(), "audit", refusal("bad-2")); !errors.Is(err, record.ErrRejected) {
			t.Errorf("Put = %v, want ErrRejected", err)
		}
		time.Sleep(5 * time.Second)
		if n := len(k.of("native-refusal.v1")); n != 2 {
			t.Errorf("kept %d records, want a and b", n)
		}
		if len(k.of("overflow.v1")) == 0 {
			t.Error("a rejected record left no trace")
		}
	})
}

func TestQueueSilence(t *testing.T) {
	before := time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC) // the bubble's clock begins at 2000
	run(t, record.QueueConfig{Last: map[string]record.Last{"audit": {Seq: 7, Time: before}}}, func(q *record.Queue, k *keeper) {
		q.Promise("audit", 30*time.Second)
		for range 10 {
			time.Sleep(20 * time.Second)
			q.Beat("audit")
		}
		time.Sleep(5 * time.Minute)
		q.Add("audit", refusal("again"))
		time.Sleep(time.Second)
		var got []string
		for _, r := range k.of("silence.v1") {
			var body struct{ Since, Until, Why string }
			if err := json.Unmarshal(r.Body, &body); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s %s %s", body.Why, body.Since, body.Until))
		}
		want := "restart 1999-12-31T00:00:00Z 2000-01-01T00:00:00Z\nquiet 2000-01-01T00:03:20Z \nquiet 2000-01-01T00:03:20Z 2000-01-01T00:08:20Z"
		if strings.Join(got, "\n") != want {
			t.Errorf("silence recorded:\n%s\nwant:\n%s", strings.Join(got, "\n"), want)
		}
	})
}

func TestQueueDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{ids: map[string]bool{}}
		q, err := record.NewQueue(record.QueueConfig{Cluster: "local", Sink: k.sink, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		q.Add("audit", refusal("a"), refusal("b"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := q.Run(ctx); err != nil || len(k.kept) != 2 {
			t.Errorf("Run with a context that has ended = %v, kept %d; want the two that waited", err, len(k.kept))
		}
		if q.Add("audit", refusal("c")) != 1 {
			t.Error("Add after the end took a record")
		}
	})
}

// metric is the sum of a metric.
func metric(t *testing.T, c prometheus.Collector, name string) (sum float64) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}
