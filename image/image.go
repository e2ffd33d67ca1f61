// Package image says what is known of container images and what follows from it: whether an image may run, why not, and until when.
//
// Everything hangs on the digest: a scan belongs to what was scanned, in whichever registry it lies. The package reads no network,
// no file and no clock; reports are read by image/scanner, and what was decided reaches the API server through the Guard.
// package tenant, cli and server call it.
package image

import (
	"cmp"
	"slices"
	"time"
)

// Facts is what is known of one image. The zero value is an image of which nothing is known.
type Facts struct {
	Digests      []string    // all that lead to it, as "sha256:<64 hex>": of the index, of the platform's manifest, of the config; none is an image nobody can name
	Repositories []string    // where it was seen, for instance registry.bank.example/payments/api; may be empty
	Scans        []Scan      // in no order
	Components   []Component // of its SBOM, in no order; none where no SBOM is known
	Built        Built
}

// Built is what an image is made of as reports tell. It decides nothing.
type Built struct {
	System string   // the distribution that a scanner recognises, such as "debian 12.5"; "" unknown
	Base   string   // the image that it says itself it was built on, by the OCI annotations base.name and base.digest; "" where it says none
	Layers []string // digests of its layers, the lowest first: of what a registry keeps or of what that unpacks to, as the report has them
}

// maxLayers is how many layers are kept of an image with all its platforms.
const maxLayers = 1000

// with is what two reports say together. Of several platforms of one index the layers of all are kept.
func (b Built) with(o Built) Built {
	layers := slices.Clone(b.Layers)
	for _, l := range o.Layers {
		if len(layers) < maxLayers && !slices.Contains(layers, l) {
			layers = append(layers, l)
		}
	}
	return Built{System: cmp.Or(b.System, o.System), Base: cmp.Or(b.Base, o.Base), Layers: layers}
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
