package forward_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/wire"
	"ringfence.dev/ringfence/internal/sinktest"
	"ringfence.dev/ringfence/record"
)

// place is a sink whose answers a test scripts.
type place struct {
	limits  forward.Limits
	answer  func(batch []forward.Message) error
	got     []string
	batches int
	closed  bool
}

func (p *place) Limits() forward.Limits {
	if p.limits.Bytes == 0 {
		return forward.Limits{Bytes: 1 << 20, Messages: 100}
	}
	return p.limits
}

func (p *place) Send(ctx context.Context, batch []forward.Message) error {
	p.batches++
	if p.answer != nil {
		if err := p.answer(batch); err != nil {
			return err
		}
	}
	for _, m := range batch {
		p.got = append(p.got, m.ID)
	}
	return ctx.Err()
}

func (p *place) Close() error { p.closed = true; return nil }

// setup is a follower over a ledger, with the pauses it made.
type setup struct {
	ledger *sinktest.Ledger
	place  *place
	dir    string
	pauses []time.Duration
	log    bytes.Buffer
	change func(*forward.Options)
}

func (s *setup) follow(t *testing.T) *forward.Follower {
	t.Helper()
	f, err := forward.New(t.Context(), s.options())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (s *setup) options() forward.Options {
	o := forward.Options{
		Name: "soc", Source: s.ledger, Sink: s.place, Format: forward.Whole, Dir: s.dir, Log: slog.New(slog.NewTextHandler(&s.log, nil)),
		Now: func() time.Time { return sinktest.Noon().Add(time.Hour) },
		Sleep: func(ctx context.Context, d time.Duration) error {
			s.pauses = append(s.pauses, d)
			if len(s.pauses) > 100 {
				return errors.New("it waits for ever")
			}
			return ctx.Err()
		},
	}
	if s.change != nil {
		s.change(&o)
	}
	return o
}

func newSetup(t *testing.T, records int) *setup {
	t.Helper()
	s := &setup{ledger: &sinktest.Ledger{}, place: &place{}, dir: t.TempDir()}
	for i := range records {
		s.ledger.Add(sinktest.Record(i, "native-refusal.v1", fmt.Sprintf(`{"n":%d}`, i)))
	}
	return s
}

// ids are r-0000 to r-(n-1).
func ids(from, n int) (out []string) {
	for i := from; i < n; i++ {
		out = append(out, fmt.Sprintf("r-%04d", i))
	}
	return out
}

// TestInOrder: everything, in order, in batches of at most what the sink takes; and then what comes later.
func TestInOrder(t *testing.T) {
	s := newSetup(t, 25)
	s.place.limits = forward.Limits{Bytes: 1 << 20, Messages: 10}
	f := s.follow(t)
	if err := f.Catch(t.Context()); err != nil || !slices.Equal(s.place.got, ids(0, 25)) || s.place.batches != 3 {
		t.Fatalf("Catch = %v with %v in %d batches", err, s.place.got, s.place.batches)
	}
	s.ledger.Add(sinktest.Record(25, "change.v1", `{}`))
	if stats := f.Stats(t.Context()); stats.LagRecords != 1 || stats.Sent != 25 {
		t.Errorf("Stats = %+v, want one that waits", stats)
	}
	if err := f.Catch(t.Context()); err != nil || !slices.Equal(s.place.got, ids(0, 26)) {
		t.Errorf("Catch = %v with %v", err, s.place.got)
	}
}

// TestBytes: a batch is no larger than the sink takes, the overhead counted.
func TestBytes(t *testing.T) {
	s := newSetup(t, 20)
	largest := 0
	s.place.limits = forward.Limits{Bytes: 2000, Overhead: 100, Messages: 100}
	s.place.answer = func(batch []forward.Message) error {
		size := 0
		for _, m := range batch {
			size += len(m.Data) + 100
		}
		largest = max(largest, size)
		return nil
	}
	if err := s.follow(t).Catch(t.Context()); err != nil || largest > 2000 || largest < 1000 || !slices.Equal(s.place.got, ids(0, 20)) {
		t.Errorf("Catch = %v, largest batch %d bytes, got %v", err, largest, s.place.got)
	}
}

// TestResume: a process that ends at any moment is followed by one that leaves nothing out and keeps the order; what it
// sends twice has the same id.
func TestResume(t *testing.T) {
	s := newSetup(t, 60)
	s.place.limits = forward.Limits{Bytes: 1 << 20, Messages: 7}
	for round := 0; ; round++ {
		ctx, cancel := context.WithCancel(t.Context())
		s.place.answer = func([]forward.Message) error {
			if rand.N(3) == 0 {
				cancel() // after this the batch arrives, and the follower dies before it may note it
			}
			return nil
		}
		err := s.follow(t).Catch(ctx)
		cancel()
		if err == nil {
			break
		}
		if round > 200 {
			t.Fatal("it never ends")
		}
	}
	if got := slices.Compact(slices.Sorted(slices.Values(s.place.got))); !slices.Equal(got, ids(0, 60)) {
		t.Errorf("got %v, want each at least once", got)
	}
	seen := map[string]bool{}
	newest := ""
	for _, id := range s.place.got {
		if !seen[id] && id < newest {
			t.Errorf("%s came first after %s", id, newest)
		}
		seen[id], newest = true, max(newest, id)
	}
}

// TestDown: a sink that is down is waited for, longer and longer, as long as it asks for, and nothing is left out.
func TestDown(t *testing.T) {
	s := newSetup(t, 5)
	tries := 0
	s.place.answer = func([]forward.Message) error {
		if tries++; tries == 3 {
			return wire.Retry(20*time.Minute, "busy")
		} else if tries < 14 {
			return errors.New("connection refused")
		}
		return nil
	}
	f := s.follow(t)
	if err := f.Catch(t.Context()); err != nil || !slices.Equal(s.place.got, ids(0, 5)) {
		t.Fatalf("Catch = %v with %v", err, s.place.got)
	}
	if len(s.pauses) != 13 || s.pauses[0] > time.Second || s.pauses[1] > 2*time.Second || s.pauses[1] < time.Second ||
		s.pauses[2] < 20*time.Minute || s.pauses[12] < 150*time.Second || s.pauses[12] > 5*time.Minute {
		t.Errorf("pauses = %v", s.pauses)
	}
	if stats := f.Stats(t.Context()); stats.Retries != 13 || stats.Aside != 0 || stats.LastError != "" || !strings.Contains(s.log.String(), "connection refused") {
		t.Errorf("Stats = %+v, log %s", stats, s.log.String())
	}
}

// TestPoison: one message that the sink never takes is found, put aside with its reason, counted, and the others arrive in
// order. Whether the sink names it or not.
func TestPoison(t *testing.T) {
	for name, at := range map[string]func(i int) int{"not named": func(int) int { return -1 }, "named": func(i int) int { return i }, "named wrongly": func(int) int { return 0 }} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t, 40)
			s.place.answer = func(batch []forward.Message) error {
				for i, m := range batch {
					if m.ID == "r-0013" || m.ID == "r-0031" {
						return wire.Refuse(at(i), "bad data")
					}
				}
				return nil
			}
			f := s.follow(t)
			if err := f.Catch(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := slices.DeleteFunc(ids(0, 40), func(id string) bool { return id == "r-0013" || id == "r-0031" })
			if name != "named wrongly" && !slices.Equal(s.place.got, want) {
				t.Errorf("got %v, want %v", s.place.got, want)
			}
			text, err := os.ReadFile(filepath.Join(s.dir, "soc.aside.jsonl"))
			if err != nil || strings.Count(string(text), "\n") != 2 || !strings.Contains(string(text), `"index":13,"id":"r-0013","reason":"bad data","data":{"id":"r-0013"`) {
				t.Errorf("aside = %s, %v", text, err)
			}
			if stats := f.Stats(t.Context()); stats.Aside != 2 || stats.LagRecords != 0 || len(s.pauses) != 0 {
				t.Errorf("Stats = %+v, pauses %v", stats, s.pauses)
			}
		})
	}
}

