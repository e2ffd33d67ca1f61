package record_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"ringfence.dev/ringfence/record"
)

// TestElevation: a step is one record however often it is told, each token is one, and nobody's name is in it.
func TestElevation(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	step := record.Elevated{Step: "approved", Namespace: "payments-prod", Name: "inc-1", UID: "u", Ticket: "INC1", Said: "why\nnot", Lasts: "30m0s",
		Account: "system:serviceaccount:payments-prod:elevation-inc-1", Rights: []string{"logs"}, By: "erin", For: "dave", Until: at.Add(30 * time.Minute)}
	made := func(e record.Elevated, at time.Time) record.Record {
		t.Helper()
		r, err := record.Elevation(e, []byte("key"), at)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := made(step, at)
	if again := made(step, at.Add(time.Hour)); again.ID != first.ID {
		t.Error("the same step has two ids")
	}
	token := step
	token.Step = "token"
	if a, b := made(token, at), made(token, at.Add(time.Second)); a.ID == b.ID || a.ID == first.ID {
		t.Error("two tokens have one id")
	}
	var body any
	if err := json.Unmarshal(first.Body, &body); err != nil {
		t.Fatal(err)
	}
	schema, _ := record.KindSchema("elevation.v1")
	if err := compileKind(t, "elevation.v1", schema).Validate(body); err != nil {
		t.Error(err)
	}
	if m := body.(map[string]any); m["actor"] == nil || m["for"] == nil || m["why"] == "why\nnot" {
		t.Errorf("body %s", first.Body)
	}
	if _, err := record.Elevation(record.Elevated{Step: "approved"}, nil, at); !errors.Is(err, record.ErrInvalid) {
		t.Errorf("an elevation without uid: %v", err)
	}
}
