package tenant

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
)

// at is an instant of the tests, by days from the first.
func at(days float64) time.Time {
	return time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(days * 24 * float64(time.Hour)))
}

func digest(i int) string { return fmt.Sprintf("sha256:%064x", i) }

// TestAddImages: what ran may be made again for the grace, counted from its end, or from when it was seen to be refused.
func TestAddImages(t *testing.T) {
	day := func(d float64) v1alpha1.Instant { return second(at(d)) }
	admitted := func(scanned, clean float64) *image.Index {
		return image.NewIndex([]image.Admitted{{Digest: digest(1), ScannedUntil: at(scanned), CleanUntil: at(clean)}})
	}
	refused := image.NewIndex([]image.Admitted{{Digest: digest(1), ScannedUntil: at(30), Note: "CVE-1"}})
	was := func(runs v1alpha1.Instant) *v1alpha1.GuardImages {
		return &v1alpha1.GuardImages{Admitted: map[string]v1alpha1.GuardImage{digest(1): {ScannedUntil: day(5), CleanUntil: day(9), RunsUntil: runs}}}
	}
	for _, tc := range []struct {
		name    string
		facts   *image.Index
		was     *v1alpha1.GuardImages
		running bool
		now     float64
		want    *v1alpha1.GuardImage // nil: not named
	}{
		{"admitted, runs nowhere", admitted(5, 9), nil, false, 0, &v1alpha1.GuardImage{ScannedUntil: day(5), CleanUntil: day(9)}},
		{"admitted and runs", admitted(5, 9), nil, true, 0, &v1alpha1.GuardImage{ScannedUntil: day(5), CleanUntil: day(9), RunsUntil: day(12)}},
		{"admitted and ran", admitted(50, 90), was(day(12)), false, 0, &v1alpha1.GuardImage{ScannedUntil: day(50), CleanUntil: day(90), RunsUntil: day(57)}},
		{"its scan has ended", admitted(5, 9), was(day(12)), true, 6, &v1alpha1.GuardImage{ScannedUntil: day(5), CleanUntil: day(9), RunsUntil: day(12)}},
		{"refused earlier than was known", refused, was(day(12)), true, 2, &v1alpha1.GuardImage{ScannedUntil: day(30), Note: "CVE-1", RunsUntil: day(9)}},
		{"and a day later", refused, was(day(9)), true, 3, &v1alpha1.GuardImage{ScannedUntil: day(30), Note: "CVE-1", RunsUntil: day(9)}},
		{"long over, and still runs", refused, was(day(9)), true, 20, &v1alpha1.GuardImage{ScannedUntil: day(30), Note: "CVE-1", RunsUntil: day(9)}},
		{"long over, and runs no more", refused, was(day(9)), false, 20, &v1alpha1.GuardImage{ScannedUntil: day(30), Note: "CVE-1"}},
		{"never scanned, and runs", image.NewIndex(nil), nil, true, 0, &v1alpha1.GuardImage{RunsUntil: day(7)}},
		{"never scanned, and runs nowhere", image.NewIndex(nil), nil, false, 0, nil},
		{"no facts can be read", nil, was(day(12)), true, 1, &v1alpha1.GuardImage{ScannedUntil: day(5), CleanUntil: day(9), RunsUntil: day(12)}},
		{"no facts can be read, and it began to run", nil, was(""), true, 1, &v1alpha1.GuardImage{ScannedUntil: day(5), CleanUntil: day(9), RunsUntil: day(12)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := Images{Facts: tc.facts, Was: tc.was, Rule: image.Rule{RescheduleGrace: 7 * 24 * time.Hour}, Now: at(tc.now)}
			if tc.running {
				in.Runs = []string{digest(1)}
			}
			var spec v1alpha1.GuardSpec
			AddImages(&spec, in)
			var got *v1alpha1.GuardImage
			if e, ok := spec.Images.Admitted[digest(1)]; ok {
				got = &e
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("AddImages (-want +got):\n%s", diff)
			}
			again := spec
			in.Was = spec.Images
			AddImages(&again, in)
			if diff := cmp.Diff(spec.Images, again.Images); diff != "" {
				t.Errorf("a second look changes it (-first +second):\n%s", diff)
			}
		})
	}
	var none v1alpha1.GuardSpec
	AddImages(&none, Images{Now: at(0), Runs: []string{digest(1)}})
	if none.Images != nil {
		t.Errorf("without facts the Guard says %v of images, want nothing", none.Images)
	}
}