// TestAllRefused: a sink that refuses everything is set up wrongly: a few are put aside, then it waits, and goes on when
// it is repaired.
func TestAllRefused(t *testing.T) {
	s := newSetup(t, 50)
	s.place.answer = func([]forward.Message) error {
		if len(s.pauses) < 20 {
			return wire.Refuse(-1, "no such column")
		}
		return nil
	}
	f := s.follow(t)
	if err := f.Catch(t.Context()); err != nil || !slices.Equal(s.place.got, ids(8, 50)) {
		t.Fatalf("Catch = %v with %v", err, s.place.got)
	}
	if stats := f.Stats(t.Context()); stats.Aside != 8 || !strings.Contains(s.log.String(), "refuses everything") {
		t.Errorf("Stats = %+v, log %s", stats, s.log.String())
	}
}

// TestKinds: what no rule reads is not sent, and the saving counted; the cursor moves past it all the same.
func TestKinds(t *testing.T) {
	s := newSetup(t, 0)
	for i := range 30 {
		kind := "check-run.v1"
		if i%10 == 0 {
			kind = "native-refusal.v1"
		}
		s.ledger.Add(sinktest.Record(i, kind, `{"text":"0123456789"}`))
	}
	s.change = func(o *forward.Options) { o.Kinds = []string{"native-refusal.v1", "change.v1"} }
	f := s.follow(t)
	if err := f.Catch(t.Context()); err != nil || !slices.Equal(s.place.got, []string{"r-0000", "r-0010", "r-0020"}) {
		t.Fatalf("Catch = %v with %v", err, s.place.got)
	}
	if stats := f.Stats(t.Context()); stats.Skipped != 27 || stats.SkippedBytes != 27*21 || stats.LagRecords != 0 || stats.Next != 30 {
		t.Errorf("Stats = %+v", stats)
	}
	if err := s.follow(t).Catch(t.Context()); err != nil || len(s.place.got) != 3 {
		t.Errorf("after a restart: %v, got %v, want nothing more", err, s.place.got)
	}
}

