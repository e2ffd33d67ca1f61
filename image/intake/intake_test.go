package intake_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/content"
	"ringfence.dev/ringfence/image/intake"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func digest(of string) string { return "sha256:" + strings.Repeat(of, 64) }

// scan is a report by a scanner, so many days ago.
func scan(of, scanner string, days int, found ...image.Vulnerability) image.Facts {
	return image.Facts{Digests: []string{digest(of)}, Scans: []image.Scan{{Scanner: scanner, At: now.Add(-time.Duration(days) * 24 * time.Hour), Vulnerabilities: found}}}
}

// good is an image that may come in.
func good() intake.Case {
	const month = 30 * 24 * time.Hour
	return intake.Case{Digest: digest("a"), Now: now, Signers: []string{"key vendor"}, Rule: image.Rule{MaxScanAge: month, DenySeverity: 4, Grace: month, Scanners: []string{"trivy", "qualys"}},
		Platforms: []intake.Platform{{Manifest: digest("a"), Config: digest("b"), Content: content.Content{Distroless: true}}},
		Reports:   []image.Facts{scan("a", "trivy", 1), scan("b", "qualys", 2)},
		SBOMs:     []image.Facts{{Digests: []string{digest("b")}, Components: []image.Component{{}}}}}
}

func TestDecide(t *testing.T) {
	old := image.Vulnerability{ID: "CVE-2020-1", Severity: 5, Package: "x", Published: now.Add(-90 * 24 * time.Hour)}
	young := image.Vulnerability{ID: "CVE-2026-1", Severity: 5, Package: "x", Published: now.Add(-24 * time.Hour)}
	secret := content.Secret{Layer: digest("c"), Path: "app/.env", Rule: "github-pat", Line: 3}
	second := func(c *intake.Case) {
		c.Digest = digest("0")
		c.Platforms = append(c.Platforms, intake.Platform{Name: "linux/arm64", Manifest: digest("d"), Config: digest("e")})
		c.SBOMs = append(c.SBOMs, image.Facts{Digests: []string{digest("d")}, Components: []image.Component{{}}})
	}
	for what, c := range map[string]struct {
		change         func(*intake.Case)
		refused, found string
	}{
		"good":               {func(*intake.Case) {}, "", ""},
		"one scanner of two": {func(c *intake.Case) { c.Reports = c.Reports[:1] }, "1 of 2 scanners", ""},
		"a quorum of one":    {func(c *intake.Case) { c.Reports, c.Quorum = c.Reports[:1], 1 }, "", ""},
		"the Platform's own": {func(c *intake.Case) {
			c.Rule.Scanners, c.Scanners = append(c.Rule.Scanners, "grype", "openvex"), []string{"trivy", "qualys"}
		}, "", ""},
		"the Platform's own, one lacks":    {func(c *intake.Case) { c.Scanners, c.Rule.Scanners = []string{"trivy", "grype"}, nil }, "1 of 2 scanners that must: not scanned by grype", ""},
		"another does not stand in for it": {func(c *intake.Case) { c.Scanners, c.Quorum, c.Rule.Scanners = []string{"grype"}, 1, nil }, "0 of 1 scanners", ""},
		"two of three": {func(c *intake.Case) {
			c.Scanners, c.Quorum, c.Rule.Scanners = []string{"trivy", "grype", "qualys"}, 2, nil
		}, "", ""},
		"an old scan":                {func(c *intake.Case) { c.Reports[1] = scan("b", "qualys", 31) }, "1 of 2 scanners", ""},
		"a scan from the future":     {func(c *intake.Case) { c.Reports[1] = scan("b", "qualys", -1) }, "1 of 2 scanners", ""},
		"one scanner twice":          {func(c *intake.Case) { c.Reports[1] = scan("b", "trivy", 2) }, "1 of 2 scanners", ""},
		"a scanner that is not ours": {func(c *intake.Case) { c.Reports[1] = scan("b", "other", 2) }, "1 of 2 scanners", ""},
		"another image's":            {func(c *intake.Case) { c.Reports = []image.Facts{scan("f", "trivy", 1), scan("f", "qualys", 1)} }, "no report names", ""},
		"an old vulnerability":       {func(c *intake.Case) { c.Reports[0] = scan("a", "trivy", 1, old) }, "CVE-2020-1", ""},
		"a young vulnerability":      {func(c *intake.Case) { c.Reports[0] = scan("a", "trivy", 1, young) }, "", "CVE-2026-1 warns"},
		"no signature":               {func(c *intake.Case) { c.Signers = nil }, "nobody whom the bank trusts", ""},
		"no signature, accepted":     {func(c *intake.Case) { c.Signers, c.Unsigned = nil, true }, "", "nobody whom the bank trusts"},
		"no bill of materials":       {func(c *intake.Case) { c.SBOMs = nil }, "no bill of materials", ""},
		"an empty one":               {func(c *intake.Case) { c.SBOMs[0].Components = nil }, "no bill of materials", ""},
		"a secret":                   {func(c *intake.Case) { c.Platforms[0].Content.Secrets = []content.Secret{secret} }, "github-pat in line 3", ""},
		"a secret that is none": {func(c *intake.Case) {
			c.Platforms[0].Content.Secrets, c.Accepted = []content.Secret{secret}, []string{"github-pat:app/.env"}
		}, "", "said to be none"},
		"another is accepted": {func(c *intake.Case) {
			c.Platforms[0].Content.Secrets, c.Accepted = []content.Secret{secret}, []string{"github-pat:app/other"}
		}, "looks like a secret", ""},
		"more secrets than told":    {func(c *intake.Case) { c.Platforms[0].Content.More = true }, "more looks like secrets", ""},
		"root":                      {func(c *intake.Case) { c.Platforms[0].Content.Root = true }, "", "it runs as root"},
		"a tag that is moved":       {func(c *intake.Case) { c.Moves = digest("9") }, "", "is moved"},
		"nothing to run":            {func(c *intake.Case) { c.Platforms = nil }, "nothing that can run", ""},
		"a platform nobody scanned": {func(c *intake.Case) { second(c) }, "linux/arm64: no report", ""},
		"the index alone": {func(c *intake.Case) {
			second(c)
			c.Reports = []image.Facts{scan("0", "trivy", 1), scan("0", "qualys", 1)}
		}, "linux/arm64: no report", ""},
	} {
		t.Run(what, func(t *testing.T) {
			made := good()
			c.change(&made)
			o := intake.Decide(made)
			if got := strings.Join(o.Refused, "\n"); (c.refused == "") != (got == "") || !strings.Contains(got, c.refused) {
				t.Errorf("refused %q, want %q", got, c.refused)
			}
			if got := strings.Join(o.Findings, "\n"); c.found == "" && c.refused == "" && got != "" || !strings.Contains(got, c.found) {
				t.Errorf("found %q, want %q", got, c.found)
			}
		})
	}
}

// TestUnapproved: whatever was not there to approve is told, and what nobody can read is refused.
func TestUnapproved(t *testing.T) {
	c := good()
	c.Platforms[0].Content.Root = true
	first := intake.Decide(c)
	if other := intake.Unapproved(first, first.Findings); len(other) > 0 {
		t.Errorf("unapproved: %v", other)
	}
	c.Moves = digest("9")
	if other := intake.Unapproved(intake.Decide(c), first.Findings); len(other) != 1 || !strings.Contains(other[0], "moved") {
		t.Errorf("unapproved: %v, want the tag", other)
	}
	for n := range 300 {
		c.Platforms[0].Content.Secrets = append(c.Platforms[0].Content.Secrets, content.Secret{Layer: digest("c"), Path: fmt.Sprint(n), Rule: "jwt"})
		c.Accepted = append(c.Accepted, fmt.Sprint("jwt:", n))
	}
	o := intake.Decide(c)
	if len(o.Findings) != intake.MaxFindings || !slices.ContainsFunc(o.Refused, func(l string) bool { return strings.Contains(l, "nobody reads more than") }) {
		t.Errorf("%d findings, refused %v", len(o.Findings), o.Refused)
	}
}
