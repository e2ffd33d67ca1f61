// Package sinktest holds what the tests of sinks share: a ledger in memory, messages, files, and the suite of bad answers
// that every sink over HTTP must stand. Only tests import it.
package sinktest

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/record"
)

// Noon is when everything happens.
func Noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

// Ledger is a forward.Source in memory. It is safe for many goroutines.
type Ledger struct {
	mu  sync.Mutex // guards all
	all []record.Record
	err error
}

var _ forward.Source = (*Ledger)(nil)

// Add appends records.
func (l *Ledger) Add(rs ...record.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, rs...)
}

// Fail makes the ledger answer an error; nil makes it well again.
func (l *Ledger) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// Read implements forward.Source.
func (l *Ledger) Read(_ context.Context, from uint64) iter.Seq2[forward.Entry, error] {
	return func(yield func(forward.Entry, error) bool) {
		for i := from; ; i++ {
			l.mu.Lock()
			err, n := l.err, uint64(len(l.all))
			var e forward.Entry
			if i < n {
				e = forward.Entry{Index: i, Record: l.all[i]}
			}
			l.mu.Unlock()
			if err != nil {
				yield(forward.Entry{}, err)
				return
			}
			if i >= n || !yield(e, nil) {
				return
			}
		}
	}
}

// Size implements forward.Source.
func (l *Ledger) Size(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.all)), l.err
}

// Record is a record of a kind with a body, the n-th of its producer.
func Record(n int, kind, body string) record.Record {
	return record.Record{
		ID: fmt.Sprintf("r-%04d", n), Cluster: "prod-1", Producer: "audit", Seq: uint64(n + 1), Time: Noon().Add(time.Duration(n) * time.Second),
		Kind: kind, CatalogueDigest: "sha256:" + strings.Repeat("a", 64), Body: []byte(body),
	}
}

// Batch is n messages of JSON.
func Batch(n int) (out []forward.Message) {
	for i := range n {
		out = append(out, forward.Message{
			ID: fmt.Sprintf("r-%04d", i), Kind: "native-refusal.v1", Cluster: "prod-1", Time: Noon(), Severity: 3,
			Data: fmt.Appendf(nil, `{"n":%d,"text":"<b> & = | \\ é"}`, i),
		})
	}
	return out
}

// File writes a file for the test and returns its name.
func File(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// CA writes the certificate that a server is to be trusted by.
func CA(t testing.TB, server *httptest.Server) string {
	t.Helper()
	return File(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
}

// Fault is the fault in what Send returned; it ends the test where there is none.
func Fault(t testing.TB, err error) *forward.Fault {
	t.Helper()
	var fault *forward.Fault
	if !errors.As(err, &fault) {
		t.Fatalf("Send = %v, want a fault", err)
	}
	return fault
}

// Secret must never be seen in an error.
const Secret = "s3cr3t-that-nobody-may-see"

// bad is an answer that is no acknowledgement, and what it must be taken for.
type bad struct {
	answer  http.HandlerFunc
	refused bool
	after   time.Duration
}

// status answers a status with headers, and with a body that repeats the secret, as some servers do.
func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(`{"error":{"message":"` + Secret + `"}}`))
	}
}

// bads are the answers; elsewhere is another host.
func bads(elsewhere string) map[string]bad {
	return map[string]bad{
		"busy":           {answer: status(429, "Retry-After", "17"), after: 17 * time.Second},
		"busy, no time":  {answer: status(429)},
		"busy, no sense": {answer: status(429, "Retry-After", "-5")},
		"500":            {answer: status(500)},
		"503":            {answer: status(503, "Retry-After", "3"), after: 3 * time.Second},
		"401":            {answer: status(401)},
		"403":            {answer: status(403)},
		"404":            {answer: status(404)},
		"too large":      {answer: status(413), refused: true},
		"redirect":       {answer: status(307, "Location", elsewhere)},
		"moved":          {answer: status(301, "Location", elsewhere)},
		"connection cut": {answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"half a body": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "900")
			w.WriteHeader(500)
			_, _ = w.Write([]byte(`{"te`))
		}},
		"endless body": {answer: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(502)
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}},
		"silence": {answer: func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}},
	}
}

// HTTP throws bad answers at a sink over HTTP. serve starts a fake that answers the batch itself with bad, and all else, a
// token or an acknowledgement, well; it returns a sink set up for it with Secret as its secret.
func HTTP(t *testing.T, serve func(t *testing.T, bad http.HandlerFunc) forward.Sink) {
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed, with credentials %q", r.Header)
	}))
	t.Cleanup(elsewhere.Close)
	for name, test := range bads(elsewhere.URL) {
		t.Run(name, func(t *testing.T) {
			sink := serve(t, test.answer)
			defer sink.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			fault := Fault(t, sink.Send(ctx, Batch(3)))
			if fault.Refused != test.refused || fault.After != test.after {
				t.Errorf("Send = refused %v after %s (%v); want %v after %s", fault.Refused, fault.After, fault, test.refused, test.after)
			}
			if strings.Contains(fault.Error(), Secret) {
				t.Errorf("the error holds the secret: %v", fault)
			}
		})
	}
}

// Serve starts a fake over TLS that ends with the test and logs nothing.
func Serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}