// many makes as many messages of a record as its body's length says.
func many(r record.Record) (out []forward.Message, err error) {
	if strings.Contains(string(r.Body), "unreadable") {
		return nil, errors.New("it cannot be read")
	}
	for i := range len(r.Body) {
		out = append(out, forward.Message{ID: fmt.Sprintf("%s.%d", r.ID, i), Data: []byte(strings.Repeat("x", 10*(i+1)))})
	}
	return out, nil
}

// TestManyMessages: a record of more messages than a batch takes arrives whole, across restarts; one message larger than a
// batch and one record that cannot be formatted are put aside.
func TestManyMessages(t *testing.T) {
	s := newSetup(t, 0)
	s.ledger.Add(sinktest.Record(0, "a.v1", `{}`), sinktest.Record(1, "a.v1", `{"a":1234567}`), sinktest.Record(2, "a.v1", `{"unreadable":1}`), sinktest.Record(3, "a.v1", `{}`))
	s.place.limits = forward.Limits{Bytes: 125, Messages: 4}
	s.change = func(o *forward.Options) { o.Format = many }
	s.place.answer = func([]forward.Message) error { return nil }
	for round := 0; ; round++ {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		s.place.answer = func([]forward.Message) error {
			if n++; n == 2 {
				cancel()
				return ctx.Err()
			}
			return nil
		}
		err := s.follow(t).Catch(ctx)
		cancel()
		if err == nil {
			break
		}
		if round > 50 {
			t.Fatal("it never ends")
		}
	}
	want := []string{"r-0000.0", "r-0000.1"}
	for i := range 12 {
		want = append(want, fmt.Sprintf("r-0001.%d", i))
	}
	want = append(want, "r-0003.0", "r-0003.1")
	if !slices.Equal(s.place.got, want) {
		t.Errorf("got %v, want %v", s.place.got, want)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "soc.aside.jsonl"))
	if err != nil || strings.Count(string(text), "\n") != 2 || !strings.Contains(string(text), `"id":"r-0001.12","reason":"130 bytes; the sink takes 125"`) ||
		!strings.Contains(string(text), `"id":"r-0002","reason":"it cannot be read","data":{"id":"r-0002"`) {
		t.Errorf("aside = %s, %v", text, err)
	}
}

// TestForeign: a cursor on another ledger, a shorter one or a damaged file is refused: to go on would leave records out.
func TestForeign(t *testing.T) {
	s := newSetup(t, 10)
	if err := s.follow(t).Catch(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]int{"shorter": 3, "other": 20} {
		l := &sinktest.Ledger{}
		for i := range other {
			r := sinktest.Record(i, "change.v1", `{}`)
			r.ID = "x" + r.ID
			l.Add(r)
		}
		o := s.options()
		o.Source = l
		if _, err := forward.New(t.Context(), o); !errors.Is(err, forward.ErrForeignCursor) {
			t.Errorf("%s: New = %v, want ErrForeignCursor", name, err)
		}
	}
	path := filepath.Join(s.dir, "soc.cursor")
	whole, err := os.ReadFile(path)
	if err != nil || string(whole) != `{"sink":"soc","next":10,"message":0,"last":"r-0009"}`+"\n" {
		t.Fatalf("cursor = %s, %v", whole, err)
	}
	for _, damaged := range []string{"", "{", "null", `{"sink":"other","next":1,"message":0,"last":"r-0000"}`, `{"sink":"soc","next":3}`, string(whole[:20])} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := forward.New(t.Context(), s.options()); err == nil {
			t.Errorf("New with cursor %q = nil, want an error", damaged)
		}
	}
}

