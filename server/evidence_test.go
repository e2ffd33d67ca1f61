package server

import (
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/jsonfile"
	"ringfence.dev/ringfence/record"
)

// archive is a sink that writes records as they are to a file.
func archive(t testing.TB, path string, kinds ...string) forward.Opened {
	t.Helper()
	sink, err := jsonfile.New(jsonfile.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return forward.Opened{Common: forward.Common{Name: "archive", Type: "file", Kinds: kinds}, Sink: sink, Make: forward.Whole}
}

// gap is a record.
func gap(id string) record.Record {
	return record.Record{ID: id, Kind: "policy-gap.v1", Body: json.RawMessage(`{"what":"missing"}`)}
}

// eventually waits for what happens soon.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within 20 s", what)
		}
	}
}

// startEvidence runs the road of records until the test stops it.
func startEvidence(t testing.TB, s *Server) (stop func()) {
	t.Helper()
	s.running.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.evidence.run(ctx) }()
	for _, l := range s.listeners {
		go func() { _ = l.server.Serve(l) }()
	}
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.Close()
	}
}

// TestSinksAndWitnesses: what is recorded comes to a sink, once by id over a restart, and its checkpoint to a folder; the
// socket tells of both, and of what the kinds filter saved.
func TestSinksAndWitnesses(t *testing.T) {
	dir, err := os.MkdirTemp("", "rf") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	out, outside := filepath.Join(dir, "out.jsonl"), filepath.Join(dir, "outside")
	for round := range 2 {
		cfg := Config{Socket: filepath.Join(dir, "s"), Evidence: filepath.Join(dir, "evidence"), Sinks: []forward.Opened{archive(t, out, "policy-gap.v1")}, Witnesses: []string{"folder:" + outside}}
		s, err := New(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		stop := startEvidence(t, s)
		for _, id := range []string{"a", "b"} {
			if err := s.evidence.queue.Put(t.Context(), "bundles", gap(id+string(rune('0'+round)))); err != nil {
				t.Fatal(err)
			}
		}
		change := record.Record{ID: "c", Kind: "change.v1", Body: json.RawMessage(`{}`)}
		if err := s.evidence.queue.Put(t.Context(), "audit", change); err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", cfg.Socket)
		}}}
		eventually(t, "the sink's last record", func() bool {
			got, err := FetchStatus(t.Context(), client, "http://ringfence")
			return err == nil && len(got.Sinks) == 1 && got.Sinks[0].LagRecords == 0 && got.Sinks[0].Sent == 2 &&
				(round > 0 || got.Sinks[0].Skipped == 2 && got.Sinks[0].SkippedBytes > 2) && len(got.Witnesses) == 1
		})
		stop()
	}
	text, err := os.ReadFile(out)
	var ids []string
	for line := range strings.Lines(string(text)) {
		var r record.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	if err != nil || strings.Join(ids, " ") != "a0 b0 a1 b1" {
		t.Errorf("the sink has %v, %v; want a0 b0 a1 b1", ids, err)
	}
	n := 0
	_ = filepath.WalkDir(outside, func(path string, _ fs.DirEntry, _ error) error {
		if strings.HasSuffix(path, ".checkpoint") {
			n++
		}
		return nil
	})
	if n == 0 {
		t.Error("no checkpoint was published in the folder")
	}
}

// TestPlaces: what names a place, and what does not.
func TestPlaces(t *testing.T) {
	for text, want := range map[string]place{
		"folder:/srv/checkpoints":              {folder: "/srv/checkpoints"},
		"git:/srv/c":                           {git: "/srv/c"},
		"git:/srv/c#git@host.example:a/b.git":  {git: "/srv/c", remote: "git@host.example:a/b.git"},
		"https://witness.bank.example/witness": {url: "https://witness.bank.example/witness"},
		"http://127.0.0.1:8080":                {url: "http://127.0.0.1:8080"},
		"s3:bank-evidence/prod":                {bucket: "bank-evidence/prod"},
		"":                                     {}, "s3:": {}, "folder:": {}, "git:": {}, "git:a#": {}, "git:a#--upload-pack=x": {}, "http://witness.example": {}, "https://a:b@host/": {}, "ftp://host": {}, "https://": {},
	} {
		got, err := parsePlace(text)
		if got != want || (err != nil) != (want == place{}) {
			t.Errorf("parsePlace(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
}
