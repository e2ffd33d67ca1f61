package ledger

import (
	"errors"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
)

// maxReaders is how many files a Handler reads at once, of at most 16 MiB each; more are told to come back.
const maxReaders = 8

// Handler serves a ledger read-only as C2SP tlog-tiles does: /checkpoint, /tile/<level>/<number>[.p/<width>],
// /tile/entries/<number>[.p/<width>] and /keyring. Only what the checkpoint counts is served. It does not authenticate:
// entries tell what happened in the bank, so who serves it does. l is an open ledger.
func Handler(l *Log) http.Handler {
	free := make(chan struct{}, maxReaders)
	source := l.Source()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "want GET", http.StatusMethodNotAllowed)
			return
		}
		select {
		case free <- struct{}{}:
			defer func() { <-free }()
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many readers at once", http.StatusServiceUnavailable)
			return
		}
		path := strings.TrimPrefix(r.URL.Path, "/")
		switch path {
		case checkpointFile:
			text(w, l.Checkpoint())
			return
		case keyringFile:
			text(w, l.Keyring().text())
			return
		}
		level, n, have, err := parseTilePath(path)
		if err != nil || filled(int64(l.Size()), level, n) < have {
			http.Error(w, "the checkpoint counts no such tile", http.StatusNotFound)
			return
		}
		data, err := source(r.Context(), path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			http.Error(w, "there is no such tile", http.StatusNotFound)
		case err != nil:
			http.Error(w, "the tile cannot be read", http.StatusInternalServerError)
		default:
			// A tile never changes, not even one that is not full: its width is part of its name.
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			_, _ = w.Write(data) // the caller has gone; there is nobody to tell
		}
	})
}

// text answers a file that changes.
func text(w http.ResponseWriter, data []byte) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(data) // the caller has gone; there is nobody to tell
}
