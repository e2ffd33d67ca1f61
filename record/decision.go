package record

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"ringfence.dev/ringfence/finding"
)

// Decided is a request that Ringfence's admission door decided. Texts in it may come from outside.
type Decided struct {
	// UID is the AdmissionReview's, Operation the API server's word.
	UID, Operation string
	// Subject is the object, and User who asked, as authenticated.
	Subject finding.Subject
	User    string
	// Allowed says whether the request went on, DryRun whether nothing would have been stored.
	Allowed, DryRun bool
	// Findings are what did not pass; those that did are left out.
	Findings []finding.Finding
}

// decisionBody is the body of admission-decision.v1.
type decisionBody struct {
	Allowed    bool        `json:"allowed"`
	DryRun     bool        `json:"dryRun"`
	RequestUID string      `json:"requestUID"`
	Operation  string      `json:"operation"`
	Subject    subject     `json:"subject"`
	Actor      actor       `json:"actor"`
	NotPassed  []inRequest `json:"notPassed"`
}

// Decision is the admission-decision.v1 record of one request. catalogue is the catalogue's digest in hex. The same review always
// gives the same id.
func Decision(d Decided, catalogue string, actorKey []byte, at time.Time) (Record, error) {
	if d.UID == "" || d.Operation == "" {
		return Record{}, fmt.Errorf("record a decision: %w: want the uid and the operation of its review", ErrInvalid)
	}
	s := d.Subject
	body := decisionBody{Allowed: d.Allowed, DryRun: d.DryRun, RequestUID: cut(finding.Clean(d.UID)), Operation: d.Operation,
		Subject: subject{s.APIVersion, s.Kind, s.Namespace, s.Name}, Actor: actor{Reference(actorKey, d.User)}, NotPassed: list(d.Findings)}
	r, err := build("admission-decision.v1", "admission-decision:"+fingerprint(d.UID, d.Operation, s.APIVersion, s.Kind, s.Namespace, s.Name), at, body)
	r.CatalogueDigest = "sha256:" + catalogue
	return r, err
}

// list is what did not pass, sorted by control.
func list(fs []finding.Finding) []inRequest {
	out := []inRequest{}
	for _, f := range fs {
		n, ok := failed(f)
		if !ok {
			continue
		}
		one := inRequest{notPassed: n}
		if f.Waiver != nil {
			one.Waiver = f.Waiver.Name
		}
		out = append(out, one)
	}
	slices.SortStableFunc(out, func(a, b inRequest) int { return cmp.Compare(a.Control, b.Control) })
	return out
}
