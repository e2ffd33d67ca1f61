package auditlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"ringfence.dev/ringfence/finding"
)

// listOf is the body of a batch of raw events.
func listOf(items ...string) string {
	return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.Join(items, ",") + `]}`
}

// plain is the least that is an event.
func plain(id, at string) string {
	return `{"auditID":"` + id + `","stage":"ResponseComplete","stageTimestamp":"` + at + `"}`
}

const noon = "2026-11-21T12:00:00.000000Z"

// TestDecode: what is read, what is skipped, and what ends a batch.
func TestDecode(t *testing.T) {
	a, b := plain("a", noon), plain("b", noon)
	broken := errors.New("broken pipe")
	for name, test := range map[string]struct {
		body           io.Reader
		good, bad      int
		want, wantLess error
	}{
		"two":                   {body: strings.NewReader(listOf(a, b)), good: 2},
		"none":                  {body: strings.NewReader(listOf())},
		"null":                  {body: strings.NewReader(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":null}`)},
		"no items":              {body: strings.NewReader(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1"}`)},
		"unknown fields":        {body: strings.NewReader(listOf(strings.Replace(a, "{", `{"new":{"a":[1]},`, 1))), good: 1},
		"malformed among good":  {body: strings.NewReader(listOf(a, `{"auditID":5}`, `7`, `null`, `{}`, b)), good: 2, bad: 4},
		"bad time":              {body: strings.NewReader(listOf(plain("a", "yesterday"))), bad: 1},
		"one byte at a time":    {body: iotest.OneByteReader(strings.NewReader(listOf(a, b))), good: 2},
		"empty":                 {body: strings.NewReader(""), want: ErrNotEventList},
		"not JSON":              {body: strings.NewReader("kind: EventList"), want: ErrNotEventList},
		"a list":                {body: strings.NewReader("[" + a + "]"), want: ErrNotEventList},
		"one event":             {body: strings.NewReader(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a"}`), want: ErrNotEventList},
		"wrong kind":            {body: strings.NewReader(`{"kind":"PodList","apiVersion":"v1","items":[` + a + `]}`), want: ErrNotEventList},
		"old version":           {body: strings.NewReader(strings.Replace(listOf(a), "/v1", "/v1beta1", 1)), want: ErrNotEventList},
		"items before the kind": {body: strings.NewReader(`{"items":[` + a + `],"kind":"EventList","apiVersion":"audit.k8s.io/v1"}`), want: ErrNotEventList},
		"items no list":         {body: strings.NewReader(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":{}}`), want: ErrNotEventList},
		"cut between events":    {body: strings.NewReader(listOf(a, b)[:len(listOf(a))-1]), good: 1, want: ErrNotEventList},
		"cut within an event":   {body: strings.NewReader(listOf(a, b)[:len(listOf(a))+9]), good: 1, want: ErrNotEventList},
		"more behind":           {body: strings.NewReader(listOf(a) + "{}"), good: 1, want: ErrNotEventList},
		"deep":                  {body: strings.NewReader(listOf(strings.Repeat("[", 100_000))), want: ErrNotEventList},
		"reader fails":          {body: io.MultiReader(strings.NewReader(listOf(a, b)[:len(listOf(a))]), iotest.ErrReader(broken)), good: 1, want: broken},
		"exactly 16 MiB":        {body: strings.NewReader(listOf(a) + strings.Repeat(" ", MaxBatch-len(listOf(a)))), good: 1},
		"16 MiB and a byte":     {body: strings.NewReader(listOf(a) + strings.Repeat(" ", MaxBatch-len(listOf(a))+1)), good: 1, want: ErrTooLarge, wantLess: ErrNotEventList},
		"too large for one": {body: strings.NewReader(listOf(a, strings.Replace(b, "{", `{"requestURI":"`+strings.Repeat("x", MaxBatch)+`",`, 1))),
			good: 1, want: ErrTooLarge, wantLess: ErrNotEventList},
	} {
		t.Run(name, func(t *testing.T) {
			var good, bad int
			err := Decode(test.body, func(_ Event, err error) {
				if err != nil {
					bad++
				} else {
					good++
				}
			})
			if good != test.good || bad != test.bad || !errors.Is(err, test.want) || test.want == nil && err != nil {
				t.Errorf("Decode = %d events, %d malformed, %v; want %d, %d, %v", good, bad, err, test.good, test.bad, test.want)
			}
			if test.wantLess != nil && errors.Is(err, test.wantLess) {
				t.Errorf("Decode = %v, want no %v", err, test.wantLess)
			}
		})
	}
}

// sink collects findings.
type sink struct {
	mu      sync.Mutex // guards what follows
	all     []finding.Finding
	changes []Change
	batches int
	fails   error
}

func (s *sink) add(_ context.Context, b Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return s.fails
	}
	for _, told := range b.Events {
		s.all = append(s.all, told.Findings...)
		if told.Change != nil {
			s.changes = append(s.changes, *told.Change)
		}
	}
	s.batches++
	return nil
}

// handler makes a Handler whose clock stands at half past two in the morning of the captured events.
func handler(t testing.TB) (*Handler, *sink) {
	t.Helper()
	var s sink
	now := time.Date(2026, 11, 21, 2, 30, 0, 0, time.UTC)
	h, err := NewHandler(Config{Knowledge: Knowledge{Find: catalogue(t), Action: guards}, Sink: s.add, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return h, &s
}

// post sends a body as an API server does and returns the status.
func post(h http.Handler, body []byte, change ...func(*http.Request)) int {
	r := httptest.NewRequest(http.MethodPost, "/audit?timeout=30s", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/events/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestHandlerTwice: delivered twice, an event counts once; two requests under one audit id count twice.
func TestHandlerTwice(t *testing.T) {
	h, s := handler(t)
	if last, ok := h.LastEvent(); ok {
		t.Errorf("LastEvent before the first = %v, want none", last)
	}
	body := read(t, "same-audit-id.json")
	for range 3 {
		if code := post(h, body); code != http.StatusOK {
			t.Fatalf("POST = %d, want 200", code)
		}
	}
	if len(s.all) != 2 {
		t.Errorf("%d findings, want 2", len(s.all))
	}
	want := Stats{Events: 2, Duplicates: 4, Batches: 3, Lateness: 68685883 * time.Microsecond}
	if got := h.Stats(); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
	if last, ok := h.LastEvent(); !ok || !last.Equal(time.Date(2026, 11, 21, 2, 28, 51, 329197000, time.UTC)) {
		t.Errorf("LastEvent = %v, %v, want that of the second event", last, ok)
	}
}

// TestHandlerOrder: an older batch after a newer one adds its findings and moves no time back.
func TestHandlerOrder(t *testing.T) {
	h, s := handler(t)
	post(h, read(t, "list.json"))
	before, _ := h.LastEvent()
	post(h, read(t, "refused.json"))
	post(h, []byte(listOf()))
	if after, _ := h.LastEvent(); !after.Equal(before) || len(s.all) != 2 {
		t.Errorf("LastEvent = %v with %d findings, want %v with 2", after, len(s.all), before)
	}
	post(h, []byte(listOf(plain("future", "2036-01-01T00:00:00Z"))))
	if last, _ := h.LastEvent(); !last.Equal(h.cfg.Now()) || h.Stats().Lateness != 0 {
		t.Errorf("LastEvent after an event of the future = %v, want now", last)
	}
}

// TestHandlerRefuses: what is not a batch, and what of it is kept.
func TestHandlerRefuses(t *testing.T) {
	good := read(t, "refused.json")
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(good); err != nil || z.Close() != nil {
		t.Fatal("gzip")
	}
	malformed := slices.Concat([]byte(listOf(`{"auditID":[]}`)[:len(listOf(`{"auditID":[]}`))-2]), []byte(","), good[bytes.IndexByte(good, '[')+1:])
	for name, test := range map[string]struct {
		body     []byte
		change   func(*http.Request)
		code     int
		findings int
	}{
		"good":                  {good, func(*http.Request) {}, 200, 1},
		"with a charset":        {good, func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") }, 200, 1},
		"malformed among good":  {malformed, func(*http.Request) {}, 200, 1},
		"GET":                   {good, func(r *http.Request) { r.Method = http.MethodGet }, 405, 0},
		"no content type":       {good, func(r *http.Request) { r.Header.Del("Content-Type") }, 415, 0},
		"YAML":                  {good, func(r *http.Request) { r.Header.Set("Content-Type", "application/yaml") }, 415, 0},
		"gzip":                  {zipped.Bytes(), func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 415, 0},
		"gzip that hides":       {zipped.Bytes(), func(*http.Request) {}, 400, 0},
		"empty":                 {nil, func(*http.Request) {}, 400, 0},
		"half":                  {good[:len(good)/2], func(*http.Request) {}, 400, 0},
		"another kind":          {bytes.Replace(good, []byte("EventList"), []byte("PodList"), 1), func(*http.Request) {}, 400, 0},
		"good and then 16 MiB":  {append(good, bytes.Repeat([]byte(" "), MaxBatch)...), func(*http.Request) {}, 413, 1},
		"length is not trusted": {good, func(r *http.Request) { r.ContentLength = MaxBatch + 1 }, 200, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h, s := handler(t)
			if code := post(h, test.body, test.change); code != test.code || len(s.all) != test.findings {
				t.Errorf("POST = %d with %d findings, want %d with %d", code, len(s.all), test.code, test.findings)
			}
			if st := h.Stats(); (st.Broken > 0) != (test.code == 400 || test.code == 413) {
				t.Errorf("Stats = %+v after %d", st, test.code)
			}
		})
	}
	if _, err := NewHandler(Config{}); err == nil {
		t.Error("NewHandler without sink and clock = nil, want an error")
	}
}

// TestHandlerMany: many batches at once, through real connections.
func TestHandlerMany(t *testing.T) {
	h, s := handler(t)
	server := httptest.NewServer(h)
	defer server.Close()
	names := []string{"refused.json", "list.json", "warned.json", "refused-six-controls.json"}
	var all sync.WaitGroup
	for range 8 {
		for _, name := range names {
			body := read(t, name)
			all.Go(func() {
				response, err := http.Post(server.URL, "application/json", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				defer response.Body.Close()
				if response.StatusCode != http.StatusOK {
					t.Errorf("POST = %d, want 200", response.StatusCode)
				}
			})
		}
	}
	all.Wait()
	// An event is known once it is kept, so one that is in two batches at once is told twice: whoever keeps it knows it by its id.
	if st := h.Stats(); st.Batches != 32 || st.Events < 5 || st.Events+st.Duplicates != 40 || len(s.all) < 9 {
		t.Errorf("Stats = %+v with %d findings, want 32 batches, 40 events and duplicates, 5 events and 9 findings or more", st, len(s.all))
	}
}

// TestSeenForgets: the memory of events is bounded and forgets the oldest first.
func TestSeenForgets(t *testing.T) {
	var s seen
	event := func(i int) Event { return Event{AuditID: "x", ResponseStatus: &ResponseStatus{Code: i}} }
	again := func(e Event) bool {
		key, _ := eventKey(e)
		known := s.has(key)
		s.add(key)
		return known
	}
	for i := range maxSeen + 1 {
		if again(event(i)) {
			t.Fatalf("again(%d) = true, want false", i)
		}
	}
	if !again(event(1)) || again(event(0)) || !again(event(maxSeen)) || len(s.known) != maxSeen || len(s.ring) != maxSeen {
		t.Errorf("remembers %d and %d events, want %d, the oldest forgotten", len(s.known), len(s.ring), maxSeen)
	}
}

// FuzzDecode: no bytes make reading panic, and every finding made of any bytes is one clean, bounded line.
func FuzzDecode(f *testing.F) {
	files, err := os.ReadDir("testdata/events")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add(read(f, file.Name()))
	}
	know := Knowledge{Find: catalogue(f), Action: guards}
	f.Fuzz(func(t *testing.T, body []byte) {
		_ = Decode(bytes.NewReader(body), func(e Event, err error) {
			if err != nil {
				return
			}
			for _, g := range Findings(e, know) {
				if g.Outcome == "" || len(g.Message) > maxMessage || g.Message != clean(g.Message, maxMessage) || g.Observed == nil || (g.Outcome == finding.Errored) != (g.Reason != nil) {
					t.Errorf("finding = %+v", g)
				}
				for _, s := range []string{g.Found, g.Path, g.Title, g.Wanted, g.Fix, g.Subject.Name, g.Subject.Kind, g.Observed.User} {
					if s != clean(s, maxName) {
						t.Errorf("%q is not clean", s)
					}
				}
				if _, err := json.Marshal(g); err != nil {
					t.Error(err)
				}
			}
		})
	})
}

// TestHandlerUnkept: what cannot be kept is answered 503 with Retry-After, is no duplicate when it comes again, and counts once.
func TestHandlerUnkept(t *testing.T) {
	h, s := handler(t)
	s.fails = errors.New("disk full")
	body := read(t, "refused.json")
	r := httptest.NewRequest(http.MethodPost, "/audit", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "disk") {
		t.Errorf("POST = %d, Retry-After %q, %s; want 503 that says when, and not why", w.Code, w.Header().Get("Retry-After"), w.Body)
	}
	s.fails = nil
	for range 2 {
		if code := post(h, body); code != http.StatusOK {
			t.Errorf("POST = %d, want 200", code)
		}
	}
	if st := h.Stats(); st.Unkept != 1 || st.Events != 1 || st.Duplicates != 1 || len(s.all) != 1 || s.batches != 2 {
		t.Errorf("Stats = %+v with %d findings of %d batches, want 1 unkept, 1 event, 1 duplicate, 1 finding", st, len(s.all), s.batches)
	}
}

// TestChangeOf: whose writes are changes of rules, and which are none.
func TestChangeOf(t *testing.T) {
	event := func(verb, group, resource, name, more string) string {
		return `{"auditID":"` + name + verb + `","stage":"ResponseComplete","stageTimestamp":"` + noon + `","verb":"` + verb + `","user":{"username":"jane"},` + more +
			`"objectRef":{"resource":"` + resource + `","name":"` + name + `","apiGroup":"` + group + `","apiVersion":"v1"}}`
	}
	ok := `"responseStatus":{"code":200},`
	const own, admission, kinds = "ringfence.dev", "admissionregistration.k8s.io", "apiextensions.k8s.io"
	for body, want := range map[string]string{
		event("create", own, "tenants", "a", `"responseStatus":{"code":201},`):                                 "CREATE Tenant a by jane",
		event("patch", own, "platforms", "platform", ok):                                                       "UPDATE Platform platform by jane",
		event("update", own, "guards", "guard", ok):                                                            "UPDATE Guard guard by jane",
		event("delete", admission, "validatingadmissionpolicies", "ringfence-a-deny", ok):                      "DELETE ValidatingAdmissionPolicy ringfence-a-deny by jane",
		event("deletecollection", admission, "validatingadmissionpolicybindings", "", ok):                      "DELETE ValidatingAdmissionPolicyBinding  by jane",
		event("delete", admission, "validatingadmissionpolicies", "other", ok):                                 "",
		event("delete", kinds, "customresourcedefinitions", "waivers.ringfence.dev", ok):                       "DELETE CustomResourceDefinition waivers.ringfence.dev by jane",
		event("deletecollection", kinds, "customresourcedefinitions", "", ok):                                  "DELETE CustomResourceDefinition  by jane",
		event("delete", kinds, "customresourcedefinitions", "waivers.example.com", ok):                         "",
		event("delete", kinds, "customresourcedefinitions", "waivers.notringfence.dev", ok):                    "",
		event("get", own, "tenants", "a", ok):                                                                  "",
		event("create", own, "tenants", "a", `"responseStatus":{"code":403},`):                                 "",
		event("patch", own, "tenants", "a", ok+`"requestURI":"/apis?dryRun=All",`):                             "",
		strings.Replace(event("patch", own, "tenants", "a", ok), `"name"`, `"subresource":"status","name"`, 1): "",
		event("create", "", "pods", "a", ok):                                                                   "",
	} {
		h, s := handler(t)
		post(h, []byte(listOf(body)))
		got := ""
		for _, c := range s.changes {
			got = c.Observed.Operation + " " + c.Subject.Kind + " " + c.Subject.Name + " by " + c.Observed.User
		}
		if got != want {
			t.Errorf("%s\ntells %q, want %q", body, got, want)
		}
	}
}
