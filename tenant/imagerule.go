package tenant

import (
	"cmp"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
)

// ImageRule is what a Platform demands of images, with the defaults of its schema; nil is one that says nothing.
func ImageRule(platform *v1alpha1.Platform) image.Rule {
	const month = 30 * 24 * time.Hour
	r := image.Rule{MaxScanAge: month, DenySeverity: 4, Grace: month, RescheduleGrace: rescheduleGrace(platform)}
	if platform == nil {
		return r
	}
	rules := platform.Spec.Images
	r.MaxScanAge, r.Grace = cmp.Or(rules.MaxScanAge.Duration, r.MaxScanAge), cmp.Or(rules.Grace.Duration, r.Grace)
	r.DenySeverity = cmp.Or(int(rules.DenySeverity), r.DenySeverity)
	r.UndatedAsNew, r.WarnUnfixable, r.Scanners = rules.UndatedAs == "new", rules.UnfixableAs == "warned", rules.Scanners
	return r
}
