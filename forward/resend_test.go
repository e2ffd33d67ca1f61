package forward_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/wire"
)

// putAside is a setup whose sink has refused some of its records.
func putAside(t *testing.T, records int, refused ...string) *setup {
	t.Helper()
	s := newSetup(t, records)
	s.place.answer = func(batch []forward.Message) error {
		for i, m := range batch {
			if slices.Contains(refused, m.ID) {
				return wire.Refuse(i, "too sour")
			}
		}
		return nil
	}
	if err := s.follow(t).Catch(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.place.got, s.place.answer = nil, nil
	return s
}

func (s *setup) resend(told *[]string, ids ...string) forward.Resend {
	return forward.Resend{Name: "soc", Source: s.ledger, Sink: s.place, Format: forward.Whole, Dir: s.dir, IDs: ids,
		Tell:  func(r forward.Resent) { *told = append(*told, fmt.Sprint(r.ID, " ", r.Index, " ", r.Err)) },
		Sleep: func(ctx context.Context, d time.Duration) error { s.pauses = append(s.pauses, d); return ctx.Err() }}
}

func (s *setup) asideFile(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "soc.aside.jsonl"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// TestResend: what is sent leaves the file, what is refused again or not chosen stays, byte for byte; a dry run changes nothing; a
// line that was cut off is kept and told of.
func TestResend(t *testing.T) {
	s := putAside(t, 40, "r-0003", "r-0017", "r-0030")
	file := s.asideFile(t)
	lines := strings.SplitAfter(file, "\n")
	var told []string
	dry := s.resend(&told)
	dry.DryRun = true
	if result, err := dry.Run(t.Context()); err != nil || result.Sent != 3 || len(s.place.got) != 0 || s.asideFile(t) != file {
		t.Fatalf("a dry run: %+v, %v; sent %v", result, err, s.place.got)
	}
	if result, err := s.resend(&told, "r-0017").Run(t.Context()); err != nil || result != (forward.ResendResult{Sent: 1, Left: 2}) || !slices.Equal(s.place.got, []string{"r-0017"}) || s.asideFile(t) != lines[0]+lines[2] {
		t.Fatalf("one: %+v, %v; sent %v; left %s", result, err, s.place.got, s.asideFile(t))
	}
	if err := os.WriteFile(filepath.Join(s.dir, "soc.aside.jsonl"), []byte(lines[0]+`{"time":"2026`+"\n"+lines[2]), 0o600); err != nil {
		t.Fatal(err)
	}
	s.place.got = nil
	s.place.answer = func(batch []forward.Message) error {
		if batch[0].ID == "r-0003" {
			return wire.Refuse(0, "still sour")
		}
		return nil
	}
	told = nil
	result, err := s.resend(&told).Run(t.Context())
	if err != nil || result != (forward.ResendResult{Sent: 1, Refused: 1, Unreadable: 1}) || !slices.Equal(told, []string{"r-0003 3 still sour", "r-0030 30 <nil>"}) || s.asideFile(t) != lines[0]+`{"time":"2026`+"\n" {
		t.Errorf("all: %+v, %v; told %q; left %s", result, err, told, s.asideFile(t))
	}
}

// TestResendDown: a sink that does not answer is tried three times, and nothing after; what was taken before does not come again.
func TestResendDown(t *testing.T) {
	s := putAside(t, 9, "r-0001", "r-0004", "r-0007")
	s.place.answer = func(batch []forward.Message) error {
		if batch[0].ID != "r-0001" {
			return wire.Retry(5*time.Second, "busy")
		}
		return nil
	}
	var told []string
	result, err := s.resend(&told).Run(t.Context())
	if err == nil || result != (forward.ResendResult{Sent: 1, Left: 2}) || s.place.batches == 0 || !slices.Equal(s.pauses, []time.Duration{5 * time.Second, 5 * time.Second}) || len(told) != 2 {
		t.Errorf("Run = %+v, %v; pauses %v; told %q", result, err, s.pauses, told)
	}
	s.place.answer, s.place.got = nil, nil
	if result, err := s.resend(&told).Run(t.Context()); err != nil || result.Sent != 2 || !slices.Equal(s.place.got, []string{"r-0004", "r-0007"}) || s.asideFile(t) != "" {
		t.Errorf("later: %+v, %v; sent %v", result, err, s.place.got)
	}
	if result, err := s.resend(&told).Run(t.Context()); err != nil || result != (forward.ResendResult{}) {
		t.Errorf("with nothing put aside: %+v, %v", result, err)
	}
}

// TestResendForeign: what was put aside of another ledger is not sent as something else.
func TestResendForeign(t *testing.T) {
	s := putAside(t, 9, "r-0001")
	other := newSetup(t, 1)
	var told []string
	r := s.resend(&told)
	r.Source = other.ledger
	if result, err := r.Run(t.Context()); err != nil || result.Refused != 1 || len(s.place.got) != 0 || !strings.Contains(told[0], "another ledger") {
		t.Errorf("Run = %+v, %v; told %q", result, err, told)
	}
}

// TestResendLongLine: a file with a line that is too long is left as it is.
func TestResendLongLine(t *testing.T) {
	s := putAside(t, 9, "r-0001")
	file := s.asideFile(t) + strings.Repeat("x", 17<<20) + "\n" + s.asideFile(t)
	if err := os.WriteFile(filepath.Join(s.dir, "soc.aside.jsonl"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	var told []string
	if result, err := s.resend(&told).Run(t.Context()); err == nil || result.Sent != 1 || s.asideFile(t) != file {
		t.Errorf("Run = %+v, %v; the file has %d bytes, want %d", result, err, len(s.asideFile(t)), len(file))
	}
}
