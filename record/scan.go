package record

import (
	"encoding/json"
	"fmt"
	"time"

	"ringfence.dev/ringfence/finding"
)

// maxScanBody bounds the body of a scan-finding.v1, in bytes: an entry of the ledger has at most 65,535, and the envelope needs some hundred.
const maxScanBody = 60_000

// ScanChange is what became of one finding of an object that lies in the cluster.
type ScanChange struct {
	// What is opened, stays, waived or closed.
	What string `json:"what"`
	// Subject is the object.
	Subject finding.Subject `json:"-"`
	Control string          `json:"control"`
	Outcome finding.Outcome `json:"outcome"`
	Action  finding.Action  `json:"action"`
	Value   string          `json:"value,omitempty"`
	Path    string          `json:"path,omitempty"`
	// Why it closed: fixed, deleted, rules, owner or start.
	Why string `json:"why,omitempty"`
	// Waiver and Expires are of what is waived.
	Waiver  string `json:"waiver,omitempty"`
	Expires string `json:"expires,omitempty"`
}

// scanLine is a ScanChange as a body has it.
type scanLine struct {
	ScanChange
	Subject subject `json:"subject"`
}

// ScanFindings is a scan-finding.v1 record of as many of the changes as one holds, all at one time, and how many these are: 1 at least.
// catalogue is the catalogue's digest in hex. The same changes at the same time always give the same id.
func ScanFindings(changes []ScanChange, catalogue string, at time.Time) (r Record, n int, err error) {
	body := struct {
		Changes []json.RawMessage `json:"changes"`
	}{}
	size, id := 0, []string{stamp(at)}
	for _, c := range changes {
		s := c.Subject
		c.Value, c.Path = cut(c.Value), cut(c.Path)
		if c.Action != finding.Warn && c.Action != finding.Audit {
			c.Action = finding.Deny
		}
		text, err := json.Marshal(scanLine{c, subject{s.APIVersion, s.Kind, s.Namespace, s.Name}})
		if err != nil {
			return Record{}, 0, fmt.Errorf("record what a scan found: %w", err)
		}
		if size += len(text) + 1; size > maxScanBody && len(body.Changes) > 0 {
			break
		}
		body.Changes, id = append(body.Changes, text), append(id, string(text))
	}
	if len(body.Changes) == 0 {
		return Record{}, 0, fmt.Errorf("record what a scan found: %w: want a change", ErrInvalid)
	}
	r, err = build("scan-finding.v1", "scan-finding:"+fingerprint(id...), at, body)
	r.CatalogueDigest = "sha256:" + catalogue
	return r, len(body.Changes), err
}
