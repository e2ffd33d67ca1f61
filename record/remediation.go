package record

import (
	"time"

	"ringfence.dev/ringfence/finding"
)

// remediationBody is the body of remediation.v1.
type remediationBody struct {
	Subject   subject   `json:"subject"`
	Control   string    `json:"control"`
	What      string    `json:"what"`
	Why       string    `json:"why"`
	Reference string    `json:"reference,omitempty"`
	Since     time.Time `json:"since"`
}

// Remediation is the remediation.v1 record of what was done at a time to a subject that had failed a control since another:
// what is "evicted"; reference is the incident or change that it names, "" for none.
func Remediation(s finding.Subject, control, what, why, reference string, since, at time.Time) (Record, error) {
	body := remediationBody{subject{s.APIVersion, s.Kind, s.Namespace, s.Name}, control, what, why, finding.Value(reference), since.UTC()}
	return build("remediation.v1", "remediation:"+fingerprint(s.APIVersion, s.Kind, s.Namespace, s.Name, control, what, stamp(at)), at, body)
}
