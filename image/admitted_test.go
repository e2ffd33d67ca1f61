package image_test

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ringfence.dev/ringfence/image"
)

var one = "sha256:" + strings.Repeat("1", 64)

// TestParseAdmission: each fault names its field, and what is left out refuses.
func TestParseAdmission(t *testing.T) {
	file := func(images string) string {
		return `{"apiVersion":"ringfence.dev/v1alpha1","kind":"ImageAdmission","metadata":{"name":"x"},"spec":{"images":[` + images + `]}}`
	}
	all, err := image.ParseAdmission([]byte(file(`{"digest":"` + one + `","scannedUntil":"2026-12-21T19:00:00+01:00","note":"a\nb"}`)))
	if err != nil || len(all) != 1 {
		t.Fatalf("ParseAdmission = %v, %v", all, err)
	}
	if want := time.Date(2026, 12, 21, 18, 0, 0, 0, time.UTC); !all[0].ScannedUntil.Equal(want) || !all[0].CleanUntil.IsZero() || all[0].Note != "a b" || !all[0].Until().IsZero() {
		t.Errorf("ParseAdmission = %+v, want a scan until %v and nothing clean", all[0], want)
	}
	for text, words := range map[string]string{
		file(`{"digest":"` + strings.ToUpper(one) + `"}`):            "spec.images[0].digest",
		file(`{"digest":"` + one + `"},{"digest":"latest"}`):         "spec.images[1].digest",
		file(`{"digest":"` + one + `","scannedUntill":"x"}`):         "scannedUntill",
		file(`{"digest":"` + one + `","scannedUntil":"2026-12-21"}`): "2026-12-21",
		file(`{"digest":"` + one + `","rule":"Strict"}`):             "spec.images[0].rule",
		file("") + "{}": "nothing behind it",
		`{"apiVersion":"ringfence.dev/v1alpha1","kind":"Waiver"}`: "ImageAdmission",
		"": "EOF",
	} {
		if _, err := image.ParseAdmission([]byte(text)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("ParseAdmission(%s): %v, want a fault with %q", text, err, words)
		}
	}
}

// TestAdmits: what is warned of begins with the first date on which something refuses, within what the API server shows of it,
// whatever else warns.
func TestAdmits(t *testing.T) {
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	late := image.Vulnerability{ID: "GHSA-jfh8-c2jp-5v3q", Package: "a-library-with-a-long-name", Severity: 4, Published: now.AddDate(0, 0, -1), PublishedBy: "osv"}
	soon := image.Vulnerability{ID: "CVE-2026-12345", Package: "libssl3", Severity: 5, Published: now.AddDate(0, 0, -20), PublishedBy: "nvd"}
	never := image.Vulnerability{ID: "CVE-2026-1", Package: "a"} // of which nobody says how severe it is
	rule := image.Rule{MaxScanAge: 30 * 24 * time.Hour, Grace: 30 * 24 * time.Hour, DenySeverity: 4}
	for name, tc := range map[string]struct {
		found []image.Vulnerability
		want  string
	}{
		"one":       {[]image.Vulnerability{late}, "refused from 2026-12-21T09:00:01Z: GHSA-jfh8-c2jp-5v3q in"},
		"the first": {[]image.Vulnerability{never, late, soon}, "refused from 2026-12-02T09:00:01Z: CVE-2026-12345 in libssl3"},
		"no date":   {[]image.Vulnerability{never}, "CVE-2026-1 in a"},
		"nothing":   {nil, ""},
	} {
		f := image.Facts{Digests: []string{one}, Scans: []image.Scan{{Scanner: "trivy", At: now, Vulnerabilities: tc.found}}}
		if got := image.Judge(f, rule, nil, now).Admits(one); !strings.HasPrefix(got.Warn, tc.want) || tc.want == "" && got.Warn != "" || len(tc.want) > 63 {
			t.Errorf("%s: warned %q, want %q first", name, got.Warn, tc.want)
		}
	}
}

// TestIndex: what was scanned last comes first, a digest counts once, and no facts are another thing than none of a digest.
func TestIndex(t *testing.T) {
	day := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	x := image.NewIndex([]image.Admitted{{Digest: "a", ScannedUntil: day}, {Digest: "b", ScannedUntil: day.AddDate(0, 0, 1)}, {Digest: "a"}})
	if all := slices.Collect(x.All()); len(all) != 2 || x.Len() != 2 || all[0].Digest != "b" {
		t.Errorf("All = %v, want b and a", all)
	}
	if a, ok := x.Find("a"); !ok || !a.ScannedUntil.Equal(day) {
		t.Errorf("Find(a) = %v, %v", a, ok)
	}
	if a, ok := x.Find("c"); ok || !a.Until().IsZero() {
		t.Errorf("Find(c) = %v, %v", a, ok)
	}
}

// TestDigestOf: a digest counts only at the end of a reference, in the form that registries take.
func TestDigestOf(t *testing.T) {
	for reference, want := range map[string]string{
		"a@" + one: one, "r/a:1@" + one: one, "a": "", one: "", "@" + one: "", "a@" + one + ":1": "", "a@" + strings.ToUpper(one): "", "a@" + one[:70]: "",
	} {
		if got := image.DigestOf(reference); got != want {
			t.Errorf("DigestOf(%q) = %q, want %q", reference, got, want)
		}
	}
}

// FuzzParseAdmission: no bytes make it fault, and what it takes fits into a Guard.
func FuzzParseAdmission(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"ringfence.dev/v1alpha1","kind":"ImageAdmission","spec":{"images":[{"digest":"` + one + `","cleanUntil":"9999-12-31T23:59:59Z","note":"x"}]}}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := image.ParseAdmission(text)
		if err != nil {
			return
		}
		for _, a := range all {
			if image.DigestOf("a@"+a.Digest) != a.Digest || len(a.Note) > 120 || len(a.Warn) > 120 || !utf8.ValidString(a.Note+a.Warn) || strings.ContainsAny(a.Note+a.Warn, "\n\r\x00\x1b") {
				t.Errorf("taken: %+v", a)
			}
		}
	})
}