// TestAddImagesRoom: a Guard stays under 1 MB, what runs is in it, and it says how much has no room.
func TestAddImagesRoom(t *testing.T) {
	var all []image.Admitted
	for i := range 20_000 {
		all = append(all, image.Admitted{Digest: digest(i), ScannedUntil: at(float64(i) / 1000), CleanUntil: image.Never(), Note: strings.Repeat("n", i%50)})
	}
	var spec v1alpha1.GuardSpec
	AddImages(&spec, Images{Facts: image.NewIndex(all), Runs: []string{digest(0), digest(1)}, Rule: image.Rule{RescheduleGrace: time.Hour}, Now: at(0)})
	n := len(spec.Images.Admitted)
	if _, ok := spec.Images.Admitted[digest(0)]; !ok || n < 3000 || int(spec.Images.LeftOut)+n != len(all) {
		t.Errorf("%d are in, %d are left out, the one that runs is in: %v; want all that run and over 3,000 of 20,000", n, spec.Images.LeftOut, ok)
	}
	if _, ok := spec.Images.Admitted[digest(19_999)]; !ok {
		t.Error("the one that was scanned last is left out")
	}
	if size := len(encoded(t, spec)); size > 1_000_000 {
		t.Errorf("the Guard takes %d bytes, want under 1,000,000", size)
	}
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestTrust: a Guard knows the rules for its namespace and what is known under each as it stands now; what ran is a debt when its
// signature ends or is found to be missing.
func TestTrust(t *testing.T) {
	const week = 7 * 24 * time.Hour
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	digest := "sha256:" + strings.Repeat("a", 64)
	platform := &v1alpha1.Platform{Spec: v1alpha1.PlatformSpec{Images: v1alpha1.ImageRules{Trust: []v1alpha1.TrustRule{
		{Name: "prod", Environments: []string{"prod"}, Keys: []v1alpha1.TrustKey{{Name: "k", PEM: "prod"}}},
		{Name: "bank", Repositories: []v1alpha1.Registry{"r.bank.example", "x.bank.example/a"}, Keys: []v1alpha1.TrustKey{{Name: "k", PEM: "bank"}}},
	}}}}
	rules := TrustOf(platform, Owner{"payments", "dev", false})
	if len(rules) != 1 || len(TrustOf(platform, Owner{"payments", "prod", true})) != 2 {
		t.Fatalf("for dev: %v", rules)
	}
	facts := func(until time.Time) *image.Index {
		return image.NewIndex([]image.Admitted{{Digest: digest, ScannedUntil: now.Add(20 * week), CleanUntil: image.Never()}},
			image.Signed{Digest: digest, Trust: rules[0].ID(), Until: until}, image.Signed{Digest: digest, Trust: "bank-of-another-key", Until: now.Add(week)})
	}
	in := Images{Facts: facts(now.Add(week)), Trust: rules, Runs: []string{digest}, Rule: image.Rule{RescheduleGrace: week}, Now: now}
	var spec v1alpha1.GuardSpec
	AddImages(&spec, in)
	want := &v1alpha1.GuardImages{
		Trust: []v1alpha1.GuardTrust{{ID: rules[0].ID(), Prefixes: []string{"r.bank.example/", "x.bank.example/a/", "x.bank.example/a:", "x.bank.example/a@"}}},
		Admitted: map[string]v1alpha1.GuardImage{digest: {ScannedUntil: second(now.Add(20 * week)), CleanUntil: second(image.Never()),
			Signed: map[string]v1alpha1.Instant{rules[0].ID(): second(now.Add(week))}, RunsUntil: second(now.Add(2 * week))}}}
	if diff := cmp.Diff(want, spec.Images); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for what, of := range map[string]*image.Index{"the facts cannot be read": nil, "nothing changed": facts(now.Add(week))} {
		var again v1alpha1.GuardSpec
		in.Facts, in.Was = of, spec.Images
		if AddImages(&again, in); !cmp.Equal(again.Images, want) {
			t.Errorf("%s: (-want +got):\n%s", what, cmp.Diff(want, again.Images))
		}
	}
	var later v1alpha1.GuardSpec
	in.Facts, in.Was = facts(time.Time{}), spec.Images
	AddImages(&later, in)
	if e := later.Images.Admitted[digest]; e.Signed[rules[0].ID()] != v1alpha1.Unsigned || e.RunsUntil != second(now.Add(week)) {
		t.Errorf("found to be unsigned: %+v, want a debt of a week from now", e)
	}
}

// TestImageRules: the first rule that is for a namespace counts there, and what it leaves out is as the bank says; 0h is no grace at all.
func TestImageRules(t *testing.T) {
	hours := func(n int) metav1.Duration { return metav1.Duration{Duration: time.Duration(n) * time.Hour} }
	none, week := hours(0), hours(168)
	platform := &v1alpha1.Platform{Spec: v1alpha1.PlatformSpec{Images: v1alpha1.ImageRules{MaxScanAge: hours(480), DenySeverity: 3, Scanners: []string{"qualys"}, UndatedAs: "new",
		Rules: []v1alpha1.ImageRule{
			{Name: "strict", Tenants: []string{"payments"}, Environments: []string{"prod"}, MaxScanAge: hours(24), Grace: &none, UndatedAs: "old", DatedBy: []string{"nvd"}},
			{Name: "prod", Production: true, DenySeverity: 2, Scanners: []string{"trivy"}, UnfixableAs: "warned", RescheduleGrace: &week},
		}}}}
	own := image.Rule{MaxScanAge: 480 * time.Hour, DenySeverity: 3, Grace: 720 * time.Hour, Scanners: []string{"qualys"}, UndatedAsNew: true, RescheduleGrace: DefaultRescheduleGrace}
	strict, prod := own, own
	strict.Name, strict.MaxScanAge, strict.Grace, strict.UndatedAsNew, strict.DatedBy = "strict", 24*time.Hour, 0, false, []string{"nvd"}
	prod.Name, prod.DenySeverity, prod.Scanners, prod.WarnUnfixable, prod.RescheduleGrace = "prod", 2, []string{"trivy"}, true, 168*time.Hour
	for owner, want := range map[Owner]image.Rule{{}: own, {"payments", "dev", false}: own, {"payments", "prod", true}: strict,
		{"payments", "prod", false}: strict, {"cards", "live", true}: prod, {"cards", "prod", false}: own} {
		if diff := cmp.Diff(want, ImageRuleOf(platform, owner)); diff != "" {
			t.Errorf("for %v (-want +got):\n%s", owner, diff)
		}
	}
	if diff := cmp.Diff([]image.Rule{own, strict, prod}, ImageRules(platform)); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
	platform.Spec.Images.Grace = &none
	if got := ImageRule(platform).Grace; got != 0 {
		t.Errorf("the bank gives no grace, and it is %v", got)
	}
	if got := ImageRules(nil); len(got) != 1 || got[0].MaxScanAge != 720*time.Hour || ImageRuleOf(nil, Owner{}).DenySeverity != 4 {
		t.Errorf("without a Platform: %+v", got)
	}
}

// TestAddImagesRule: a Guard is made of what was judged by the rule for its namespace. As long as nothing was, it keeps what it has, and one that has
// nothing knows of no digest.
func TestAddImagesRule(t *testing.T) {
	strict := image.Rule{Name: "strict"}
	judged := image.NewIndex([]image.Admitted{{Digest: digest(1), ScannedUntil: at(30), CleanUntil: at(30)}, {Digest: digest(1), Rule: "strict", ScannedUntil: at(2), CleanUntil: at(2)}})
	unjudged := image.NewIndex([]image.Admitted{{Digest: digest(1), ScannedUntil: at(30), CleanUntil: at(30)}})
	was := &v1alpha1.GuardImages{Admitted: map[string]v1alpha1.GuardImage{digest(1): {ScannedUntil: second(at(9)), CleanUntil: second(at(9))}}}
	for name, c := range map[string]struct {
		in   Images
		rule string
		want v1alpha1.Instant
	}{
		"judged by it":                     {Images{Facts: judged, Rule: strict}, "strict", second(at(2))},
		"judged by it, and before by none": {Images{Facts: judged, Rule: strict, Was: was}, "strict", second(at(2))},
		"by the bank's own":                {Images{Facts: judged}, "", second(at(30))},
		"not judged by it yet":             {Images{Facts: unjudged, Rule: strict, Was: was}, "", second(at(9))},
		"never judged by it":               {Images{Facts: unjudged, Rule: strict}, "strict", ""},
	} {
		var spec v1alpha1.GuardSpec
		c.in.Now = at(0)
		AddImages(&spec, c.in)
		if got := spec.Images.Admitted[digest(1)].ScannedUntil; got != c.want || spec.Images.Rule != c.rule {
			t.Errorf("%s: until %q by %q, want %q by %q", name, got, spec.Images.Rule, c.want, c.rule)
		}
	}
}
