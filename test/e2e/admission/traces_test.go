package admission

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver takes spans by OTLP over HTTP.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex                 // guards traces
	traces map[string]map[string]bool // names of spans, by trace
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{traces: map[string]map[string]bool{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, in *http.Request) {
		body, err := io.ReadAll(in.Body)
		var got collector.ExportTraceServiceRequest
		if err := errors.Join(err, proto.Unmarshal(body, &got)); err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, of := range got.GetResourceSpans() {
			for _, in := range of.GetScopeSpans() {
				for _, span := range in.GetSpans() {
					id := fmt.Sprintf("%x", span.GetTraceId())
					if r.traces[id] == nil {
						r.traces[id] = map[string]bool{}
					}
					r.traces[id][span.GetName()] = true
				}
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// whole is nil once one trace leads from the API server's review to the ledger and the store.
func (r *receiver) whole() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, names := range r.traces {
		if names["admission review"] && names["judge"] && names["append to the ledger"] && names["add to the store"] {
			return nil
		}
	}
	return fmt.Errorf("%d traces: %v", len(r.traces), r.traces)
}

// facts is nil once the metrics on a socket say how old the Guards are, and that there are some.
func facts(socket string) error {
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	got, err := web.Get("http://ringfence/metrics")
	if err != nil {
		return err
	}
	defer got.Body.Close()
	all, err := io.ReadAll(got.Body)
	if text := string(all); err != nil || !strings.Contains(text, "\nringfence_cache_age_seconds{kind=\"Guard\"} ") || !strings.Contains(text, "\nringfence_guards ") ||
		strings.Contains(text, "\nringfence_guards 0\n") || !strings.Contains(text, "\nringfence_traces_sent_total ") {
		return fmt.Errorf("the metrics lack facts: %w", err)
	}
	return nil
}
