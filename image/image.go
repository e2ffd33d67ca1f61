// Package image says what is known of container images and what follows from it: whether an image may run, why not, and until when.
//
// Everything hangs on the digest: a scan belongs to what was scanned, in whichever registry it lies. The package reads no network,
// no file and no clock; reports are read by image/scanner, and what was decided reaches the API server through the Guard.
// package tenant, cli and server call it.
package image

import "time"

// Facts is what is known of one image. The zero value is an image of which nothing is known.
type Facts struct {
	Digests      []string    // all that lead to it, as "sha256:<64 hex>": of the index, of the platform's manifest, of the config; none is an image nobody can name
	Repositories []string    // where it was seen, for instance registry.bank.example/payments/api; may be empty
	Scans        []Scan      // in no order
	Components   []Component // of its SBOM, in no order; none where no SBOM is known
}

// Scan is one look at an image by one scanner.
type Scan struct {
	Scanner         string          `json:"scanner"`           // its name in lower case: trivy, qualys, grype
	Version         string          `json:"version,omitempty"` // "" where the report does not say
	Database        time.Time       `json:"database,omitzero"` // of when its knowledge is; zero where the report does not say
	At              time.Time       `json:"at,omitzero"`       // when the image was scanned; zero where the report does not say, and then it is a statement, as VEX is: by it the image is not scanned
	Of              []string        `json:"of,omitempty"`      // digests of the report that holds it, in order, where Merge joined others to them
	Vulnerabilities []Vulnerability `json:"vulnerabilities"`
}

// Vulnerability is one weakness that a scan found in one package.
type Vulnerability struct {
	ID          string    `json:"id"`                    // as the scanner names it, for instance CVE-2021-44228, GHSA-..., QID-376157
	Aliases     []string  `json:"aliases,omitempty"`     // its other names; never ID itself
	Severity    int       `json:"severity"`              // on the bank's scale, 1 to 5, 5 the worst; 0 where the scanner says none
	Scale       string    `json:"scale,omitempty"`       // what the scanner said, as it said it: "HIGH", "7.5", "4"
	Package     string    `json:"package,omitempty"`     // name or package URL
	Version     string    `json:"version,omitempty"`     // that is installed; "" unknown
	FixedIn     string    `json:"fixedIn,omitempty"`     // first version without it; "" none known
	Published   time.Time `json:"published,omitzero"`    // when the world learnt of it; zero unknown. Never when it was found on this image
	PublishedBy string    `json:"publishedBy,omitempty"` // who says so: "nvd", "osv", "scanner"; "" where Published is zero
	Found       time.Time `json:"found,omitzero"`        // when it was found on this image first; zero unknown; decides nothing
	Exploited   bool      `json:"exploited,omitempty"`   // known to be exploited (CISA KEV)
	NotAffected string    `json:"notAffected,omitempty"` // why the image is not affected, of a VEX statement; "" where nobody says so
}
