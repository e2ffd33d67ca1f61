package record

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"ringfence.dev/ringfence/finding"
)

// changeBody is the body of change.v1.
type changeBody struct {
	Operation string   `json:"operation"`
	Subject   subject  `json:"subject"`
	Actor     *actor   `json:"actor,omitempty"`
	InTheName *actor   `json:"inTheNameOf,omitempty"`
	AuditID   string   `json:"auditID,omitempty"`
	Fields    []string `json:"fields"`
	Before    string   `json:"before,omitempty"`
	After     string   `json:"after,omitempty"`
	Unknown   []string `json:"unknown,omitempty"`
}

// Change is the change.v1 record of a write that an audit event told of. Such an event says neither what was changed nor
// whether anything was. The same event always gives the same id.
func Change(s finding.Subject, o finding.Observed, actorKey []byte) (Record, error) {
	body := changeBody{Operation: o.Operation, Subject: subject{s.APIVersion, s.Kind, s.Namespace, s.Name}, Actor: &actor{Reference(actorKey, o.User)},
		AuditID: o.AuditID, Fields: []string{}, Unknown: []string{"after", "before", "fields"}}
	if o.ImpersonatedUser != "" {
		body.InTheName = &actor{Reference(actorKey, o.ImpersonatedUser)}
	}
	return build("change.v1", "change:"+fingerprint(o.AuditID, stamp(o.Time), o.User, o.ImpersonatedUser, o.Operation, s.APIVersion, s.Kind, s.Namespace, s.Name), o.Time, body)
}

// CatalogueChange is the change.v1 record of another catalogue: digests in hex of the one that was in force, empty for none,
// and of the one that is. Who installed it nobody here can know.
func CatalogueChange(before, after string, at time.Time) (Record, error) {
	body := changeBody{Operation: "UPDATE", Subject: subject{APIVersion: "ringfence.dev/v1alpha1", Kind: "Catalogue", Name: "catalogue"}, Fields: []string{},
		After: "sha256:" + after, Unknown: []string{"actor", "fields"}}
	if before == "" {
		body.Operation = "CREATE"
	} else {
		body.Before = "sha256:" + before
	}
	r, err := build("change.v1", "catalogue:"+fingerprint(before, after, stamp(at)), at, body)
	r.CatalogueDigest = "sha256:" + after
	return r, err
}

// gapBody is the body of policy-gap.v1.
type gapBody struct {
	Object subject   `json:"object"`
	What   string    `json:"what"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
}

// PolicyGap is the policy-gap.v1 record of a time in which a native object was missing or changed. Who did that stands in the
// change.v1 record of the write, where the audit stream told of it.
func PolicyGap(s finding.Subject, what string, since, until time.Time) (Record, error) {
	body := gapBody{subject{s.APIVersion, s.Kind, s.Namespace, s.Name}, what, since.UTC(), until.UTC()}
	return build("policy-gap.v1", "policy-gap:"+fingerprint(s.APIVersion, s.Kind, s.Namespace, s.Name, what, stamp(since)), until, body)
}

// build makes a record of a body.
func build(kind, id string, at time.Time, body any) (Record, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return Record{}, fmt.Errorf("make a %s record: %w", kind, err)
	}
	return Record{ID: id, Time: at.UTC(), Kind: kind, Body: text}, nil
}

// fingerprint tells happenings apart by parts that others may have chosen.
func fingerprint(parts ...string) string {
	sum := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(sum, "%d %s\n", len(part), part)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
