package webhook_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/webhook"
	"ringfence.dev/ringfence/internal/sinktest"
)

func open(t *testing.T, handler http.HandlerFunc) forward.Sink {
	t.Helper()
	server := sinktest.Serve(t, handler)
	cfg := webhook.Config{URL: server.URL + "/in", KeyFile: sinktest.File(t, sinktest.Secret), TokenFile: sinktest.File(t, "bearer-token\n")}
	cfg.TLS.CAFile = sinktest.CA(t, server)
	sink, err := webhook.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

// TestSend: signed, with the same key for the same batch and another for another, and each event with its id.
func TestSend(t *testing.T) {
	var keys []string
	sink := open(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		signature := r.Header.Get("Ringfence-Signature")
		seconds, err := strconv.ParseInt(strings.TrimPrefix(strings.Split(signature, ",")[0], "t="), 10, 64)
		if err != nil || time.Since(time.Unix(seconds, 0)) > time.Minute || signature != webhook.Sign([]byte(sinktest.Secret), time.Unix(seconds, 0), body) {
			t.Errorf("signature %q, %v", signature, err)
		}
		if webhook.Sign([]byte("another"), time.Unix(seconds, 0), body) == signature || webhook.Sign([]byte(sinktest.Secret), time.Unix(seconds+1, 0), body) == signature {
			t.Error("the signature depends on neither key nor time")
		}
		var got struct {
			SchemaVersion string
			Events        []struct{ ID, Kind string }
		}
		if err := json.Unmarshal(body, &got); err != nil || got.SchemaVersion != "ringfence.dev/webhook/v1" || got.Events[0].ID != "r-0000" || got.Events[0].Kind != "native-refusal.v1" {
			t.Errorf("body = %s, %v", body, err)
		}
		if r.Header.Get("Authorization") != "Bearer bearer-token" {
			t.Errorf("header = %v", r.Header)
		}
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		w.WriteHeader(202)
	})
	for _, n := range []int{3, 3, 2} {
		if err := sink.Send(t.Context(), sinktest.Batch(n)); err != nil {
			t.Fatal(err)
		}
	}
	if keys[0] != keys[1] || keys[0] == keys[2] || len(keys[0]) != 64 {
		t.Errorf("keys = %v", keys)
	}
}

// TestBad throws every bad answer at the sink.
func TestBad(t *testing.T) {
	sinktest.HTTP(t, func(t *testing.T, bad http.HandlerFunc) forward.Sink { return open(t, bad) })
}

// TestUntrusted: a server that the authorities do not vouch for gets nothing.
func TestUntrusted(t *testing.T) {
	server := sinktest.Serve(t, func(http.ResponseWriter, *http.Request) { t.Error("an untrusted server got a request") })
	sink, err := webhook.New(webhook.Config{URL: server.URL, KeyFile: sinktest.File(t, sinktest.Secret)})
	if err != nil {
		t.Fatal(err)
	}
	if fault := sinktest.Fault(t, sink.Send(t.Context(), sinktest.Batch(1))); fault.Refused || !strings.Contains(fault.Error(), "certificate") {
		t.Errorf("Send = %v", fault)
	}
}
