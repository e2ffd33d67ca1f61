package record

import (
	"fmt"
	"time"

	"ringfence.dev/ringfence/finding"
)

// Elevated is a step of an elevation. Texts in it may come from outside.
type Elevated struct {
	// Step is requested, approved, token, expired, ended, withdrawn, unanswered, deleted, reviewed or overdue.
	Step string
	// Namespace, Name and UID are the elevation's.
	Namespace, Name, UID string
	// Ticket is the bank's record, Said what was said with the step, Lasts how long it was asked for.
	Ticket, Said, Lasts string
	// Account is the user name of the account: requests under it bear this name in the audit stream.
	Account string
	// Rights are what it gives; said with the step approved.
	Rights []string
	// By is the user who took the step; "" for Ringfence. For is the user who asked for the elevation.
	By, For string
	// Until is when what the step gave ends: the rights, a token. Zero: it gave nothing.
	Until time.Time
}

// elevationBody is the body of elevation.v1.
type elevationBody struct {
	What      string     `json:"what"`
	Elevation subject    `json:"elevation"`
	Ticket    string     `json:"ticket"`
	Account   string     `json:"account"`
	Why       string     `json:"why,omitempty"`
	Lasts     string     `json:"lasts,omitempty"`
	Rights    []string   `json:"rights,omitempty"`
	Until     *time.Time `json:"until,omitempty"`
	Actor     *actor     `json:"actor,omitempty"`
	For       *actor     `json:"for,omitempty"`
}

// Elevation is the elevation.v1 record of a step. The same step of the same elevation always gives the same id; each token is a step
// of its own.
func Elevation(e Elevated, actorKey []byte, at time.Time) (Record, error) {
	if e.UID == "" {
		return Record{}, fmt.Errorf("record an elevation: %w: want its uid", ErrInvalid)
	}
	body := elevationBody{What: e.Step, Elevation: subject{"ringfence.dev/v1alpha1", "Elevation", e.Namespace, e.Name}, Ticket: e.Ticket, Account: e.Account,
		Why: cut(finding.Clean(e.Said)), Lasts: e.Lasts, Rights: e.Rights}
	if e.By != "" {
		body.Actor = &actor{Reference(actorKey, e.By)}
	}
	if e.For != "" {
		body.For = &actor{Reference(actorKey, e.For)}
	}
	of := ""
	if !e.Until.IsZero() {
		body.Until = new(e.Until.UTC())
	}
	if e.Step == "token" {
		of = stamp(at) + stamp(e.Until)
	}
	return build("elevation.v1", "elevation:"+fingerprint(e.UID, e.Step, of), at, body)
}
