package record

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"ringfence.dev/ringfence/finding"
)

// maxKept bounds the body of a kept object, in bytes: an entry of the ledger has at most 65,535, and the envelope needs some hundred.
const maxKept = 62_000

// Quarantined is a step of a quarantine. Texts in it may come from outside.
type Quarantined struct {
	// Step is opened, kept, confirmed, lifted, expired or deleted.
	Step string
	// Namespace, Name and UID are the quarantine's, Kind and Workload its subject's.
	Namespace, Name, UID, Kind, Workload string
	// Ticket and Reason are what was said with the step, Expires the end unless confirmed.
	Ticket, Reason, Expires string
	// By is the user who took the step; "" for Ringfence.
	By string
	// Kept is the object that the step kept, nil where it kept none.
	Kept *KeptObject
}

// KeptObject is an object as it was. Nothing secret is in it.
type KeptObject struct {
	// Subject is the object and UID its own.
	Subject finding.Subject
	UID     string
	// Object and Events are JSON, an object and a list.
	Object, Events json.RawMessage
	// Whole is Sealed of all that the object was.
	Whole string
}

// quarantineBody is the body of quarantine.v1.
type quarantineBody struct {
	What       string          `json:"what"`
	Quarantine subject         `json:"quarantine"`
	Subject    subject         `json:"subject"`
	Ticket     string          `json:"ticket"`
	Why        string          `json:"why,omitempty"`
	Expires    string          `json:"expires,omitempty"`
	Actor      *actor          `json:"actor,omitempty"`
	Kept       json.RawMessage `json:"kept,omitempty"`
	Events     json.RawMessage `json:"events,omitempty"`
	Whole      string          `json:"whole,omitempty"`
	Missing    []string        `json:"missing,omitempty"`
}

// Quarantine is the quarantine.v1 record of a step. The same step of the same quarantine always gives the same id. What finds no
// room, events before the object, is left out and named.
func Quarantine(q Quarantined, actorKey []byte, at time.Time) (Record, error) {
	body := quarantineBody{What: q.Step, Quarantine: subject{"ringfence.dev/v1alpha1", "Quarantine", q.Namespace, q.Name},
		Subject: subject{quarantinedAPI(q.Kind), q.Kind, q.Namespace, q.Workload}, Ticket: q.Ticket, Why: cut(finding.Clean(q.Reason)), Expires: q.Expires}
	if q.By != "" {
		body.Actor = &actor{Reference(actorKey, q.By)}
	}
	of := ""
	if k := q.Kept; k != nil {
		s := k.Subject
		of = k.UID
		body.Subject, body.Kept, body.Events, body.Whole = subject{s.APIVersion, s.Kind, s.Namespace, s.Name}, k.Object, k.Events, k.Whole
		if len(body.Kept)+len(body.Events) > maxKept {
			body.Events, body.Missing = nil, append(body.Missing, "events")
		}
		if len(body.Kept) > maxKept {
			body.Kept, body.Missing = nil, append(body.Missing, "kept")
		}
	}
	if q.UID == "" {
		return Record{}, fmt.Errorf("record a quarantine: %w: want its uid", ErrInvalid)
	}
	return build("quarantine.v1", "quarantine:"+fingerprint(q.UID, q.Step, of), at, body)
}

// quarantinedAPI is the API version of a kind that can be quarantined.
func quarantinedAPI(kind string) string {
	switch kind {
	case "Pod":
		return "v1"
	case "Job", "CronJob":
		return "batch/v1"
	}
	return "apps/v1"
}

// Sealed stands for a text that may be secret: "hmac-sha256:" and its HMAC. Whoever has the key, which lies with the store, can prove
// what it was and nobody can read it. It is never the same as a Reference.
func Sealed(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("ringfence.dev/sealed\n" + text))
	return "hmac-sha256:" + hex.EncodeToString(mac.Sum(nil))
}
