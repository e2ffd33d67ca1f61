package image_test

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/image"
)

//go:embed testdata/matrix.tsv
var matrix string

const day = 24 * time.Hour

var (
	now  = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	bank = image.Rule{MaxScanAge: 30 * day, DenySeverity: 4, Grace: 30 * day, RescheduleGrace: 30 * day}
)

const (
	digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	config = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// scanned is an image with one scan, so many days ago.
func scanned(days int, found ...image.Vulnerability) image.Facts {
	return image.Facts{Digests: []string{digest, config}, Repositories: []string{"registry.bank.example/payments/api"},
		Scans: []image.Scan{{Scanner: "qualys", At: now.Add(-time.Duration(days) * day), Vulnerabilities: found}}}
}

// published is a vulnerability of severity 4 whose publication is so long ago.
func published(id string, age time.Duration) image.Vulnerability {
	return image.Vulnerability{ID: id, Severity: 4, Package: "openssl", FixedIn: "3.0.9", Published: now.Add(-age), PublishedBy: "nvd"}
}

// TestMatrix: every cell of the written table.
func TestMatrix(t *testing.T) {
	cells := 0
	for line := range strings.Lines(matrix) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		cells++
		c := strings.Split(strings.TrimSpace(line), "\t")
		severity, _ := strconv.Atoi(c[2])
		v := image.Vulnerability{ID: "CVE-2026-1", Severity: severity, Package: "openssl"}
		known := image.Advisory{ID: v.ID}
		for i, age := range strings.Split(c[3], "+") {
			if days, err := strconv.Atoi(strings.TrimSuffix(age, "d")); err == nil {
				known.Published = append(known.Published, image.Dated{At: now.Add(-time.Duration(days) * day), Source: fmt.Sprintf("source %d", i)})
			}
		}
		f := image.Facts{Digests: []string{digest}}
		if days, err := strconv.Atoi(strings.TrimSuffix(c[1], "d")); err == nil {
			f = scanned(days, v)
		}
		if c[0] == "elsewhere" {
			f.Repositories = []string{"other.bank.example/shop/api"}
		}
		verdict := image.Judge(f, bank, func(name string) (image.Advisory, bool) { return known, name == known.ID }, now)
		outcome := verdict.Outcome()
		if c[0] == "rescheduled" {
			outcome, _ = verdict.Rescheduled(bank, now.Add(-day))
		}
		if string(outcome) != c[4] {
			t.Errorf("%s: %s, want %s: %+v", strings.Join(c[:4], " "), outcome, c[4], verdict)
		}
	}
	if cells != 180 {
		t.Errorf("%d cells, want 180", cells)
	}
}

// TestInstants: the last second that counts, and the first that does not.
func TestInstants(t *testing.T) {
	for name, c := range map[string]struct {
		f    image.Facts
		at   time.Duration // after now
		want image.Outcome
	}{
		"scan of 30 days":              {scanned(30), 0, image.Allow},
		"scan of 30 days, half second": {scanned(30), 500 * time.Millisecond, image.Allow},
		"scan of 30 days and a second": {scanned(30), time.Second, image.Deny},
		"published 30 days ago":        {scanned(1, published("CVE-1", 30*day)), 0, image.Warn},
		"and a second":                 {scanned(1, published("CVE-1", 30*day)), time.Second, image.Deny},
		"ahead by five minutes":        {scanned(0), -5 * time.Minute, image.Allow},
		"ahead by more":                {scanned(0), -5*time.Minute - time.Second, image.Undecided},
	} {
		at := now.Add(c.at)
		v := image.Judge(c.f, bank, nil, at)
		if v.Outcome() != c.want {
			t.Errorf("%s: %s, want %s: %+v", name, v.Outcome(), c.want, v)
		}
		// What a verdict says of its end is true: a nanosecond before it nothing has changed, at it something has.
		if end, _ := v.Until(); !end.IsZero() {
			if o := image.Judge(c.f, bank, nil, end.Add(-time.Nanosecond)).Outcome(); o != v.Outcome() {
				t.Errorf("%s: %s just before its end, want %s", name, o, v.Outcome())
			}
			if o := image.Judge(c.f, bank, nil, end).Outcome(); o == v.Outcome() && o != image.Deny {
				t.Errorf("%s: still %s at its end", name, o)
			}
		}
	}
}

