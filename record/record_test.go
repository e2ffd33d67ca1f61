package record_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// seen is a finding of a control in a namespace, minutes before noon.
func seen(id, namespace string, minutes int) finding.Finding {
	return finding.Finding{
		Control: id, Outcome: finding.Fail, Subject: finding.Subject{Kind: "Pod", Namespace: namespace},
		Observed: &finding.Observed{Time: noon.Add(-time.Duration(minutes) * time.Minute), Door: "apiserver"},
	}
}

// names is what most cases ask of findings.
func names(fs []finding.Finding) string {
	var out []string
	for _, f := range fs {
		out = append(out, f.Control+"@"+f.Subject.Namespace)
	}
	return strings.Join(out, " ")
}

// TestSince: by time of the request and not of arrival, oldest first, filtered.
func TestSince(t *testing.T) {
	m := record.NewMemory(0)
	m.Add([]finding.Finding{seen("RF-WL-03", "a", 1), seen("RF-WL-01", "b", 30)})
	m.Add(nil)
	m.Add([]finding.Finding{seen("RF-WL-04", "pay-dev", 40), seen("RF-WL-04", "pay-roll-dev", 40)})
	m.Add([]finding.Finding{seen("RF-WL-01", "a", 5), seen("RF-WL-02", "a", 5), {Control: "RF-NW-08"}})
	for _, test := range []struct {
		since  time.Time
		filter record.Filter
		want   string
	}{
		{time.Time{}, record.Filter{}, "RF-NW-08@ RF-WL-04@pay-dev RF-WL-04@pay-roll-dev RF-WL-01@b RF-WL-01@a RF-WL-02@a RF-WL-03@a"},
		{noon.Add(-5 * time.Minute), record.Filter{}, "RF-NW-08@ RF-WL-01@a RF-WL-02@a RF-WL-03@a"},
		{noon, record.Filter{Namespace: "a"}, ""},
		{time.Time{}, record.Filter{Namespaces: []string{"b", "pay-dev"}}, "RF-WL-04@pay-dev RF-WL-01@b"},
		{time.Time{}, record.Filter{Namespaces: []string{}}, ""},
		{time.Time{}, record.Filter{Control: "RF-WL-01"}, "RF-WL-01@b RF-WL-01@a"},
		{time.Time{}, record.Filter{Control: "RF-WL-01", Namespace: "a"}, "RF-WL-01@a"},
		{time.Time{}, record.Filter{Namespace: "c"}, ""},
		{time.Time{}, record.Filter{Tenant: "a"}, ""},
		{time.Time{}, record.Filter{Tenant: "pay"}, "RF-WL-04@pay-dev"},
	} {
		if got := names(m.Since(test.since, test.filter)); got != test.want {
			t.Errorf("Since(%v, %+v) = %s, want %s", test.since, test.filter, got, test.want)
		}
	}
}

// TestOverflow: the oldest makes room, is counted, and the answer stays a copy.
func TestOverflow(t *testing.T) {
	m := record.NewMemory(3)
	for i := range 7 {
		m.Add([]finding.Finding{seen(fmt.Sprintf("RF-WL-%02d", i), "a", 10-i)})
	}
	got := m.Since(time.Time{}, record.Filter{})
	if names(got) != "RF-WL-04@a RF-WL-05@a RF-WL-06@a" || m.Dropped() != 4 {
		t.Errorf("Since = %s with %d dropped, want the last three and 4", names(got), m.Dropped())
	}
	got[0].Control = "changed"
	if again := m.Since(time.Time{}, record.Filter{}); names(again) != "RF-WL-04@a RF-WL-05@a RF-WL-06@a" {
		t.Errorf("Since after its answer was changed = %s", names(again))
	}
}

// TestMany adds and asks from many goroutines.
func TestMany(t *testing.T) {
	m := record.NewMemory(100)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				m.Add([]finding.Finding{seen("RF-WL-01", "a", 1)})
				if n := len(m.Since(time.Time{}, record.Filter{})); n == 0 || n > 100 {
					t.Errorf("Since = %d findings, want 1 to 100", n)
				}
			}
		})
	}
	all.Wait()
	if m.Dropped() != 300 {
		t.Errorf("Dropped = %d, want 300", m.Dropped())
	}
}

// serve serves a Memory at noon.
func serve(t *testing.T, m *record.Memory, observed func() (time.Time, bool)) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(record.Handler(record.FromMemory(m, observed), func() time.Time { return noon }))
	t.Cleanup(server.Close)
	return server
}

func never() (time.Time, bool) { return time.Time{}, false }

