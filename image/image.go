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
	Scanner         string    // its name in lower case: trivy, qualys, grype
	Version         string    // "" where the report does not say
	Database        time.Time // of when its knowledge is; zero where the report does not say
	At              time.Time // when the image was scanned; zero where the report does not say, and then it is a statement, as VEX is: by it the image is not scanned
	Vulnerabilities []Vulnerability
}

// Vulnerability is one weakness that a scan found in one package.
type Vulnerability struct {
	ID          string    // as the scanner names it, for instance CVE-2021-44228, GHSA-..., QID-376157
	Aliases     []string  // its other names; never ID itself
	Severity    int       // on the bank's scale, 1 to 5, 5 the worst; 0 where the scanner says none
	Scale       string    // what the scanner said, as it said it: "HIGH", "7.5", "4"
	Package     string    // name or package URL
	Version     string    // that is installed; "" unknown
	FixedIn     string    // first version without it; "" none known
	Published   time.Time // when the world learnt of it; zero unknown. Never when it was found on this image
	PublishedBy string    // who says so: "nvd", "osv", "scanner"; "" where Published is zero
	Found       time.Time // when it was found on this image first; zero unknown; decides nothing
	Exploited   bool      // known to be exploited (CISA KEV)
	NotAffected string    // why the image is not affected, of a VEX statement; "" where nobody says so
}
