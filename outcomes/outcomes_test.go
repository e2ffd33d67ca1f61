package outcomes_test

import (
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
			{Since: ago(50), Until: ago(20), Why: "rules"}, {Since: ago(50), Until: ago(20), Why: "waived"}, {Since: ago(20), Until: ago(10), Why: "opened", Waived: true}},
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
	none := outcomes.Of(outcomes.Input{From: ago(1), Now: now, Open: in.Open})
	if none.Open != nil || none.Tenants != nil || none.MeanHoursToFix != nil || len(none.Unknown) != 2 {
		t.Errorf("of what was not looked at: %+v", none)
	}
}