// TestRun: Run follows what is added, waits while ledger, disk or sink fail, ends with its context and closes the sink.
func TestRun(t *testing.T) {
	s := newSetup(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	wake := make(chan struct{}, 1)
	s.ledger.Fail(errors.New("disk on fire"))
	s.change = func(o *forward.Options) {
		o.Wake, o.Poll = wake, time.Hour
		o.Sleep = func(ctx context.Context, _ time.Duration) error {
			s.pauses = append(s.pauses, 0)
			switch len(s.pauses) {
			case 3:
				s.ledger.Fail(nil)
			case 6:
				_ = os.Remove(filepath.Join(s.dir, "soc.cursor"))
			}
			return ctx.Err()
		}
	}
	s.place.answer = func(batch []forward.Message) error {
		switch {
		case batch[0].ID == "r-0000" && len(s.pauses) == 3:
			// The cursor cannot be written from now on: a directory is in its place.
			if err := os.Mkdir(filepath.Join(s.dir, "soc.cursor"), 0o700); err != nil {
				t.Error(err)
			}
			s.ledger.Add(sinktest.Record(3, "change.v1", `{}`))
		case batch[len(batch)-1].ID == "r-0003":
			s.ledger.Add(sinktest.Record(4, "change.v1", `{}`))
			wake <- struct{}{}
		case batch[0].ID == "r-0004":
			cancel()
		}
		return nil
	}
	f := s.follow(t)
	if err := f.Run(ctx); err != nil || !slices.Equal(s.place.got, ids(0, 5)) || !s.place.closed {
		t.Errorf("Run = %v, got %v, closed %v", err, s.place.got, s.place.closed)
	}
	if len(s.pauses) != 6 || !strings.Contains(s.log.String(), "disk on fire") {
		t.Errorf("%d pauses, log %s", len(s.pauses), s.log.String())
	}
}

// TestMetrics: the lag, the saving and what was put aside can be read by a scraper.
func TestMetrics(t *testing.T) {
	s := newSetup(t, 3)
	s.ledger.Add(sinktest.Record(3, "check-run.v1", `{"a":1}`))
	s.change = func(o *forward.Options) { o.Kinds = []string{"native-refusal.v1"} }
	s.place.answer = func(batch []forward.Message) error {
		if batch[0].ID == "r-0001" {
			return errors.New("down")
		}
		return nil
	}
	s.place.limits = forward.Limits{Bytes: 1 << 20, Messages: 1}
	f := s.follow(t)
	if err := f.Catch(t.Context()); err == nil {
		t.Fatal("Catch = nil, want that it waits for ever")
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(forward.NewMetrics(f))
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range all {
		m := family.GetMetric()[0]
		got[strings.TrimPrefix(family.GetName(), "ringfence_forward_")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		if m.GetLabel()[0].GetValue() != "soc" {
			t.Errorf("labels = %v", m.GetLabel())
		}
	}
	for name, want := range map[string]float64{"lag_records": 3, "lag_seconds": 3599, "sent_total": 1, "retries_total": 101, "aside_total": 0} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
}

// TestPages: a ledger that is read a page at a time is followed whole, whatever the size of its pages; an error is told.
func TestPages(t *testing.T) {
	s := newSetup(t, 1000)
	broken := false
	s.change = func(o *forward.Options) {
		o.Source = forward.Pages{
			Count: func() uint64 { return 1000 },
			Page: func(ctx context.Context, from uint64, n int) (page []forward.Entry, err error) {
				if broken {
					return nil, errors.New("tile is gone")
				}
				for e := range s.ledger.Read(ctx, from) {
					if page = append(page, e); len(page) == min(n, 7) {
						break
					}
				}
				return page, nil
			},
		}
	}
	f := s.follow(t)
	if err := f.Catch(t.Context()); err != nil || !slices.Equal(s.place.got, ids(0, 1000)) {
		t.Fatalf("Catch = %v with %d", err, len(s.place.got))
	}
	if broken = true; f.Catch(t.Context()) == nil {
		t.Error("Catch of a broken ledger = nil, want an error")
	}
}

// TestPoisonNotInARow: however many messages are poison, as long as others are taken between, none holds up the rest.
func TestPoisonNotInARow(t *testing.T) {
	s := newSetup(t, 60)
	s.place.answer = func(batch []forward.Message) error {
		for i, m := range batch {
			if m.ID[len(m.ID)-1]%2 == 1 {
				return wire.Refuse(i, "odd")
			}
		}
		return nil
	}
	f := s.follow(t)
	if err := f.Catch(t.Context()); err != nil || len(s.place.got) != 30 || f.Stats(t.Context()).Aside != 30 || len(s.pauses) != 0 {
		t.Errorf("Catch = %v with %d taken, %+v, %d pauses", err, len(s.place.got), f.Stats(t.Context()), len(s.pauses))
	}
}
