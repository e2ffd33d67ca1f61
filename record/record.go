package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// Record is the envelope of everything that Ringfence keeps as evidence: one decision, refusal, change or gap. Its JSON
// is stable: fields are only added.
type Record struct {
	// ID is the same for every delivery of the same happening: a producer that tries again repeats it. At most 128
	// characters of A-Z a-z 0-9 . _ : -.
	ID string `json:"id"`
	// Cluster is the cluster of which the record tells; "local" for that of ringfence up.
	Cluster string `json:"cluster"`
	// Producer is the process that made the record, for instance "audit" or "check".
	Producer string `json:"producer"`
	// Seq counts the records of one producer in one cluster from 1 without a gap; a hole is a record that was lost.
	Seq uint64 `json:"seq"`
	// Time is when it happened, by the clock of who saw it, in UTC.
	Time time.Time `json:"time"`
	// Kind names the form of Body: a file of kinds/ without its ".json", for instance "admission-decision.v1".
	Kind string `json:"kind"`
	// CatalogueDigest is "sha256:" and the digest of the controls that were in force; what a decision does not list as
	// failed, passed under these. Empty for kinds that judge nothing.
	CatalogueDigest string `json:"catalogueDigest"`
	// Body is what happened, in the form that Kind names.
	Body json.RawMessage `json:"body"`
}

// ErrInvalid is wrapped by every error of Validate.
var ErrInvalid = errors.New("the record is not valid")

var (
	idForm   = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)
	nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)
	// controlForm is that of control.ValidID: this package is below control.
	controlForm = regexp.MustCompile(`^RF-[A-Z]{2}-[0-9]{2}$`)
	digest      = regexp.MustCompile(`^(sha256:[0-9a-f]{64})?$`)
)

// Validate checks the envelope, and not the body. Its error names the field and what is wanted.
func (r Record) Validate() error {
	wrong := func(field, found, want string) error {
		return fmt.Errorf("%w: %s is %.140q; want %s", ErrInvalid, field, found, want)
	}
	switch {
	case !idForm.MatchString(r.ID):
		return wrong("id", r.ID, "1 to 128 characters of A-Z a-z 0-9 . _ : -")
	case !nameForm.MatchString(r.Cluster):
		return wrong("cluster", r.Cluster, "a name in lower case")
	case !nameForm.MatchString(r.Producer):
		return wrong("producer", r.Producer, "a name in lower case")
	case r.Seq == 0:
		return wrong("seq", "0", "a number from 1")
	case r.Time.IsZero() || r.Time.Location() != time.UTC:
		return wrong("time", r.Time.String(), "an instant in UTC")
	case !nameForm.MatchString(r.Kind):
		return wrong("kind", r.Kind, "the name of a file in record/kinds without .json")
	case !digest.MatchString(r.CatalogueDigest):
		return wrong("catalogueDigest", r.CatalogueDigest, "sha256: and 64 digits, or nothing")
	case !json.Valid(r.Body) || r.Body[0] != '{':
		return wrong("body", string(r.Body), "a JSON object with nothing before it")
	}
	return nil
}