// TestFetch asks a Handler: nothing observed, something, and filtered.
func TestFetch(t *testing.T) {
	m := record.NewMemory(2)
	observed := never
	server := serve(t, m, func() (time.Time, bool) { return observed() })
	got, err := record.Fetch(t.Context(), server.Client(), server.URL, record.Query{Since: 10 * time.Minute})
	if want := (record.Answer{SchemaVersion: finding.SchemaVersion, Findings: []finding.Finding{}, From: "memory", Unknown: []record.Gap{}}); err != nil || !cmp.Equal(got, want) {
		t.Errorf("Fetch of nothing = %+v, %v, want %+v", got, err, want)
	}
	m.Add([]finding.Finding{seen("RF-WL-01", "a", 1), seen("RF-WL-02", "a", 60), seen("RF-WL-03", "b", 2)})
	observed = func() (time.Time, bool) { return noon.In(time.FixedZone("", 3600)), true }
	for _, test := range []struct {
		q    record.Query
		want []finding.Finding
	}{
		{record.Query{}, []finding.Finding{seen("RF-WL-02", "a", 60), seen("RF-WL-03", "b", 2)}},
		{record.Query{Since: 10 * time.Minute}, []finding.Finding{seen("RF-WL-03", "b", 2)}},
		{record.Query{Filter: record.Filter{Namespace: "a", Control: "RF-WL-02"}}, []finding.Finding{seen("RF-WL-02", "a", 60)}},
	} {
		got, err := record.Fetch(t.Context(), server.Client(), server.URL+"/", test.q)
		want := record.Answer{SchemaVersion: finding.SchemaVersion, Findings: test.want, Observed: record.Source{LastEvent: &noon}, Dropped: 1, From: "memory", Unknown: []record.Gap{}}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Fetch(%+v): %v (-want +got):\n%s", test.q, err, diff)
		}
	}
}

// TestHandlerJSON: the contract's own keys, absent is null, none is an empty list.
func TestHandlerJSON(t *testing.T) {
	server := serve(t, record.NewMemory(0), never)
	response, err := server.Client().Get(server.URL + "/findings?since=10m&namespace=&control=")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	const want = `{"schemaVersion":"ringfence.dev/findings/v1","findings":[],"observed":{"lastEvent":null,"since":null},"dropped":0,"from":"memory","behind":0,"next":"","unknown":[]}` + "\n"
	if err != nil || string(body) != want || response.Header.Get("Content-Type") != "application/json" {
		t.Errorf("GET = %s, %v, want %s", body, err, want)
	}
}

// TestHandlerRefuses: each bad parameter is one line of JSON.
func TestHandlerRefuses(t *testing.T) {
	handler := record.Handler(record.FromMemory(record.NewMemory(0), never), func() time.Time { return noon })
	for _, test := range []struct {
		method, target string
		code           int
	}{
		{"GET", "/findings?since=", 400},
		{"GET", "/findings?since=10", 400},
		{"GET", "/findings?since=-1m", 400},
		{"GET", "/findings?since=0s", 400},
		{"GET", "/findings?since=9999999h", 400},
		{"GET", "/findings?since=1m&since=2m", 400},
		{"GET", "/findings?namespace=A", 400},
		{"GET", "/findings?namespace=a%0Ab", 400},
		{"GET", "/findings?namespace=" + strings.Repeat("a", 64), 400},
		{"GET", "/findings?control=RF-WL-1", 400},
		{"GET", "/findings?control=all", 400},
		{"GET", "/findings?tenant=A", 400},
		{"GET", "/findings?request=a%20b", 400},
		{"GET", "/findings?request=" + strings.Repeat("a", 65), 400},
		{"GET", "/findings?severity=a", 400},
		{"GET", "/findings?source=moon", 400},
		{"GET", "/findings?source=admission", 400}, // memory has none
		{"GET", "/findings?source=scan&state=shut", 400},
		{"GET", "/findings?state=open", 400},
		{"GET", "/findings?after=1.2.3", 400},
		{"GET", "/findings?since=%zz", 400},
		{"POST", "/findings", 405},
		{"GET", "/", 404},
		{"GET", "/findings/", 404},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(test.method, test.target, nil))
		var body struct{ Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &body); w.Code != test.code || err != nil || body.Error == "" || strings.Count(w.Body.String(), "\n") != 1 {
			t.Errorf("%s %s = %d %q, want %d and one line that says why", test.method, test.target, w.Code, w.Body, test.code)
		}
	}
}

// TestFetchFails: an error of the other side, another version, no JSON, silence, and nobody there.
func TestFetchFails(t *testing.T) {
	answer := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    error
	}{
		"refused":         {record.Handler(record.FromMemory(record.NewMemory(0), never), time.Now).ServeHTTP, record.ErrRefused},
		"proxy":           {answer(502, "<html>"), record.ErrRefused},
		"escape sequence": {answer(400, `{"error":"\u001b[2J"}`), record.ErrRefused},
		"another version": {answer(200, `{"schemaVersion":"ringfence.dev/findings/v2"}`), nil},
		"no JSON":         {answer(200, "hello"), nil},
		"half":            {answer(200, `{"schemaVersion":"ringfence.dev/findings/v1","findings":[`), nil},
		"silence":         {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			defer server.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err := record.Fetch(ctx, server.Client(), server.URL, record.Query{Filter: record.Filter{Control: "no id"}})
			if err == nil || test.want != nil && !errors.Is(err, test.want) || strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("Fetch = %v, want %v", err, test.want)
			}
		})
	}
	server := httptest.NewServer(nil)
	server.Close()
	if _, err := record.Fetch(t.Context(), server.Client(), server.URL, record.Query{}); err == nil {
		t.Error("Fetch from nobody = nil, want an error")
	}
}