// TestReasons: what decides, and what is said of it.
func TestReasons(t *testing.T) {
	old := published("CVE-1", 40*day)
	exploited, excused, unrated, unfixable, fresh, low := old, old, old, old, published("CVE-1", day), old
	exploited.Exploited, exploited.Severity = true, 1
	excused.NotAffected = "the code is not reached"
	unrated.Severity, unfixable.FixedIn, low.Severity = 0, "", 3
	future := fresh
	future.Published = now.Add(400 * day)
	timeless := scanned(29) // beside a scan that counts, a report that does not say when it was made
	timeless.Scans = append(timeless.Scans, image.Scan{Scanner: "snyk", Vulnerabilities: []image.Vulnerability{future}})
	asNew := bank
	asNew.UndatedAsNew = true
	ghsa := image.Vulnerability{ID: "GHSA-1", Aliases: []string{"CVE-1"}, Severity: 5, Package: "openssl"}
	two := scanned(1, fresh)
	two.Scans = append(two.Scans, image.Scan{Scanner: "grype", At: now.Add(-2 * day), Vulnerabilities: []image.Vulnerability{ghsa}})
	gone := scanned(1)
	gone.Scans = append(gone.Scans, image.Scan{Scanner: "qualys", At: now.Add(-9 * day), Vulnerabilities: []image.Vulnerability{old}})
	vex := scanned(1, old)
	vex.Scans = append(vex.Scans, image.Scan{Scanner: "openvex", Vulnerabilities: []image.Vulnerability{{ID: "CVE-1", NotAffected: "not in the build"}}})
	sbom := image.Facts{Digests: []string{digest}, Scans: []image.Scan{{Scanner: "cyclonedx"}}}
	nameless := scanned(1)
	nameless.Digests = nil
	warn := bank
	warn.WarnUnfixable = true
	trivy := bank
	trivy.Scanners = []string{"trivy"}
	for name, c := range map[string]struct {
		f    image.Facts
		r    image.Rule
		want image.Outcome
		text string
	}{
		"old":                 {scanned(1, old), bank, image.Deny, "CVE-1 in openssl, severity 4: published 2026-10-12T12:00:00Z (nvd); refused after 30 days; fixed in 3.0.9"},
		"fresh":               {scanned(1, fresh), bank, image.Warn, "refused from 2026-12-20T12:00:01Z"},
		"low":                 {scanned(1, low), bank, image.Allow, ""},
		"exploited":           {scanned(1, exploited), bank, image.Deny, "is being exploited"},
		"excused":             {scanned(1, excused), bank, image.Allow, "not affected: the code is not reached"},
		"excused elsewhere":   {vex, bank, image.Allow, "not in the build"},
		"unrated":             {scanned(1, unrated), bank, image.Warn, "no scanner says how severe"},
		"unfixable":           {scanned(1, unfixable), warn, image.Warn, "no fixed version"},
		"unfixable, refused":  {scanned(1, unfixable), bank, image.Deny, "refused after"},
		"published in future": {scanned(29, future), bank, image.Warn, "cut to the scan that found it"},
		"future, no time":     {timeless, bank, image.Deny, "which is in the future and counts as no date; the Platform counts that as old"},
		"future, as new":      {timeless, asNew, image.Warn, "the Platform counts that as new"},
		"two names, one date": {two, bank, image.Warn, "CVE-1 in openssl, severity 5"},
		"no longer found":     {gone, bank, image.Allow, "scanned by qualys at 2026-11-20"},
		"another's scan":      {scanned(1), trivy, image.Deny, "not scanned by trivy"},
		"no time is no scan":  {sbom, bank, image.Deny, "not scanned"},
		"no digest":           {nameless, bank, image.Deny, "no report names its digest"},
		"nothing known":       {image.Facts{}, image.Rule{}, image.Deny, "not scanned"},
	} {
		v := image.Judge(c.f, c.r, nil, now)
		if text := fmt.Sprint(v.Scan, v.Vulnerabilities); v.Outcome() != c.want || !strings.Contains(text, c.text) {
			t.Errorf("%s: %s %s, want %s %q", name, v.Outcome(), text, c.want, c.text)
		}
	}
}

// TestForecast: each change by the clock, in order.
func TestForecast(t *testing.T) {
	f := scanned(20, published("CVE-1", 28*day), published("CVE-2", 25*day))
	var told []string
	for _, v := range image.Forecast(f, bank, nil, now, now.Add(14*day)) {
		told = append(told, v.At.Format("01-02T15:04:05")+" "+string(v.Outcome()))
	}
	if got, want := strings.Join(told, ", "), "11-21T12:00:00 warn, 11-23T12:00:01 deny, 11-26T12:00:01 deny, 12-01T12:00:01 deny"; got != want {
		t.Errorf("forecast %s, want %s", got, want)
	}
}

// TestLongReports: a report with a hundred thousand vulnerabilities under names that all lead to each other, in as many packages, with
// as many statements, is judged in a moment and not in a day.
func TestLongReports(t *testing.T) {
	const n = 100_000
	f, vex := scanned(1), image.Scan{Scanner: "openvex"}
	for i := range n {
		v := published("CVE-1-"+strconv.Itoa(i), day)
		v.Aliases, v.Package = []string{"CVE-1-" + strconv.Itoa(i+1)}, strconv.Itoa(i)
		f.Scans[0].Vulnerabilities = append(f.Scans[0].Vulnerabilities, v)
		vex.Vulnerabilities = append(vex.Vulnerabilities, image.Vulnerability{ID: "CVE-2-" + strconv.Itoa(i), NotAffected: "no"})
	}
	f.Scans = append(f.Scans, vex)
	if v := image.Judge(f, bank, nil, now); len(v.Vulnerabilities) != 1 || v.Outcome() != image.Warn {
		t.Errorf("%d reasons, %s", len(v.Vulnerabilities), v.Outcome())
	}
}
