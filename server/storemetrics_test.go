package server

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store"
)

// TestStoreStatus: the socket tells how far the store is filled and how large it is; what is too old for its kind leaves the store
// and not the ledger; a store that cannot be used is told of, with all that it lacks.
func TestStoreStatus(t *testing.T) {
	dir, err := os.MkdirTemp("", "rf") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg := Config{Socket: filepath.Join(dir, "s"), Evidence: filepath.Join(dir, "evidence"), StoreKeep: store.Retention{"change.v1": time.Hour}}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", cfg.Socket)
	}}}
	ask := func() (StoreStatus, uint64, string) {
		t.Helper()
		response, err := client.Get("http://ringfence/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		status, err := FetchStatus(t.Context(), client, "http://ringfence")
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%v, status %d: %s", err, response.StatusCode, text)
		}
		return status.Store, status.Size, string(text)
	}
	start := func() (*Server, func()) {
		t.Helper()
		s, err := New(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s, startEvidence(t, s)
	}
	s, stop := start()
	long := time.Now().Add(-2 * time.Hour)
	for _, r := range []record.Record{gap("a"), {ID: "old", Kind: "change.v1", Time: long, Body: json.RawMessage(`{}`)}, {ID: "new", Kind: "change.v1", Time: time.Now(), Body: json.RawMessage(`{}`)}} {
		if err := s.evidence.queue.Put(t.Context(), "bundles", r); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the store holds all", func() bool {
		status, size, _ := ask()
		return size >= 3 && status.Next == size && status.LagEntries == 0 && status.Bytes > 4096 && status.LastError == ""
	})
	if _, _, text := ask(); !strings.Contains(text, "\nringfence_store_lag_entries 0\n") || !strings.Contains(text, "\nringfence_store_failing 0\n") || strings.Contains(text, "\nringfence_store_bytes 0\n") {
		t.Errorf("the metrics hold\n%s", text)
	}
	stop()
	s, stop = start() // it is at the start, and then every hour, that what is too old leaves
	eventually(t, "what is too old leaves the store", func() bool {
		horizons, err := s.evidence.answers.store.Horizons(t.Context())
		return err == nil && len(horizons) == 1 && horizons[0].Kind == "change.v1"
	})
	stop()
	path := filepath.Join(cfg.Evidence, "store.db")
	if err := os.WriteFile(path, []byte("truncated"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop = start()
	defer stop()
	status, size, text := ask()
	if status.LagEntries != size || status.LagSeconds <= 0 || status.LastError == "" || status.Failures != 1 || !strings.Contains(text, "\nringfence_store_failing 1\n") {
		t.Errorf("with a truncated store: %+v of %d entries", status, size)
	}
}
