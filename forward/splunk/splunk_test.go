package splunk_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/splunk"
	"ringfence.dev/ringfence/internal/sinktest"
)

const channel = "11111111-2222-4333-8444-555555555555"

// collector is Splunk's side of the documented contract.
type collector struct {
	t      *testing.T
	event  http.HandlerFunc // in place of taking the batch; nil takes it
	events []map[string]any
	acks   []string // the answers about the acknowledgement, the last for ever
	asked  int
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Splunk "+sinktest.Secret || r.Header.Get("X-Splunk-Request-Channel") != channel || r.Method != http.MethodPost {
		c.t.Errorf("%s %s with header %v", r.Method, r.URL, r.Header)
	}
	switch r.URL.Path {
	case "/services/collector/event":
		if c.event != nil {
			c.event(w, r)
			return
		}
		dec := json.NewDecoder(r.Body)
		for {
			var e map[string]any
			if err := dec.Decode(&e); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				c.t.Errorf("the batch is no sequence of JSON: %v", err)
				break
			}
			c.events = append(c.events, e)
		}
		fmt.Fprint(w, `{"text":"Success","code":0,"ackId":7}`)
	case "/services/collector/ack":
		body, _ := io.ReadAll(r.Body)
		if string(body) != `{"acks":[7]}` || r.URL.Query().Get("channel") != channel {
			c.t.Errorf("asked %s %s", r.URL, body)
		}
		answer := c.acks[min(c.asked, len(c.acks)-1)]
		c.asked++
		fmt.Fprint(w, answer)
	default:
		http.NotFound(w, r)
	}
}

func open(t *testing.T, c *collector, change ...func(*splunk.Config)) forward.Sink {
	t.Helper()
	server := sinktest.Serve(t, c.ServeHTTP)
	cfg := splunk.Config{URL: server.URL, TokenFile: sinktest.File(t, sinktest.Secret+"\n"), Channel: channel, AckInterval: time.Millisecond, AckTimeout: 300 * time.Millisecond}
	cfg.TLS.CAFile = sinktest.CA(t, server)
	for _, c := range change {
		c(&cfg)
	}
	sink, err := splunk.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

// TestSend: events in the collector's form; taken once the indexers say so and not before.
func TestSend(t *testing.T) {
	c := &collector{t: t, acks: []string{`{"acks":{"7":false}}`, `half`, `{"acks":{"7":false}}`, `{"acks":{"7":true}}`}}
	if err := open(t, c).Send(t.Context(), sinktest.Batch(3)); err != nil || c.asked != 4 || len(c.events) != 3 {
		t.Fatalf("Send = %v after %d questions, %d events", err, c.asked, len(c.events))
	}
	e, _ := json.Marshal(c.events[1])
	const want = `{"event":{"n":1,"text":"\u003cb\u003e \u0026 = | \\ é"},"fields":{"ringfence_id":"r-0001","ringfence_kind":"native-refusal.v1"},` +
		`"host":"prod-1","source":"ringfence","sourcetype":"ringfence:ocsf","time":1795262400}`
	if string(e) != want {
		t.Errorf("event = %s, want %s", e, want)
	}
}

// TestNotAcknowledged: an acknowledgement that never comes, and a token that gives none, are tried again, not believed.
func TestNotAcknowledged(t *testing.T) {
	c := &collector{t: t, acks: []string{`{"acks":{"7":false,"8":true}}`}}
	if fault := sinktest.Fault(t, open(t, c).Send(t.Context(), sinktest.Batch(1))); fault.Refused || !strings.Contains(fault.Error(), "not acknowledged") {
		t.Errorf("Send = %v", fault)
	}
	for name, answer := range map[string]string{"no ackId": `{"text":"Success","code":0}`, "half": `{"text":"Succ`} {
		c := &collector{t: t, event: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) }}
		if fault := sinktest.Fault(t, open(t, c).Send(t.Context(), sinktest.Batch(1))); fault.Refused {
			t.Errorf("%s: Send = %v", name, fault)
		}
		off := false
		if err := open(t, c, func(cfg *splunk.Config) { cfg.Acknowledge = &off }).Send(t.Context(), sinktest.Batch(1)); err != nil {
			t.Errorf("%s: Send with acknowledge: false = %v", name, err)
		}
	}
}

// TestCodes: which of the collector's codes are an event's fault, which a setting's.
func TestCodes(t *testing.T) {
	for _, test := range []struct {
		status  int
		body    string
		refused bool
		at      int
	}{
		{400, `{"text":"Invalid data format","code":6,"invalid-event-number":2}`, true, 2},
		{400, `{"text":"Event field is required","code":12,"invalid-event-number":0}`, true, 0},
		{400, `{"text":"Event field cannot be blank","code":13}`, true, -1},
		{400, `{"text":"Error in handling indexed fields","code":15,"invalid-event-number":1}`, true, 1},
		{400, `{"text":"No data","code":5}`, true, -1},
		{400, `{"text":"Incorrect index","code":7,"invalid-event-number":0}`, false, -1},
		{400, `{"text":"Data channel is missing","code":10}`, false, -1},
		{400, `<html>a proxy`, false, -1},
		{401, `{"text":"Invalid authorization","code":3}`, false, -1},
		{403, `{"text":"Invalid token","code":4}`, false, -1},
		{503, `{"text":"Server is busy","code":9}`, false, -1},
		{413, `<html>too large`, true, -1},
	} {
		c := &collector{t: t, event: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.status)
			fmt.Fprint(w, test.body)
		}}
		if fault := sinktest.Fault(t, open(t, c).Send(t.Context(), sinktest.Batch(3))); fault.Refused != test.refused || fault.At != test.at {
			t.Errorf("%d %s: refused %v at %d, want %v at %d", test.status, test.body, fault.Refused, fault.At, test.refused, test.at)
		}
	}
}

// TestBad throws every bad answer at the sink.
func TestBad(t *testing.T) {
	sinktest.HTTP(t, func(t *testing.T, bad http.HandlerFunc) forward.Sink {
		return open(t, &collector{t: t, event: bad, acks: []string{`{}`}})
	})
}

// TestConfig: what New refuses.
func TestConfig(t *testing.T) {
	for name, change := range map[string]func(*splunk.Config){
		"no TLS": func(c *splunk.Config) { c.URL = "http://splunk.example:8088" }, "password": func(c *splunk.Config) { c.URL = "https://a:b@splunk.example" },
		"path": func(c *splunk.Config) { c.URL += "/services/collector" }, "no token": func(c *splunk.Config) { c.TokenFile = "" },
		"channel": func(c *splunk.Config) { c.Channel = "1" }, "no CA": func(c *splunk.Config) { c.TLS.CAFile = "none" },
	} {
		cfg := splunk.Config{URL: "https://splunk.example:8088", TokenFile: "token"}
		if _, err := splunk.New(cfg); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if _, err := splunk.New(cfg); err == nil {
			t.Errorf("%s: New = nil, want an error", name)
		}
	}
}
