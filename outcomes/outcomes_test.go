package outcomes_test

import (
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/outcomes"
)

// TestOf counts what is known and says what is not.
func TestOf(t *testing.T) {
	now := time.Date(2026, 5, 31, 0, 0, 0, 0, time.UTC)
	ago := func(hours int) time.Time { return now.Add(-time.Duration(hours) * time.Hour) }
	in := outcomes.Input{From: ago(720), Now: now, Scanned: true, Runs: 5, RunsRefused: 2, Refused: 7,
		Open: []outcomes.Stood{{Namespace: "a-prod", Severity: finding.High, Since: ago(900)}, {Namespace: "a-dev", Severity: finding.Low, Since: ago(10)},
			{Namespace: "b-prod", Severity: finding.Critical, Since: ago(10), Waived: true}},
		Closed: []outcomes.Stood{{Since: ago(20), Until: ago(10), Why: "fixed"}, {Since: ago(800), Until: ago(100), Why: "deleted"}, {Since: ago(50), Until: ago(20), Why: "start"},
			{Since: ago(50), Until: ago(20), Why: "rules"}, {Since: ago(50), Until: ago(20), Why: "waived"}, {Since: ago(20), Until: ago(10), Why: "opened", Waived: true},
			{Since: ago(20), Until: ago(10), Why: "fixed", Waived: true}},
		Tenants: map[string][]string{"a": {"a-dev", "a-prod"}, "b": {"b-prod"}, "c": nil}, Waivers: []outcomes.Waiver{{Granted: ago(24)}, {Granted: ago(72)}}}
	got := outcomes.Of(in)
	if got.Open[finding.High] != 1 || got.Open[finding.Low] != 1 || got.Open[finding.Critical] != 0 || got.Waived != 1 || !got.OldestOpen.Equal(ago(900)) {
		t.Errorf("open %v, waived %d, oldest %v", got.Open, got.Waived, got.OldestOpen)
	}
	if *got.Tenants != 3 || *got.TenantsClean != 2 || got.Waivers != 2 || got.WaiverDaysMean != 2 || got.WaiverDaysOldest != 3 {
		t.Errorf("%d of %d tenants; %d waivers of %v and %v days", *got.TenantsClean, *got.Tenants, got.Waivers, got.WaiverDaysMean, got.WaiverDaysOldest)
	}
	if got.Fixed != 3 || got.ClosedOtherwise != 1 || got.Opened != 5 || *got.MedianHoursToFix != 30 || int(*got.MeanHoursToFix*3) != 740 || got.AtCheck != 2 || got.AtAdmission != 7 {
		t.Errorf("%+v; mean %v, median %v", got, *got.MeanHoursToFix, *got.MedianHoursToFix)
	}
	if len(got.Unknown) != 0 {
		t.Errorf("unknown: %q", got.Unknown)
	}
	in.Unguarded, in.Unread = []string{"c-dev"}, []string{"secrets"}
	in.Tenants["c"] = in.Unguarded
	if got := outcomes.Of(in); *got.TenantsClean != 1 || *got.Tenants != 3 || len(got.Unknown) != 2 || !strings.HasSuffix(got.Unknown[0], ": secrets") || !strings.HasSuffix(got.Unknown[1], ": c-dev") {
		t.Errorf("of what the scan did not see: %d of %d tenants have nothing open; unknown: %q", *got.TenantsClean, *got.Tenants, got.Unknown)
	}
	none := outcomes.Of(outcomes.Input{From: ago(1), Now: now, Open: in.Open})
	if none.Open != nil || none.Tenants != nil || none.MeanHoursToFix != nil || len(none.Unknown) != 2 {
		t.Errorf("of what was not looked at: %+v", none)
	}
}

// TestPromotions: as long a time is counted before a promotion as after it, where it counts, and what nobody looked at is not 0.
func TestPromotions(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	ago := func(hours int) time.Time { return now.Add(-time.Duration(hours) * time.Hour) }
	here := func(ns string) bool { return ns == "a-dev" }
	in := outcomes.Input{From: ago(720), Now: now, Scanned: true,
		Open: []outcomes.Stood{{Control: "X", Namespace: "a-dev", Since: ago(500)}, {Control: "X", Namespace: "a-dev", Since: ago(10)}, {Control: "X", Namespace: "b-dev", Since: ago(500)},
			{Control: "Y", Namespace: "a-dev", Since: ago(500)}, {Control: "X", Namespace: "a-dev", Since: ago(500), Waived: true}},
		Closed: []outcomes.Stood{{Control: "X", Namespace: "a-dev", Since: ago(500), Until: ago(50), Why: "fixed"}, {Control: "X", Namespace: "a-dev", Since: ago(110), Until: ago(105), Why: "deleted"},
			{Control: "X", Namespace: "a-dev", Since: ago(300), Until: ago(250), Why: "fixed"}, {Control: "X", Namespace: "a-dev", Since: ago(190), Until: ago(150), Why: "rules"}},
		Promotions: []outcomes.Promotion{{Control: "X", Place: "ring/a", To: "Deny", At: ago(100), Covers: here}, {Control: "X", Place: "action", To: "Deny", At: ago(800), Covers: here},
			{Control: "X", Place: "production", To: "Deny", At: ago(90)}, {Control: "Y", Place: "action", To: "Warn", At: ago(400), Covers: here}}}
	got := outcomes.Of(in).Promotions
	if len(got) != 3 || got[0].Place != "production" || got[0].Unknown == "" || got[0].Open != nil {
		t.Fatalf("%+v", got)
	}
	x, y := got[1], got[2]
	if x.Hours != 100 || *x.Open != (outcomes.Count{Before: 2, After: 2}) || *x.Opened != (outcomes.Count{Before: 2, After: 1}) || *x.Fixed != (outcomes.Count{Before: 1, After: 1}) {
		t.Errorf("%+v: open %v, opened %v, fixed %v", x, *x.Open, *x.Opened, *x.Fixed)
	}
	if y.Hours != 100 { // nothing is known from before 500 hours ago
		t.Errorf("%+v", y)
	}
	in.Promotions = []outcomes.Promotion{{Control: "X", At: ago(600), Covers: here}}
	if got := outcomes.Of(in).Promotions; len(got) != 1 || got[0].Unknown == "" || got[0].Open != nil {
		t.Errorf("from before anything was looked at: %+v", got)
	}
	in.Promotions[0].At, in.Scanned = ago(100), false
	if got := outcomes.Of(in).Promotions; got[0].Unknown == "" || got[0].Fixed != nil {
		t.Errorf("not judged: %+v", got)
	}
}
