package image

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// stated is a statement about an image, as it would be signed, with a verdict on it.
func stated(t *testing.T, change func(map[string]any)) (text []byte, digest string, now time.Time) {
	t.Helper()
	digest, now = "sha256:"+strings.Repeat("a", 64), time.Date(2026, 11, 22, 12, 0, 0, 5, time.UTC)
	f := Facts{Digests: []string{digest}, Repositories: []string{"registry.bank.example/payments/api"}, Scans: []Scan{{Scanner: "trivy", At: now.Add(-time.Hour), Vulnerabilities: []Vulnerability{
		{ID: "GHSA-a", Severity: 5, Package: "openssl", FixedIn: "3.1"}, {ID: "CVE-2026-2", Severity: 4, Published: now.Add(-24 * time.Hour), PublishedBy: "scanner"}}}}}
	known := func(name string) (Advisory, bool) {
		return Advisory{ID: "CVE-2026-1", Aliases: []string{"GHSA-a"}, Published: []Dated{{now.Add(-48 * time.Hour), "nvd"}}}, name == "GHSA-a" || name == "CVE-2026-1"
	}
	s := State(f, Rule{MaxScanAge: 720 * time.Hour, DenySeverity: 4, Grace: 720 * time.Hour}, known, now)
	if s.Outcome != Warn || len(s.Reasons) != 3 || s.Until.IsZero() || len(s.Advisories) == 0 {
		t.Fatalf("%+v", s)
	}
	raw, err := json.Marshal(s)
	predicate := map[string]any{}
	if err == nil {
		err = json.Unmarshal(raw, &predicate)
	}
	if err != nil {
		t.Fatal(err)
	}
	change(predicate)
	if text, err = json.Marshal(map[string]any{"predicate": predicate}); err != nil {
		t.Fatal(err)
	}
	return text, digest, now
}

// TestStatement: a verdict can be derived again from what it says, and one that does not follow from that is refused, as is one of another
// image. The clock ends it.
func TestStatement(t *testing.T) {
	text, digest, now := stated(t, func(map[string]any) {})
	s, err := ParseStatement(text, digest)
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[time.Time]bool{now: true, s.Until.Add(-time.Second): true, s.Until: false, now.Add(-time.Hour): false} {
		if s.Admits(at) != want {
			t.Errorf("at %v it admits: %v", at, !want)
		}
	}
	if _, err := ParseStatement(text, "sha256:"+strings.Repeat("b", 64)); err == nil {
		t.Error("a verdict on another image counts")
	}
	scan := func(p map[string]any) map[string]any {
		return p["facts"].(map[string]any)["scans"].([]any)[0].(map[string]any)
	}
	for what, change := range map[string]func(map[string]any){
		"allowed":            func(p map[string]any) { p["outcome"] = "allow" },
		"for longer":         func(p map[string]any) { p["until"] = "2030-01-01T00:00:00Z" },
		"for ever":           func(p map[string]any) { delete(p, "until") },
		"fewer reasons":      func(p map[string]any) { p["reasons"] = p["reasons"].([]any)[:1] },
		"another scan":       func(p map[string]any) { scan(p)["at"] = "2026-11-22T11:30:00Z" },
		"an old one":         func(p map[string]any) { scan(p)["at"] = "2020-11-22T11:30:00Z" },
		"no vulnerabilities": func(p map[string]any) { scan(p)["vulnerabilities"] = nil },
		"no advisories":      func(p map[string]any) { p["advisories"] = nil },
		"a milder rule":      func(p map[string]any) { p["rule"].(map[string]any)["denySeverity"] = 5 },
		"no rule":            func(p map[string]any) { p["rule"] = map[string]any{} },
		"another time":       func(p map[string]any) { p["at"] = "2027-11-22T12:00:00Z" },
		"an unknown field":   func(p map[string]any) { p["admitAnyway"] = true },
	} {
		text, _, _ := stated(t, change)
		if s, err := ParseStatement(text, digest); err == nil {
			t.Errorf("%s: it counts as %s until %v", what, s.Outcome, s.Until)
		}
	}
	for _, text := range []string{"", "{}", "[]", `{"predicate":[]}`, `{"predicate":{}} {}`} {
		if _, err := ParseStatement([]byte(text), digest); err == nil {
			t.Errorf("%q counts", text)
		}
	}
}

// TestStatementDatedBy: whose dates count is in the statement; without it another verdict would follow.
func TestStatementDatedBy(t *testing.T) {
	digest, now := "sha256:"+strings.Repeat("a", 64), time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f := Facts{Digests: []string{digest}, Scans: []Scan{{Scanner: "trivy", At: now.Add(-time.Hour), Vulnerabilities: []Vulnerability{
		{ID: "CVE-2026-2", Severity: 4, Package: "zlib", Published: now.Add(-24 * time.Hour), PublishedBy: "trivy:PublishedDate"}}}}}
	for source, want := range map[string]Outcome{"trivy": Warn, "nvd": Deny} {
		text, err := json.Marshal(map[string]any{"predicate": State(f, Rule{MaxScanAge: 720 * time.Hour, DenySeverity: 4, Grace: 720 * time.Hour, DatedBy: []string{source}}, nil, now)})
		if err != nil {
			t.Fatal(err)
		}
		if s, err := ParseStatement(text, digest); err != nil || s.Outcome != want {
			t.Errorf("dated by %s: %s, %v; want %s", source, s.Outcome, err, want)
		}
	}
}
